"""Whether the newest part of the journal was lost, and the way on when nothing has it any more."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from serinus.core.enums import ReasonCode
from serinus.core.errors import Conflict, InvalidInput
from serinus.rollout.events import Event, Lost, RolledBack
from serinus.rollout.state import State
from serinus.store import publish, witness
from serinus.store.checking.ground import Ground
from serinus.store.journal import Journal, accepted
from serinus.store.registry import Registry
from serinus.store.view import VIEW, read_link

_MOST = 10_000
"""So many events are filled in; a number beyond that is somebody's mistake."""


class Claim(NamedTuple):
    """Something that is here and must have come after the journal's end."""

    seq: int
    """At least this event happened."""
    words: str
    done: Callable[[State], bool]
    """Whether a state has what the claim is about."""
    head: str = ""
    """sha256 of that event's file, where it is known."""


def claims(ground: Ground, end: int, state: State | None, *, copying: bool) -> list[Claim]:
    """The farthest first. `state`: after event `end`; None when the journal is damaged before that.

    `copying`: evidence may be ahead of the journal, which is copied last.
    """
    found = [_event(told) for told in _events(ground, end) if told.seq > end]
    if state is not None:
        found += _versions(ground, state)
        if not copying:
            found += _rollouts(ground, state)
    return sorted(found, key=lambda claim: -claim.seq)


def _event(told: witness.Witness) -> Claim:
    return Claim(told.seq, told.words, lambda state: state.seq >= told.seq, told.head)


def _events(ground: Ground, end: int) -> Iterator[witness.Witness]:
    later = witness.later(ground.backend, end)
    if later is not None:
        yield later
    unfinished = accepted(ground.backend, end)
    if unfinished is not None:
        yield unfinished
    yield from witness.documents(ground.backend)
    if ground.here is not None:
        views = ground.here / "views"
        for path in sorted(views.iterdir()) if views.is_dir() else ():
            match = VIEW.fullmatch(path.name)
            if match:
                yield witness.Witness(int(match[1]), str(path))
    elif ground.root is not None:
        remembered = witness.remembered(witness.last_state(ground.root, ground.backend))
        if remembered is not None:
            yield remembered


def _rollouts(ground: Ground, state: State) -> Iterator[Claim]:
    """Evidence and observations are of rollouts that got traffic."""
    for folder in ("evidence", "observations"):
        numbers = (int(name) for name in ground.backend.names(folder) if name.isdecimal())
        number = max(numbers, default=0)
        if number > state.rollouts:
            name = ground.name(f"{folder}/{number}")
            yield Claim(
                state.seq + number - state.rollouts,
                f"{name} is of rollout {number}, which it does not know",
                lambda state, number=number: _had_traffic(state, number),  # type: ignore[misc]
            )


def _had_traffic(state: State, number: int) -> bool:
    latest = (one for one in (state.rollout, state.last) if one is not None and one.number == number)
    return state.rollouts > number or any(one.canary_at is not None for one in latest)


def _versions(ground: Ground, state: State) -> Iterator[Claim]:
    """Links to versions are made after these were published."""
    if ground.here is None or not (ground.here / "versions").is_dir():
        return
    for link in sorted((ground.here / "versions").iterdir()):
        digest = (read_link(link) or "").removeprefix("../artifacts/")
        if link.name.isdecimal() and int(link.name) >= state.next_version and publish.is_digest(digest):
            version = int(link.name)
            yield Claim(
                state.seq + version + 1 - state.next_version,
                f"{link} is version {version}, which it does not know",
                lambda state, version=version: version < state.next_version,  # type: ignore[misc]
            )


def accept_loss(
    ground: Ground, journal: Journal, registry: Registry, *, actor: str, reason: str
) -> tuple[Event, ...]:
    """Fills the numbers of lost events, so that none is given twice, and ends the rollout that was active.

    The snapshots of what was lost go to `lost+found/`, and so do later events that the loss cut off. Cut off
    itself, it is gone on with by the next call. Raises Conflict when nothing is lost, or somebody appended
    meanwhile, and Corrupt for any other damage.
    """
    state = journal.state()
    found = claims(ground, state.seq, state, copying=False)
    if not found:
        raise Conflict(
            "Nothing names an event beyond the journal's end.", remedy="There is nothing to accept."
        )
    through = found[0].seq
    if through - state.seq > _MOST:
        raise InvalidInput(
            f"The journal ends with event {state.seq}, but {found[0].words}: that is too far to be a loss.",
            remedy="If that file is not of this store, move it away.",
        )
    body = Lost(through=through, witness=found[0].words)
    done = list[Event]()
    for seq in range(state.seq, through):
        done.append(registry.append(lambda _: body, actor=actor, reason=lambda _: reason, expect=seq))
        if seq == state.seq:  # from here on this event tells of the loss
            _put_cut_off_aside(ground, seq + 1)
    for seq in witness.snapshot_seqs(ground.backend):
        if seq > state.seq:
            ground.put_aside(f"{witness.SNAPSHOTS}/{seq:010d}.json")
    if state.rollout is not None:
        ended = RolledBack(
            rollout=state.rollout.number, version=state.rollout.version, code=ReasonCode.MANUAL
        )
        words = f"What became of it is lost: {reason}"
        done.append(registry.append(lambda _: ended, actor=actor, reason=lambda _: words, expect=through))
    return tuple(done)


def _put_cut_off_aside(ground: Ground, end: int) -> None:
    for name in sorted(ground.backend.names(witness.JOURNAL, after=f"{end:010d}.json")):
        if witness.NUMBERED.fullmatch(name):
            ground.put_aside(f"{witness.JOURNAL}/{name}")
