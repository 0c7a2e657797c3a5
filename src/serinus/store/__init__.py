"""The registry: artifacts, the journal, evidence, heartbeats, views. The only writer of store files."""

from serinus.store.bucket import Address
from serinus.store.frozen import FrozenSlice
from serinus.store.golden import GoldenEntry, GoldenSet
from serinus.store.heartbeats import Replica, Routes, Served
from serinus.store.policies import PolicyRecord
from serinus.store.store import Store

__all__ = [
    "Address",
    "FrozenSlice",
    "GoldenEntry",
    "GoldenSet",
    "PolicyRecord",
    "Replica",
    "Routes",
    "Served",
    "Store",
]
