"""`serinus data`: make, import and list data sets."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from serinus.cli.options import HERE, PEOPLE, Output, Where
from serinus.cli.show import emit, progress, say, table

app = App(help="Make, import and list data sets.")
Job = Annotated[Path | None, Parameter(show=False)]
"""Folder of the job that this command runs as."""


@app.command
def synth(
    *,
    out: Path,
    disaster: Literal["synth-hurricane", "synth-wildfire"] = "synth-hurricane",
    pairs: int = 180,
    size: int = 256,
    seed: int = 7,
    labels: Literal["true", "shuffled"] = "true",
    output: Output = PEOPLE,
) -> None:
    """Make a synthetic data set in xBD format: nothing to download, same seed, same pictures.

    Parameters
    ----------
    out
        The zip to write.
    disaster
        Which event to imitate.
    pairs
        How many pairs of pictures.
    size
        Side of a picture, pixels.
    seed
        Another seed gives other places.
    labels
        `shuffled` permutes the damage classes: boxes stay right, classes become useless.
    """
    from serinus.data.synth import write_zip

    with progress(f"{disaster}") as move:
        write_zip(out, disaster, pairs, size, seed, labels=labels, progress=move)
    emit({"path": str(out), "pairs": pairs}, output, lambda _: say(f"Wrote {pairs} pairs to {out}."))


@app.command(name="import")
def import_(
    archive: Path,
    /,
    *,
    confirm: bool = False,
    seed: int = 0,
    job: Job = None,
    where: Where = HERE,
    output: Output = PEOPLE,
) -> None:
    """Import an archive in xBD format as a new data set with manifest, splits and report.

    Parameters
    ----------
    archive
        A zip.
    confirm
        Go on although more than 10 % of the pairs are unusable.
    seed
        Another seed gives another split.
    """
    from serinus.bootstrap.training import import_archive

    settings = where.settings()
    with progress("import") as move:
        dataset = import_archive(settings, archive, confirm=confirm, seed=seed, job=job, progress=move)
    report = dataset.report
    emit(
        report,
        output,
        lambda _: say(
            f"Data set {dataset.id}: {report.pairs_usable} of {report.pairs_found} pairs usable, "
            f"splits {report.splits}, {report.issues_total} issues."
        ),
    )


@app.command(name="list")
def list_(*, where: Where = HERE, output: Output = PEOPLE) -> None:
    """List the data sets, newest last."""
    from serinus.data.dataset import list_datasets

    reports = [dataset.report for dataset in list_datasets(where.settings().data_dir / "datasets")]
    emit(
        reports,
        output,
        lambda console: table(
            console,
            ("data set", "pairs", "disasters", "splits"),
            [
                (item.dataset_id, str(item.pairs_usable), ", ".join(item.per_disaster), str(item.splits))
                for item in reports
            ],
            "No data set yet. `serinus data synth --out FILE.zip`, then `serinus data import FILE.zip`.",
        ),
    )
