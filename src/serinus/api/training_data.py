"""What a training uses when nobody names a data set: one rule for the endpoint and for what the page says."""

from collections.abc import Collection, Sequence

from serinus.api.documents import DatasetView
from serinus.api.uploads import Upload


def newest_data(
    uploads: Sequence[Upload],
    known: Sequence[DatasetView],
    *,
    imported: Collection[str],
    golden: Collection[str],
) -> Upload | DatasetView | None:
    """The newest upload that was not imported yet, else the newest data set; None when there is neither.

    `uploads` newest last, `known` newest first; `imported`: sha256 of archives that became data sets;
    `golden`: ids of data sets that golden sets were made from: a version trained on one is refused.
    """
    # By content: the clock says little about an upload that arrived while another one was being imported.
    if uploads and uploads[-1].sha256 not in imported:
        return uploads[-1]
    return next((each for each in known if each.id not in golden), None)


def in_words(data: Upload | DatasetView | None) -> str:
    """`data` for people, as the choice that a form makes by itself."""
    match data:
        case Upload():
            return f"Newest upload: {data.name or data.id}"
        case DatasetView():
            return f"Newest data set: {data.id}"
        case None:
            return "Nothing to train on yet"
