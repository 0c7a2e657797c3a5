"""Flags that many commands share, each with one name and one meaning."""

import getpass
import os
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
class Server:
    """Which dashboard is told, where the store cannot be reached from here."""

    server: str = ""
    """Address of a dashboard that takes the decision with the token in API_TOKEN (default: SERVER_URL; empty:
    it is written to the store)."""
    token_file: Path | None = None
    """File with the token, in place of API_TOKEN."""

    def address(self, settings: Settings) -> str:
        return self.server or settings.server_url

    def token(self, settings: Settings) -> str:
        """Raises OSError for a file that cannot be read."""
        return self.token_file.read_text().strip() if self.token_file else settings.token


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
FROM_HERE = Server()
PEOPLE = Output()


def user() -> str:
    """Who asks: LOGNAME, USER, or the name of the account; as in a pod, one without a name has its number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def by_user() -> str:
    """The actor of what is asked for here."""
    return f"{user()} via cli"
