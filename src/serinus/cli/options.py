"""Flags that many commands share, each with one name and one meaning."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from serinus.bootstrap.settings import Settings, load


@Parameter(name="*")
@dataclass(frozen=True)
class Where:
    """Where the store and the data are."""

    model_dir: Path | None = None
    """The store (default: MODEL_DIR, else ./models)."""
    data_dir: Path | None = None
    """Uploads, data sets, jobs (default: DATA_DIR, else ./data)."""

    def settings(self, **flags: object) -> Settings:
        """The settings with these and other flags over them."""
        return load(model_dir=self.model_dir, data_dir=self.data_dir, **flags)


@Parameter(name="*")
@dataclass(frozen=True)
class Output:
    """How results are printed."""

    output: Annotated[Literal["table", "json"], Parameter(name=["--output", "-o"])] = "table"
    """For people (table) or programs (json)."""
    json: Annotated[bool, Parameter(name="--json", negative="")] = False
    """Short for -o json."""

    @property
    def as_json(self) -> bool:
        return self.json or self.output == "json"


HERE = Where()
PEOPLE = Output()
