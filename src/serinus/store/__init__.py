"""The registry: artifacts, the journal, evidence, heartbeats, views. The only writer of store files."""

from serinus.store.bucket import Address
from serinus.store.frozen import FrozenSlice
from serinus.store.golden import GoldenEntry, GoldenSet
from serinus.store.heartbeats import Replica, Routes, Served
from serinus.store.predictions import Answered, Feedback, Keeper, Pair
from serinus.store.store import Store

__all__ = [
    "Address",
    "Answered",
    "Feedback",
    "FrozenSlice",
    "GoldenEntry",
    "GoldenSet",
    "Keeper",
    "Pair",
    "Replica",
    "Routes",
    "Served",
    "Store",
]
