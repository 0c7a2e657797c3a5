"""Where events stand among a rollout's frozen slices, so that a retrace lets them happen where they happened.

The journal and the slices are two sequences. Events tell the slice that was the newest when they were made:
`k` of what rests on evidence, of changes of the policy, of pauses and resumptions. What does not (older
versions of Serinus noted no `k` for the last two, only the window's clock for resumptions) stands between its
neighbours in the journal that do. Only within these bounds do times of day count: people and controllers have
different clocks.
"""

from collections.abc import Sequence

import msgspec

from serinus.rollout.events import Body, EpochReset, Event, Held, Paused, PolicyChanged, Resumed, ShareChanged
from serinus.store import FrozenSlice


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """An event, and between which slices it happened."""

    event: Event
    after: int = -1
    """It happened when slice `after` was there; -1: there may have been none."""
    until: int | None = None
    """It happened before slice `until` + 1; None when nobody knows."""
    epoch: int | None = None
    """Where it restarts the evidence: the epoch that it begins, by the recording."""
    decided: int | None = None
    """Slice that the decision rests on that came right after it in the journal; None when none came."""

    def before(self, frozen: FrozenSlice) -> bool:
        """Whether it happened before `frozen` was frozen by somebody who knew of it."""
        if frozen.k <= self.after:
            return False
        if self.until is not None and frozen.k > self.until:
            return not self._unknown_to(frozen)
        body = self.event.body
        # A clock of 0 says nothing: it is that of an event without one, too.
        if isinstance(body, Resumed) and body.clock > 0 and frozen.clock != body.clock:
            return frozen.clock > body.clock
        return self.event.time < frozen.time

    def missed_by(self, frozen: FrozenSlice) -> bool:
        """Whether it happened before `frozen`, but whoever froze that had not read it yet."""
        return self.until is not None and frozen.k > self.until and self._unknown_to(frozen)

    def _unknown_to(self, frozen: FrozenSlice) -> bool:
        """A controller that looked just before the event freezes one slice more; its decision is refused."""
        next_one = frozen.k == self.after + 1
        return next_one and self.epoch is not None and frozen.analysis.epochs < self.epoch


def placed(events: Sequence[Event], epoch: int) -> list[Placed]:
    """`events`: all of a rollout since its canary got traffic, in order. `epoch`: the one it had then."""
    last, found = -1, []
    for event in events:
        body = event.body
        k = _newest_slice(body)
        last = max(last, -1 if k is None else k)
        restarts = isinstance(body, EpochReset) or (isinstance(body, PolicyChanged) and body.fresh)
        epoch += restarts
        found.append(Placed(event=event, after=last, until=k, epoch=epoch if restarts else None))
    until: int | None = None
    decided: int | None = None
    for i in reversed(range(len(found))):
        body, k = found[i].event.body, found[i].until
        ends = [end for end in (k, until) if end is not None]
        until = min(ends) if ends else None
        found[i] = msgspec.structs.replace(found[i], until=until, decided=decided)
        decided = None if isinstance(body, PolicyChanged | Paused | Resumed) else k
    return found


def _newest_slice(body: Body) -> int | None:
    """Number of the newest slice when the event was made, -1 for none yet; None where it does not tell."""
    if isinstance(body, PolicyChanged | Paused | Resumed | Held | EpochReset):
        return body.k
    if isinstance(body, ShareChanged) and body.step is not None:
        return body.k
    k = getattr(body, "numbers", {}).get("k")
    return None if k is None else int(k)
