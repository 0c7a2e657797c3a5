"""The registry: artifacts, the journal, evidence, heartbeats, views. The only writer of store files."""

from serinus.store.client import Address
from serinus.store.frozen import FrozenSlice
from serinus.store.gallery import Disagreement, GalleryFile, Mark
from serinus.store.golden import GoldenEntry, GoldenSet
from serinus.store.heartbeats import Replica, Routes, Served
from serinus.store.local import refusal, volume_errors
from serinus.store.patience import Waiting, go_on
from serinus.store.pictures import Pair
from serinus.store.policies import PolicyRecord
from serinus.store.predictions import Answered, Feedback, Keeper
from serinus.store.publish import Sign
from serinus.store.store import Store

__all__ = [
    "Address",
    "Answered",
    "Disagreement",
    "Feedback",
    "FrozenSlice",
    "GalleryFile",
    "GoldenEntry",
    "GoldenSet",
    "Keeper",
    "Mark",
    "Pair",
    "PolicyRecord",
    "Replica",
    "Routes",
    "Served",
    "Sign",
    "Store",
    "Waiting",
    "go_on",
    "refusal",
    "volume_errors",
]
