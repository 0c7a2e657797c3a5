"""What a training uses when nobody names a data set: one rule for the endpoint and for what the page says."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from serinus.api.documents import DatasetView
from serinus.api.uploads import Upload
from serinus.jobs.model import BatchJob, JobRecord


def newest_data(
    uploads: Sequence[Upload],
    known: Sequence[DatasetView],
    *,
    imported: Collection[str],
    golden: Collection[str],
    batched: Collection[str],
) -> Upload | DatasetView | None:
    """The newest upload that was not imported yet, else the newest data set; None when there is neither.

    `uploads` newest last, `known` newest first; `imported`: sha256 of archives that became data sets;
    `golden`: ids of data sets that golden sets were made from: a version trained on one is refused;
    `batched`: ids of uploads that were sent for predictions, which need no labels.
    """
    uploads = [each for each in uploads if each.id not in batched]
    # By content: the clock says little about an upload that arrived while another one was being imported.
    if uploads and uploads[-1].sha256 not in imported:
        return uploads[-1]
    return next((each for each in known if each.id not in golden), None)


def of_batches(jobs: Iterable[JobRecord]) -> frozenset[str]:
    """Ids of the uploads that were sent for predictions."""
    return frozenset(Path(job.spec.archive).stem for job in jobs if isinstance(job.spec, BatchJob))


def in_words(data: Upload | DatasetView | None) -> str:
    """`data` for people, as the choice that a form makes by itself."""
    match data:
        case Upload():
            return f"Newest upload: {data.name or data.id}"
        case DatasetView():
            return f"Newest data set: {data.id}"
        case None:
            return "Nothing to train on yet"
