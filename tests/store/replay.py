"""The journal read and folded without the store: files in, states out."""

import hashlib
from pathlib import Path

import msgspec

from serinus.rollout.events import Event
from serinus.rollout.state import State
from serinus.rollout.transitions import apply


def replay(root: Path) -> list[State]:
    """The state after 0, 1, 2 ... events."""
    states = [State()]
    for path in sorted((root / "journal").glob("*.json")):
        data = path.read_bytes()
        event = msgspec.json.decode(data, type=Event)
        states.append(apply(states[-1], event, hashlib.sha256(data).hexdigest()))
    return states
