"""What the store's tests publish and judge."""

import json
import uuid
from pathlib import Path

from serinus.artifact.files import sha256_bytes
from serinus.core.enums import Arm, FailureKind, Stratum
from serinus.core.ids import Version
from serinus.evidence.analysis import Params, begin
from serinus.evidence.counts import Cell, Slice
from serinus.rollout.events import RolloutStarted, Verified
from serinus.rollout.policy import Policy
from serinus.store import FrozenSlice, Store

METRICS = {"map50": 0.84, "precision": 0.79, "recall": 0.83, "train_epochs": 10}


def new_id() -> str:
    return uuid.uuid4().hex


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Ticks:
    """A clock that a test moves."""

    def __init__(self, now: float = 1_705_314_600.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def write_draft(folder: Path, content: bytes = b"graph", metrics: dict[str, float] | None = None) -> Path:
    (folder / "training").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(content)
    (folder / "best.pt").write_bytes(b"weights of " + content)
    (folder / "best.json").write_text('{"width": 16}')
    (folder / "contract.json").write_text("{}")
    (folder / "metrics.json").write_text(json.dumps(METRICS if metrics is None else metrics))
    (folder / "training" / "results.csv").write_text("epoch,loss\n1,0.5\n")
    return folder


def write_set(folder: Path, count: int = 2, dataset: str = "ds-000000000001") -> Path:
    """A golden set of `count` pairs."""
    (folder / "images").mkdir(parents=True)
    pairs = []
    for n in range(count):
        for side in ("pre", "post"):
            (folder / "images" / f"{n}_{side}.png").write_bytes(f"{dataset} {side} {n}".encode())
        pairs.append(
            {
                "key": f"synth_{n:08d}",
                "sha256": sha256_bytes(f"{dataset} post {n}".encode()),
                "sha256_pre": sha256_bytes(f"{dataset} pre {n}".encode()),
                "pre": f"images/{n}_pre.png",
                "post": f"images/{n}_post.png",
                "boxes": [[1, 2, 3.5, 4]],
                "classes": [3],
            }
        )
    (folder / "golden.json").write_text(json.dumps({"dataset": dataset, "pairs": pairs, "more": 1}))
    return folder


def start_canary(store: Store, version: Version, share: float = 0.5) -> int:
    """Brings a published version to the phase `canary`; gives the rollout's number."""
    number = store.state().rollouts + 1
    store.append(
        RolloutStarted(rollout=number, version=version, policy=Policy()), actor="test", reason="start"
    )
    store.append(Verified(rollout=number, share=share), actor="test", reason="verified")
    return number


def some_slice(successes: int = 3, failures: int = 0) -> Slice:
    failed = {FailureKind.EXCEPTION: failures} if failures else {}
    return (
        Cell(arm=Arm.CANARY, stratum=Stratum.USERS, share=0.5, ok={57: successes}, failed=failed),
        Cell(arm=Arm.CURRENT, stratum=Stratum.USERS, share=0.5, ok={57: successes, 60: 1}),
    )


def frozen_slice(rollout: int, k: int, prev: str, *, time: float = 1.0, successes: int = 3) -> FrozenSlice:
    return FrozenSlice(
        rollout=rollout,
        k=k,
        sources={"infer-0-ab": k},
        slice=some_slice(successes),
        clock_increment=1.5,
        clock=1.5 * (k + 1),
        time=time,
        in_flight=0,
        analysis=begin(Params()),
        prev=prev,
    )
