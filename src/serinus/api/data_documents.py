"""What the control API answers about data sets and their pairs, uploads that are unfinished, and trainers."""

import msgspec

from serinus.api.documents import DatasetView
from serinus.data.browsing import BrowsedPair


class DatasetDetail(DatasetView, frozen=True, kw_only=True):
    """A data set with where it comes from and what is in it."""

    source: str = ""
    """Name of the archive."""
    seed: int = 0
    parent: str = ""
    """The data set whose pairs these are, in other splits; empty: made of an archive."""
    left_out: str = ""
    """The disaster that is kept for testing; empty: none."""
    disasters: tuple[str, ...] = ()
    buildings: int = 0
    issues: int = 0
    golden: tuple[str, ...] = ()
    """Golden sets that were made of it: a version that is trained on it is refused."""


class DatasetsPage(msgspec.Struct, frozen=True, kw_only=True):
    """Data sets, newest first."""

    datasets: tuple[DatasetDetail, ...]


class PairsPage(msgspec.Struct, frozen=True, kw_only=True):
    """Pairs of a data set, in the order of their keys."""

    pairs: tuple[BrowsedPair, ...]
    total: int
    """All that are as asked for."""
    classes: tuple[str, ...]
    """Class id -> name."""


class UnfinishedUpload(msgspec.Struct, frozen=True, kw_only=True):
    """An upload whose rest has not come yet; PATCH `/api/uploads/<id>` goes on."""

    id: str
    name: str
    offset: int
    """Bytes that are here."""
    length: int
    """Bytes in all."""
    expires: float
    """When what has arrived is thrown away, seconds since 1970-01-01 UTC."""


class TrainerView(msgspec.Struct, frozen=True, kw_only=True):
    """A trainer that one could choose."""

    name: str
    licence: str
    summary: str
    source: str
    """`serinus`, or the distribution that brings it."""
    problem: str = ""
    """Why it cannot be used here; empty when it can."""


class TrainersPage(msgspec.Struct, frozen=True, kw_only=True):
    """The trainers that are installed, the built-in ones first."""

    trainers: tuple[TrainerView, ...]
    default: str
    """Who trains when nobody is named."""


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """A job was queued."""

    status: str = "started"
    message: str
    job: str
