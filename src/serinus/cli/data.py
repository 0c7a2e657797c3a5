"""`serinus data`: make, import, split, show and export data sets."""

import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter
from rich.console import Console

from serinus.cli.options import HERE, PEOPLE, Output, Where
from serinus.cli.show import emit, progress, say, table
from serinus.core.errors import Corrupt, NotFound

if TYPE_CHECKING:
    from serinus.data.dataset import Dataset
    from serinus.data.report import Report

app = App(help="Make, import, split, show and export data sets.")
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


@app.command
def demo(
    *, pairs: int = 150, seed: int = 7, job: Job = None, where: Where = HERE, output: Output = PEOPLE
) -> None:
    """Load the demo data: synthetic pairs of a hurricane and a wildfire, imported as a data set.

    Parameters
    ----------
    pairs
        How many pairs of pictures; three of five show the hurricane.
    seed
        Another seed gives other places.
    """
    from serinus.bootstrap.demo_data import load

    with progress("demo data") as move:
        dataset = load(where.settings(), pairs=pairs, seed=seed, job=job, progress=move)
    emit(
        dataset.report,
        output,
        lambda _: say(f"Data set {dataset.id}. `serinus train --data {dataset.id}` trains on it."),
    )


@app.command(name="import")
def import_(
    archive: Path,
    /,
    *,
    confirm: bool = False,
    seed: int = 0,
    where: Where = HERE,
    output: Output = PEOPLE,
) -> None:
    """Import an archive in xBD format as a new data set with manifest, splits and report.

    Parameters
    ----------
    archive
        A .zip, .tar, .tar.gz or .tar.zst.
    confirm
        Go on although more than 10 % of the pairs are unusable. At a terminal you are asked otherwise.
    seed
        Another seed gives another split.
    """
    if not archive.is_file():
        raise NotFound(f"There is no file {archive}.", remedy="Give the path of an archive.")
    _prepare(str(archive), where, output, confirm=confirm, seed=seed)


@app.command
def prepare(
    source: str,
    /,
    *,
    leave_out: str = "",
    seed: int = 0,
    confirm: bool = False,
    name: Annotated[str, Parameter(show=False)] = "",
    job: Job = None,
    where: Where = HERE,
    output: Output = PEOPLE,
) -> None:
    """Make a data set version: of an archive, or of another data set in other splits.

    The data set it is made of stays as it is; equal pairs in equal splits are the same version.

    Parameters
    ----------
    source
        An archive, or a data set id (`serinus data list`).
    leave_out
        A disaster to keep for testing, whole; all others are for training and validation. Models fail on
        events that they have not seen: this measures how much.
    seed
        Another seed gives another split.
    confirm
        Go on although more than 10 % of an archive's pairs are unusable.
    """
    _prepare(source, where, output, confirm=confirm, seed=seed, leave_out=leave_out, name=name, job=job)


def _prepare(
    source: str,
    where: Where,
    output: Output,
    *,
    confirm: bool,
    seed: int,
    leave_out: str = "",
    name: str = "",
    job: Path | None = None,
) -> None:
    from serinus.bootstrap import datasets
    from serinus.data.importing import ImportRefused

    def run(*, confirm: bool) -> "Dataset":
        with progress("import") as move:
            return datasets.prepare(
                where.settings(),
                source,
                name=name,
                confirm=confirm,
                seed=seed,
                leave_out=leave_out,
                job=job,
                progress=move,
            )

    try:
        dataset = run(confirm=confirm)
    except ImportRefused as refused:
        if job is not None or not refused.can_confirm or not _agrees(refused.message):
            raise
        dataset = run(confirm=True)
    report = dataset.report
    emit(
        report,
        output,
        lambda _: say(
            f"Data set {dataset.id}: {report.pairs_usable} of {report.pairs_found} pairs usable, "
            f"splits {report.splits}, {report.issues_total} issues. "
            f"`serinus data report {dataset.id} --html FILE` shows them."
        ),
    )


def _agrees(question: str) -> bool:
    """Asks at a terminal; where there is none, nobody agreed."""
    if not sys.stdin.isatty():
        return False
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the import left one that only takes note
    say(f"{question} Go on with the others? [y/N]")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


@app.command
def report(
    dataset: str,
    /,
    *,
    html: Path | None = None,
    csv: Path | None = None,
    where: Where = HERE,
    output: Output = PEOPLE,
) -> None:
    """Show what is in a data set: balance, splits, every issue with its fix.

    Parameters
    ----------
    dataset
        Its id (`serinus data list`).
    html
        Write the report as a page with pictures to this file; it needs no other.
    csv
        Write all issues to this file.
    """
    from serinus.data.dataset import Dataset

    found = Dataset.open(where.settings().data_dir / "datasets", dataset)
    if html is not None:
        from serinus.data.page import write_page

        write_page(html, found)
        say(f"Wrote {html}.")
    if csv is not None:
        shutil.copyfile(found.issues_file, csv)
        say(f"Wrote {csv}.")
    emit(found.report, output, lambda console: _show(console, found.report))


def _show(console: Console, report: "Report") -> None:
    classes = list(report.per_class)
    console.print(
        f"{report.dataset_id}: {report.pairs_usable} of {report.pairs_found} pairs usable, "
        f"{report.pairs_post_only} without a pre image, splits {report.splits}.",
        markup=False,
        highlight=False,
    )
    rows = [
        (name, *(str(counts.get(key, 0)) for key in ("pairs", *classes)))
        for name, counts in report.per_disaster.items()
    ]
    table(console, ("disaster", "pairs", *classes), rows, "No disaster.")
    table(
        console,
        ("issue", "where", "what", "what to do"),
        [(one.code, one.path, one.message, one.fix) for one in report.issues],
        "No issue.",
    )
    if report.issues_total > len(report.issues):
        console.print(f"{report.issues_total - len(report.issues)} more issues: --csv FILE has all.")


@app.command
def export(
    dataset: str,
    /,
    *,
    out: Path,
    form: Annotated[Literal["coco", "yolo"], Parameter(name="--format")] = "coco",
    where: Where = HERE,
    output: Output = PEOPLE,
) -> None:
    """Write a data set for other tools.

    Parameters
    ----------
    dataset
        Its id (`serinus data list`).
    out
        A new folder.
    form
        `coco`: pictures and `annotations/instances_<split>.json`; each image names its pre picture as
        `pre_file_name`. `yolo`: one TIFF of six channels a pair, label files, and a `data.yaml` with
        `channels: 6`.
    """
    from serinus.data.dataset import Dataset
    from serinus.data.export import export as write

    found = Dataset.open(where.settings().data_dir / "datasets", dataset)
    with progress(form) as move:
        pairs = write(found, out, form, move)
    emit({"path": str(out), "pairs": pairs}, output, lambda _: say(f"Wrote {pairs} pairs to {out}."))


@app.command(name="list")
def list_(*, where: Where = HERE, output: Output = PEOPLE) -> None:
    """List the data sets, newest last."""
    from serinus.data.dataset import list_datasets

    reports = []
    for dataset in list_datasets(where.settings().data_dir / "datasets"):
        try:
            reports.append(dataset.report)
        except Corrupt as error:
            say(f"{dataset.id} is left out: {error}")
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
