"""What follows when replicas have no room for a version: decided before it gets traffic, or comes back."""

from collections.abc import Sequence
from typing import NamedTuple

from serinus.control import gather
from serinus.core.ids import Digest
from serinus.rollout.policy import OnNoRoom
from serinus.store import Replica, Store

_MODEL = "model.onnx"
REMEDY = (
    "Give the inference service more memory (INFER_MEMORY_MB, the container's limit) or fewer workers "
    "(INFER_WORKERS), or start a rollout under a policy with on_no_room: sequential."
)


class Verdict(NamedTuple):
    """Whether the version may be loaded, and how."""

    refused: bool
    sequential: bool
    """Current is unloaded first; nobody answers meanwhile."""
    words: str
    """Why, for the history; empty where no replica says what it has."""


def judge(
    store: Store,
    replicas: Sequence[Replica],
    digest: Digest,
    on_no_room: OnNoRoom,
    *,
    now: float,
    fresh_seconds: float,
) -> Verdict:
    """Asks the fresh heartbeats. A replica that says nothing of its memory is no objection: it refuses by
    itself what does not fit."""
    entry = store.manifest(digest).files.get(_MODEL)
    model = 0 if entry is None else entry.size
    short, seconds = gather.shortages(replicas, digest, model, now=now, fresh_seconds=fresh_seconds)
    if not short:
        known = any(one.memory is not None for one in replicas)
        words = "Every replica has room for it beside what is loaded." if known else ""
        return Verdict(refused=False, sequential=False, words=words)
    return _by_policy("; ".join(short[:3]), on_no_room, f"about {seconds:.1f} s")


def never_begun(replicas: Sequence[str], on_no_room: OnNoRoom, *, seconds: float) -> Verdict:
    """What follows where `replicas` did not begin to load it for so long, whatever room they report."""
    why = f"{', '.join(replicas[:3])} did not begin to load it in {seconds:g} s"
    return _by_policy(why, on_no_room, "as long as that takes")


def _by_policy(why: str, on_no_room: OnNoRoom, gap: str) -> Verdict:
    if on_no_room is OnNoRoom.REFUSE:
        return Verdict(
            refused=True, sequential=False, words=f"There is no room for it beside current: {why}."
        )
    words = (
        f"There is no room for it beside current: {why}. It takes the place of current: nobody answers "
        f"until it is loaded, {gap}, and it then gets all requests."
    )
    return Verdict(refused=False, sequential=True, words=words)
