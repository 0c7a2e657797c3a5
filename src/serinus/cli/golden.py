"""`serinus golden`: labelled pairs that every candidate must do well on before it gets traffic."""

import tempfile
from pathlib import Path
from typing import Literal

from cyclopts import App

from serinus.cli.options import HERE, PEOPLE, Output, Where, by_user
from serinus.cli.show import emit, say, table

app = App(help="Golden sets: labelled pairs that gate every rollout.")


@app.command
def add(
    name: str,
    /,
    *,
    data: str,
    split: Literal["train", "val", "test"] | None = None,
    limit: int = 200,
    where: Where = HERE,
    output: Output = PEOPLE,
) -> None:
    """Register a data set as a golden set. The same name again makes a new edition.

    Parameters
    ----------
    name
        Name of the golden set.
    data
        Data set id.
    split
        Only this split of it.
    limit
        At most this many pairs.
    """
    from serinus.bootstrap.wiring import open_store
    from serinus.data.dataset import Dataset
    from serinus.data.golden import export_golden

    settings = where.settings()
    store = open_store(settings)
    dataset = Dataset.open(settings.data_dir / "datasets", data)
    with tempfile.TemporaryDirectory(prefix="serinus-golden-") as folder:
        source = Path(folder) / "golden"
        export_golden(dataset, source, split=split, limit=limit)
        digest = store.add_golden(name, source, actor=by_user())
    found = next(item for item in store.golden_sets() if item.name == name)
    emit(
        {"name": name, "digest": digest, "pairs": len(found.pairs)},
        output,
        lambda _: say(f"Golden set {name}: {len(found.pairs)} pairs ({digest[:12]})."),
    )


@app.command(name="list")
def list_(*, where: Where = HERE, output: Output = PEOPLE) -> None:
    """List the golden sets in force."""
    from serinus.bootstrap.wiring import look_at_store

    found = [
        {"name": item.name, "digest": item.digest, "pairs": len(item.pairs)}
        for item in look_at_store(where.settings()).golden_sets()
    ]
    emit(
        found,
        output,
        lambda console: table(
            console,
            ("name", "pairs", "sha256"),
            [(str(item["name"]), str(item["pairs"]), str(item["digest"])[:12]) for item in found],
            "No golden set. `serinus golden add NAME --data ID` makes one.",
        ),
    )
