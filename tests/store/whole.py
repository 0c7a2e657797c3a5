"""A store that has been through everything: what checks and copies are tried on."""

import time
from pathlib import Path

import msgspec

from serinus.core.enums import Arm, ReasonCode, RolloutPhase
from serinus.core.ids import Digest, Version
from serinus.evidence.pairs import PairCounts
from serinus.rollout.events import Held, Promoted, Rejected, Resumed, RolledBack, RolloutStarted
from serinus.rollout.policy import Policy
from serinus.store import (
    Address,
    Disagreement,
    FrozenSlice,
    GalleryFile,
    Mark,
    Pair,
    Replica,
    Routes,
    Served,
    Store,
)
from serinus.store.checking import Finding, Severity
from serinus.store.gallery import Limits
from serinus.store.predictions import Answered, Feedback
from tests.store.drafts import frozen_slice, new_id, some_slice, start_canary, write_draft, write_set


def open_store(root: Path, url: str = "", *, may_be_unfinished: bool = False) -> Store:
    bucket = Address(url, patience=10.0, allow_http=True) if url else None
    return Store.open(
        root, clock=time.time, new_id=new_id, bucket=bucket, may_be_unfinished=may_be_unfinished
    )


def freeze(store: Store, rollout: int, count: int) -> FrozenSlice:
    """`count` more slices; gives the last."""
    last = store.last_frozen(rollout)
    for _ in range(count):
        k, prev = (0, "") if last is None else (last.k + 1, last.digest)
        last = frozen_slice(rollout, k, prev, successes=k + 1)
        assert store.freeze(last)
    assert last is not None
    return last


def publish(store: Store, drafts: Path, content: str) -> Version:
    draft = write_draft(drafts / new_id(), content.encode() * 3000)
    return store.publish(draft, note=content, actor="train")


def fill(store: Store, drafts: Path) -> Store:
    """Five versions: current, rolled back, rejected, removed, canary; evidence; golden sets; what passes."""
    base = write_draft(drafts / "base", b"base")
    store.publish(base, note="base", actor="up", initial=True)
    second = publish(store, drafts, "second")
    rollout = start_canary(store, second)
    last = freeze(store, rollout, 4)
    store.append(
        Promoted(rollout=rollout, version=second, code=ReasonCode.EVIDENCE_GOOD, evidence=last.digest),
        actor="controller",
        reason="good",
    )
    third = publish(store, drafts, "third")
    rollout = start_canary(store, third)
    last = freeze(store, rollout, 3)
    store.append(
        Held(rollout=rollout, code=ReasonCode.SHARED_FAILURE, k=2), actor="controller", reason="all fail"
    )
    store.append(Resumed(rollout=rollout), actor="alice", reason="seen")
    store.append(
        RolledBack(rollout=rollout, version=third, code=ReasonCode.ERRORS, evidence=last.digest),
        actor="controller",
        reason="bad",
    )
    store.snapshot()
    fourth = publish(store, drafts, "fourth")
    number = store.state().rollouts + 1
    store.append(
        RolloutStarted(rollout=number, version=fourth, policy=Policy()), actor="controller", reason="next"
    )
    store.append(
        Rejected(rollout=number, code=ReasonCode.QUALITY_GATE), actor="controller", reason="worse on golden"
    )
    store.remove_versions((third,), actor="alice", reason="old")
    store.collect()
    for name in ("one", "two"):
        store.add_golden("storm", write_set(drafts / f"golden-{name}", dataset=name), actor="alice")
    store.add_golden("flood", write_set(drafts / "golden-flood", dataset="flood"), actor="alice")
    for window in (60.0, 90.0):
        store.put_policy(Policy(name="short", window_seconds=window), actor="alice", reason="impatient")
    fifth = publish(store, drafts, "fifth")
    rollout = start_canary(store, fifth)
    freeze(store, rollout, 2)
    store.snapshot()
    store.feedback.put(ground_truth(store), None)
    store.feedback.put(judged(store, "r-2"), PAIR)
    store.predictions.keeper("infer-0-ab", most=10).put([judged(store, "r-3").answered], {"r-3": PAIR})
    kept_disagreement(store)
    pass_by(store)
    store.refresh_views()
    return store


def ground_truth(store: Store, x: float = 1.0) -> Feedback:
    """For an answer of version 2."""
    digest = store.state().versions[Version(2)].digest
    answered = Answered(
        request_id="r-1", time=1.0, version=Version(2), digest=digest, role=Arm.CURRENT, width=64, height=64
    )
    return Feedback(answered=answered, time=2.0, boxes=((x, 1.0, 9.0, 9.0),), classes=(1,))


BOX = (1.0, 2.0, 30.0, 40.0)


def disagreement(name: str, f1: float, boxes: int = 1) -> Disagreement:
    """Of rollout 1: `boxes` matched boxes, all of another class."""
    answered = Answered(
        request_id=name,
        time=1.0,
        version=Version(1),
        digest=Digest("a" * 64),
        role=Arm.CURRENT,
        rollout=1,
        width=64,
        height=64,
        boxes=(BOX,) * boxes,
        scores=(0.9,) * boxes,
        classes=(0,) * boxes,
    )
    return Disagreement(
        rollout=1,
        answered=answered,
        shadow=msgspec.structs.replace(answered, version=Version(2), role=Arm.CANARY, classes=(3,) * boxes),
        f1=f1,
        matched=boxes,
        agreed=0,
        confusion={0: {3: boxes}},
        score_shift=0.0,
        answered_seconds=0.1,
        shadow_seconds=0.2,
    )


def kept_disagreement(store: Store) -> None:
    """One with all its files, which somebody looked at."""
    files = {kind: f"{kind} of it".encode() * 100 for kind in GalleryFile}
    store.gallery.put(msgspec.structs.replace(disagreement("r-1", 0.0), rollout=2), files, Limits())
    (name,) = store.gallery.ids(2)
    store.gallery.mark(2, name, Mark(dismissed=True, actor="alice", reason="clouds", time=1.0))


PAIR = Pair(pre=b"before" * 50, post=b"after" * 50)


def judged(store: Store, request_id: str, *, time: float = 2.0, x: float = 1.0) -> Feedback:
    """As `ground_truth`, for another answer, whose pictures were kept."""
    truth = ground_truth(store, x)
    answered = msgspec.structs.replace(truth.answered, request_id=request_id, pictures=True)
    return msgspec.structs.replace(truth, answered=answered, time=time)


def pass_by(store: Store) -> None:
    """What processes write all the time."""
    state = store.state()
    assert state.rollout is not None and state.current is not None
    store.put_observation(state.rollout.number, "infer-0-ab", 0, some_slice())
    store.put_observation(state.rollout.number, "infer-0-ab", 1, some_slice())
    store.put_pairs(state.rollout.number, "infer-0-ab", 0, PairCounts())
    digest = state.versions[state.current].digest
    store.put_replica(Replica(replica="infer-0-ab", time=time.time(), seq=state.seq, loaded=(digest,)))
    store.put_routes(
        Routes(
            seq=state.seq,
            current=Served(version=state.current, digest=digest),
            rollout=state.rollout.number,
            phase=RolloutPhase.CANARY,
            share=0.5,
            time=time.time(),
        )
    )


def findings(store: Store, *, repair: bool = False, other: Store | None = None) -> list[Finding]:
    return list(store.check(repair=repair, other=other))


def notable(found: list[Finding]) -> list[Finding]:
    """What is left to do, after a repair."""
    return [one for one in found if one.severity is not Severity.INFO and not one.repaired]
