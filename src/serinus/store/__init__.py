"""The registry: artifacts, the journal, evidence, heartbeats, views. The only writer of store files.

The protocol, which every module here keeps a part of:

*The truth is the journal*: one file an event, numbered without a gap, each naming the hash of the one before
(`journal`). Which versions exist, which one serves, what is on trial and why: all of it is the fold of the
events and stands nowhere else. What an event names by a hash (artifacts, frozen evidence, editions of golden
sets and policies) is as true as the event, because no other bytes have that hash.

*The commit point* of everything is that the next event's file appears, complete, by put-if-absent: it has one
winner, for ever (`backend`: `link(2)` on a disk, `If-None-Match: *` in a bucket). Whoever loses reads on and
decides again on the new state, or gives up where its decision rested on the old one. *So no lock is needed*:
none that a killed process could leave behind, that a network volume could forget, or that a bucket does not
have. What needs more than one file is made so that only the event shows it: a model is complete and durable
under its digest before `published` gives it a number (`publish`, `registry`), and is taken away only after
`removed` is durable. A kill in between leaves an orphan, which is harmless and collected later.

*No effect precedes its event, and no event its predecessor*, also when the power goes. So the order is: sync
the file, link it to its name, sync the folder, and only then say that it is there (`local`). Who reads
another one's event syncs the folder before anything rests on it, for its writer may have been killed before
that.

*A hint may be wrong and costs nothing*: `routes.json`, heartbeats and counters are replaced whole and are not
synced. Who reads a hint goes on from it in the journal and never back; one that is damaged is skipped with a
warning. Counters count once they are frozen (`frozen`), and of one slice there is one winner again. *Views*
(`current`, `canary`, `versions/`) are generated from the state for people and old tools, and nothing is
decided by them; what somebody else put there is carried out and imported, never destroyed (`views`, `view`,
`incoming`).

*A witness* is anything that names an event beyond the journal's end (`witness`). A journal that lost its
newest files is sound and shorter; a witness proves the loss. Then it is read as far as it goes and nothing is
appended, so that no number is given twice.

*Who repairs.* Readers do not: what does not have its hash is named and not used (the local copy of what lies
in a bucket is fetched anew). The controller makes hints and views anew as it goes, and a start sweeps what
killed writers left (`alive`). All else is done by a person: `serinus store check --repair` (`checking`)
restores by hash from another place, moves aside what is damaged, and guesses nothing.
"""

from serinus.store.client import Address
from serinus.store.frozen import FrozenSlice
from serinus.store.gallery import Disagreement, GalleryFile, Mark, Right
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
    "Right",
    "Routes",
    "Served",
    "Sign",
    "Store",
    "Waiting",
    "go_on",
    "refusal",
    "volume_errors",
]
