"""`serinus evaluate` and `serinus compare`: how good versions are, with pages and pictures."""

from pathlib import Path
from typing import Literal

from rich.console import Console

from serinus.cli.data import Job
from serinus.cli.options import HERE, PEOPLE, Output, Where
from serinus.cli.show import emit, progress, say, table
from serinus.core.ids import Version

Split = Literal["test", "val", "train", "all"]


def evaluate(
    version: int,
    /,
    *,
    data: str,
    split: Split = "test",
    out: Path | None = None,
    job: Job = None,
    where: Where = HERE,
    output: Output = PEOPLE,
) -> None:
    """Measure a version on a data set: AP, precision, recall, counts, calibration, xView2 score.

    Parameters
    ----------
    version
        Its number.
    data
        Data set id (`serinus data list`).
    split
        Which of its pairs.
    out
        Folder for the page, the pictures and evaluation.json (default: below DATA_DIR/evaluations).
    """
    from serinus.bootstrap.evaluation_jobs import evaluate_as_job

    settings = where.settings()
    with progress("evaluate") as move:
        done, folder = evaluate_as_job(
            settings, Version(version), data=data, split=split, out=out, job=job, progress=move
        )

    def people(console: Console) -> None:
        for words in (*done.warnings, *filter(None, (done.baseline,))):
            say(words)
        found = done.assessment
        whole = found.metrics
        rows = [
            ("mAP50", f"{whole.map50:.3f}", f"95 %: {found.map50.low:.3f} to {found.map50.high:.3f}"),
            ("mAP50-95", f"{whole.map50_95:.3f}", ""),
            ("precision", f"{whole.precision:.3f}", f"from confidence {whole.threshold:.2f} on"),
            ("recall", f"{whole.recall:.3f}", ""),
            *(
                (f"mAP50, {name}", f"{one.map50:.3f}", f"{one.support} buildings")
                for name, one in whole.per_class.items()
                if one.support
            ),
            *((f"mAP50, {name}", f"{one.map50:.3f}", "") for name, one in found.per_disaster.items()),
            *(
                (f"mAP50, {name}", f"{one.map50:.3f}", f"{one.support} buildings")
                for name, one in found.per_size.items()
                if one.support
            ),
            ("xView2 score", f"{found.xview2.score:.3f}", "of boxes painted as masks"),
            ("count error", f"{found.count.mean_absolute:.2f}", "buildings per picture"),
            ("calibration error", f"{found.calibration.ece:.3f}", ""),
        ]
        table(console, ("", "", ""), rows, "")
        console.print(f"Page: {folder / 'index.html'}", highlight=False, markup=False, soft_wrap=True)

    emit(done, output, people)


def compare(
    a: int,
    b: int,
    /,
    *,
    data: str,
    split: Split = "test",
    out: Path | None = None,
    job: Job = None,
    where: Where = HERE,
    output: Output = PEOPLE,
) -> None:
    """Measure two versions on the same pictures: what differs, how sure that is, and where it shows.

    Parameters
    ----------
    a
        Number of the version to compare with.
    b
        Number of the version that is better or worse.
    data
        Data set id (`serinus data list`).
    split
        Which of its pairs.
    out
        Folder for the page, the pictures and comparison.json (default: below DATA_DIR/evaluations).
    """
    from serinus.bootstrap.evaluation_jobs import compare_as_job
    from serinus.jobs.model import refuse_itself

    refuse_itself(a, b)
    settings = where.settings()
    with progress("compare") as move:
        done, folder = compare_as_job(
            settings, Version(a), Version(b), data=data, split=split, out=out, job=job, progress=move
        )

    def people(console: Console) -> None:
        for words in done.warnings:
            say(words)
        table(
            console,
            ("", f"version {a}", f"version {b}", "difference", "95 %", ""),
            [
                (
                    row.name,
                    f"{row.bound.a:.3f}",
                    f"{row.bound.b:.3f}",
                    f"{row.bound.difference:+.3f}",
                    f"{row.bound.low:+.3f} to {row.bound.high:+.3f}",
                    row.verdict,
                )
                for row in done.rows
            ],
            "",
        )
        console.print(done.words, highlight=False, soft_wrap=True)
        console.print(f"Page: {folder / 'index.html'}", highlight=False, markup=False, soft_wrap=True)

    emit(done, output, people)
