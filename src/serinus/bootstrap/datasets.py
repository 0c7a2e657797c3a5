"""Imports and other versions of data sets, alone or as a job that reports to a folder."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import NamedTuple

import msgspec

from serinus.bootstrap import edge
from serinus.bootstrap.process import stop_event
from serinus.bootstrap.settings import MEGABYTE, Settings
from serinus.core.errors import Cancelled
from serinus.data.archive import ArchiveLimits
from serinus.data.dataset import ISSUES, PAGE, REPORT, Dataset
from serinus.data.importing import ImportRefused, import_archive
from serinus.data.prepare import prepare as split_again
from serinus.data.report import Report, Verdict, issues_csv
from serinus.jobs.model import PrepareOutput
from serinus.jobs.report import JobReporter

Move = Callable[[float, float, str], None]
"""Moves a progress bar: done, total, words."""


class At(NamedTuple):
    """How far an import is."""

    fraction: float
    words: str
    pairs: int = 0
    """Done."""
    of: int = 0


Moved = Callable[[At], None]
_READ, _UNPACKED = 0.05, 0.2
"""Shares of an import that are over when the archive was read, and unpacked."""


@contextmanager
def reporting(job: Path | None) -> Iterator[JobReporter | None]:
    """Whatever ends the block is told to the job's folder, if there is one."""
    reporter = None if job is None else JobReporter(job, clock=edge.now)
    try:
        yield reporter
    except Cancelled as error:
        if reporter:
            reporter.cancel(str(error))
        raise
    except KeyboardInterrupt:
        if reporter:
            reporter.cancel()
        raise
    except ImportRefused as error:
        if reporter:
            reporter.fail(error, _output(error.report))
        raise
    except BaseException as error:
        if reporter:
            reporter.fail(error)
        raise


def prepare(
    settings: Settings,
    source: str,
    *,
    name: str = "",
    confirm: bool = False,
    seed: int = 0,
    leave_out: str = "",
    job: Path | None,
    progress: Move,
) -> Dataset:
    """A data set version of an archive (a path), or of another version (an id), with its page.

    Raises InvalidInput, TooLarge, NotFound, Cancelled.
    """
    stop = stop_event()
    datasets = settings.data_dir / "datasets"
    with reporting(job) as reporter:
        moved = moving(progress, stop, reporter, "The import")
        if Path(source).is_file():
            with turn_down(reporter, name or Path(source).name):
                dataset = import_data(
                    settings, Path(source), name=name, confirm=confirm, seed=seed, moved=moved
                )
            if leave_out:
                dataset = split_again(dataset, datasets, clock=edge.now, seed=seed, leave_out=leave_out)
        else:
            dataset = Dataset.open(datasets, source)
            moved(At(0.1, "splitting"))
            dataset = split_again(dataset, datasets, clock=edge.now, seed=seed, leave_out=leave_out)
        finish(dataset, moved, reporter)
        return dataset


def moving(progress: Move, stop: Event, reporter: JobReporter | None, work: str) -> Moved:
    """Tells a bar and the job. What it gives raises Cancelled once somebody wants the work to stop."""

    def moved(at: At) -> None:
        if stop.is_set() or (reporter and reporter.cancel_requested()):
            raise Cancelled(f"{work} was cancelled; nothing half-done was kept.")
        progress(at.fraction, 1.0, at.words)
        if reporter:
            reporter.progress(0.98 * at.fraction, at.words, step=at.pairs, steps=at.of)

    return moved


def finish(dataset: Dataset, moved: Moved, reporter: JobReporter | None) -> None:
    """Draws the report, and says what has come of the job."""
    moved(At(1.0, "drawing the report"))
    page_of(dataset)
    if reporter:
        reporter.succeed(_output(dataset.report))


def page_of(dataset: Dataset) -> Path:
    """The data set's report as a page, made when it is not there yet."""
    from serinus.data.page import page_file

    return page_file(dataset)


def import_data(
    settings: Settings,
    archive: Path,
    *,
    name: str = "",
    confirm: bool,
    seed: int = 0,
    moved: Moved,
) -> Dataset:
    """Imports an archive. Raises InvalidInput, TooLarge, and what `moved` raises."""
    limits = ArchiveLimits(
        max_files=settings.archive_max_files,
        max_total_bytes=int(settings.archive_max_gb * 1000 * MEGABYTE),
        max_file_bytes=int(settings.archive_max_file_mb * MEGABYTE),
        max_ratio=settings.archive_max_ratio,
        max_pixels=int(settings.max_image_mp * MEGABYTE) - 1,
    )

    def reading(words: str, done: int, total: int) -> None:
        start, end = (0.0, _READ) if words.startswith("reading") else (_READ, _UNPACKED)
        share = start + (end - start) * done / total
        moved(At(share, f"{words}: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB"))

    def pairs(done: int, total: int) -> None:
        moved(
            At(min(1.0, _UNPACKED + (1 - _UNPACKED) * done / total), f"pair {done} of {total}", done, total)
        )

    return import_archive(
        archive,
        settings.data_dir / "datasets",
        clock=edge.now,
        limits=limits,
        seed=seed,
        confirm=confirm,
        name=name or archive.name,
        progress=pairs,
        reading=reading,
    )


@contextmanager
def turn_down(reporter: JobReporter | None, source: str) -> Iterator[None]:
    """Keeps the report of a refused import in the job's folder, for whoever has to confirm or repair."""
    try:
        yield
    except ImportRefused as refused:
        if reporter:
            keep_refusal(refused, reporter.folder, source)
        raise


def keep_refusal(refused: ImportRefused, folder: Path, source: str) -> None:
    """Writes report, CSV and page of a refused import into `folder`."""
    from serinus.data.page import put, render

    (folder / ISSUES).write_text(issues_csv(refused.issues), encoding="utf-8")
    put(folder / PAGE, render(refused.report, refused.issues, source=source))
    (folder / REPORT).write_bytes(msgspec.json.format(msgspec.json.encode(refused.report), indent=1))


def _output(report: Report) -> PrepareOutput:
    return PrepareOutput(
        dataset=report.dataset_id,
        splits=report.splits,
        total_images=2 * report.pairs_usable,
        total_polygons=sum(report.per_class.values()),
        pairs_found=report.pairs_found,
        pairs_usable=report.pairs_usable,
        must_confirm=report.verdict is Verdict.NEEDS_CONFIRMATION,
    )
