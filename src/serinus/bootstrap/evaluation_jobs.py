"""Evaluations and comparisons as jobs that report to a folder, or without one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serinus.bootstrap.datasets import reporting
from serinus.bootstrap.evaluating import Compared, Evaluation, Move, compare_versions, evaluate_version
from serinus.bootstrap.process import stop_event
from serinus.bootstrap.settings import Settings
from serinus.core.errors import Cancelled
from serinus.core.ids import Version
from serinus.jobs.model import ComparedFigure, CompareOutput, EvaluateOutput
from serinus.jobs.report import JobReporter


def evaluate_as_job(
    settings: Settings,
    version: Version,
    *,
    data: str,
    split: str,
    out: Path | None,
    job: Path | None,
    progress: Move,
) -> tuple[Evaluation, Path]:
    """As `evaluate_version`, told to the job's folder if there is one. Raises Cancelled, too."""
    with _told(job, progress, "evaluation") as (moved, reporter):
        done, folder = evaluate_version(settings, version, data=data, split=split, out=out, progress=moved)
        if reporter:
            found = done.assessment.metrics
            metrics = {
                "map50": found.map50,
                "map50_95": found.map50_95,
                "precision": found.precision,
                "recall": found.recall,
                "xview2": done.assessment.xview2.score,
            }
            reporter.succeed(
                EvaluateOutput(version=version, dataset=done.dataset, split=split, metrics=metrics)
            )
        return done, folder


def compare_as_job(
    settings: Settings,
    a: Version,
    b: Version,
    *,
    data: str,
    split: str,
    out: Path | None,
    job: Path | None,
    progress: Move,
) -> tuple[Compared, Path]:
    """As `compare_versions`, told to the job's folder if there is one. Raises Cancelled, too."""
    with _told(job, progress, "comparison") as (moved, reporter):
        done, folder = compare_versions(settings, a, b, data=data, split=split, out=out, progress=moved)
        if reporter:
            figures = tuple(
                ComparedFigure(
                    name=row.name,
                    a=row.bound.a,
                    b=row.bound.b,
                    difference=row.bound.difference,
                    low=row.bound.low,
                    high=row.bound.high,
                    verdict=row.verdict,
                )
                for row in done.rows
            )
            reporter.succeed(
                CompareOutput(
                    a=a,
                    b=b,
                    dataset=done.dataset,
                    split=split,
                    pictures=done.pictures,
                    words=done.words,
                    warnings=done.warnings,
                    figures=figures,
                )
            )
        return done, folder


@contextmanager
def _told(job: Path | None, progress: Move, what: str) -> Iterator[tuple[Move, JobReporter | None]]:
    """`progress`, told to the job's folder, too, if there is one. It raises Cancelled when nobody waits for
    `what` any more.
    """
    stop = stop_event()
    with reporting(job) as reporter:

        def moved(done: float, total: float, words: str) -> None:
            if stop.is_set() or (reporter and reporter.cancel_requested()):
                raise Cancelled(f"The {what} was cancelled; nothing was kept.")
            progress(done, total, words)
            if reporter:
                fraction = 0.95 * done / max(total, 1)
                reporter.progress(fraction, words, step=int(done), steps=int(total))

        yield moved, reporter
