"""One of many writers: publishes, or decides on what it sees, and says what the store has confirmed.

python -m tests.store.writer ROOT FOLDER NAME COUNT KIND     KIND: publisher | controller

A controller decides on the state that it has read and says so (`expect`). When it loses the race it is told
Conflict, reads again and decides anew: `lost SEQ-DECIDED-ON SEQ-NOW`. Now and then it collects old versions
in place of a decision (`serinus versions gc`).
"""

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

from serinus.control import commands, retention
from serinus.core.enums import RolloutPhase
from serinus.core.errors import Conflict
from serinus.core.ids import Version
from serinus.rollout.events import Event, ShareChanged, Verified
from serinus.rollout.policy import Policy
from serinus.rollout.state import State
from serinus.rollout.table import STARTABLE
from serinus.store import Store
from tests.store.child import say
from tests.store.drafts import new_id

_ATTEMPTS = 10_000
_COLLECTS = 0.15
"""Share of what a controller does."""


def small_draft(folder: Path, content: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_text(content)
    (folder / "contract.json").write_text("{}")
    return folder


def publish(store: Store, folder: Path, name: str, count: int) -> None:
    """Every third version has what all publishers have, the others what nobody has."""
    for n in range(count):
        content = "shared" if n % 3 == 2 else f"{name} {n}"
        version = store.publish(small_draft(folder / f"{name}-{n}", content), note=f"{name} {n}", actor=name)
        say("published", version, store.state().versions[version].digest)


def decide(store: Store, name: str, count: int) -> None:
    chance = random.Random(name)
    won = 0
    for _ in range(_ATTEMPTS):
        if won == count:
            return
        state = store.state()
        try:
            allowed = decisions(store, state, name, chance)
            if not allowed or chance.random() < _COLLECTS:
                say("collected", *collect(store, name, chance))
            else:
                event = chance.choice(allowed)()
                say("appended", event.seq, event.id)
        except Conflict as error:
            now = store.state().seq
            if now == state.seq:
                raise AssertionError("nobody was faster") from error
            say("lost", state.seq, now)
        else:
            won += 1
    raise AssertionError("lost too often")


def collect(store: Store, actor: str, chance: random.Random) -> list[Version]:
    """Gives the versions that were removed; none where all are needed."""
    report = retention.collect(store, keep=chance.randint(0, 1), dry_run=False, actor=actor)
    return [fate.version for fate in report.versions if fate.remove]


def decisions(store: Store, state: State, actor: str, chance: random.Random) -> list[Callable[[], Event]]:
    """What this state allows, maybe nothing; each rests on it and on nothing newer."""
    seq, rollout = state.seq, state.rollout
    if rollout is None:
        startable = [v for v, record in state.versions.items() if record.state in STARTABLE]
        version = chance.choice(startable) if startable else None
        undo = lambda: commands.undo(store, actor=actor, expect=seq)  # noqa: E731
        start = lambda: commands.start(store, version, policy=Policy(), actor=actor, expect=seq)  # noqa: E731
        return [start] * (version is not None) + [undo] * (state.previous is not None)
    share = chance.randint(1, 9) / 10
    if rollout.phase is RolloutPhase.VERIFYING:
        verified = Verified(rollout=rollout.number, share=share)
        return [lambda: store.append(verified, actor=actor, reason="verified", expect=seq)]
    changed = ShareChanged(rollout=rollout.number, share=share)
    turn = commands.resume if rollout.phase is RolloutPhase.PAUSED else commands.pause
    return [
        lambda: store.append(changed, actor=actor, reason="share", expect=seq),
        lambda: turn(store, actor=actor, expect=seq),
        lambda: commands.rollback(store, actor=actor, expect=seq),
        lambda: commands.promote(store, actor=actor, reason="good", expect=seq, confirm=True),
    ]


def main(root: Path, folder: Path, name: str, count: int, kind: str) -> None:
    store = Store.open(root, clock=time.time, new_id=new_id)
    say("ready")
    sys.stdin.readline()
    if kind == "publisher":
        publish(store, folder, name, count)
    else:
        decide(store, name, count)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5])
