"""The pictures that two versions disagree on most: to look at, to dismiss, to hand out for labelling."""

from collections.abc import Iterator
from contextlib import suppress

import msgspec

from serinus.control.ledger import with_pairs
from serinus.control.pairs import Confused, PairsView, classes_of, name_of, pairs_view
from serinus.core.enums import Arm
from serinus.core.errors import Corrupt, NotFound
from serinus.core.ids import Version
from serinus.data.queue import Queued, Source, Suggestion
from serinus.rollout.events import PolicyChanged, RolloutStarted, Verified
from serinus.rollout.policy import Policy
from serinus.store import Answered, Disagreement, GalleryFile, Mark, Right, Store


class DisagreementView(msgspec.Struct, frozen=True, kw_only=True):
    """One picture, in a list."""

    id: str
    request_id: str
    time: float
    """When it was answered, UTC seconds."""
    f1: float
    """Agreement F1."""
    disputed: int
    """Boxes of both without a partner of their class."""
    matched: int
    agreed: int
    boxes_current: int
    boxes_canary: int
    score_shift: float
    answered_by: Arm
    """Who answered the user."""
    current: Version
    canary: Version
    seconds_current: float
    seconds_canary: float
    files: tuple[GalleryFile, ...]
    """What can be fetched."""
    mark: Mark | None
    """What a person said of it."""


class DisagreementDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One picture with both answers."""

    summary: DisagreementView
    current: Answered
    canary: Answered
    classes: tuple[str, ...]
    """Class id -> name."""
    confusion: tuple[Confused, ...]


class DisagreementsPage(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout's shadow pairs and their gallery."""

    rollout: int
    pairs: PairsView | None
    """None where no picture was asked of both versions."""
    items: tuple[DisagreementView, ...]
    """The worst first."""
    damaged: int
    """So many cannot be read; `serinus store check` names them."""


def disagreements(store: Store, rollout: int) -> DisagreementsPage:
    """Raises NotFound when there was no such rollout, Corrupt when its evidence is damaged."""
    summary = pairs_of(store, rollout)
    items: list[DisagreementView] = []
    damaged = 0
    for name in store.gallery.ids(rollout):
        try:
            found = store.gallery.get(rollout, name)
        except Corrupt:
            damaged += 1
            continue
        if found is not None:
            items.append(_view(store, name, found))
    return DisagreementsPage(rollout=rollout, pairs=summary, items=tuple(items), damaged=damaged)


def disagreement(store: Store, rollout: int, name: str) -> DisagreementDetail:
    """Raises NotFound, or Corrupt, naming a damaged file."""
    found = store.gallery.get(rollout, name)
    if found is None:
        raise _not_there(rollout, name)
    sides = _sides(found)
    classes = classes_of(store, *(sides[arm].version for arm in Arm))
    return DisagreementDetail(
        summary=_view(store, name, found),
        current=sides[Arm.CURRENT],
        canary=sides[Arm.CANARY],
        classes=classes,
        confusion=tuple(
            Confused(current=name_of(row, classes), canary=name_of(column, classes), boxes=boxes)
            for row, columns in found.confusion.items()
            for column, boxes in columns.items()
        ),
    )


def picture(store: Store, rollout: int, name: str, kind: GalleryFile) -> bytes:
    """An overlay, or a picture as it was sent. Raises NotFound, or Corrupt, naming a damaged file."""
    data = store.gallery.file(rollout, name, kind)
    if data is None:
        raise _not_there(rollout, name, f" {kind}")
    return data


def mark(
    store: Store,
    rollout: int,
    name: str,
    *,
    actor: str,
    time: float,
    reason: str = "",
    dismissed: bool | None = None,
    right: Right | msgspec.UnsetType | None = msgspec.UNSET,
) -> DisagreementView:
    """Says that a disagreement is dismissed, or who is right, or takes either back (`right`: None).

    What is not given stays as somebody said it, of whom a damaged file tells nothing. `time`: UTC seconds.
    Raises NotFound.
    """
    before = None
    with suppress(Corrupt):  # which a new word replaces
        before = store.gallery.mark_of(rollout, name)
    if before is None:
        before = Mark(dismissed=False, actor=actor, time=time)
    said = Mark(
        dismissed=before.dismissed if dismissed is None else dismissed,
        right=before.right if right is msgspec.UNSET else right,
        actor=actor,
        reason=reason,
        time=time,
    )
    store.gallery.mark(rollout, name, said)
    return disagreement(store, rollout, name).summary


def queue(store: Store, rollout: int) -> Iterator[Queued]:
    """What people should label, the worst first; what was dismissed is left out."""
    for name in store.gallery.ids(rollout):
        try:
            one = _queued(store, rollout, name)
        except Corrupt:
            continue  # the listing says how many are damaged
        if one is not None:
            yield one


def classes_in(store: Store, rollout: int) -> tuple[str, ...]:
    """Class names of a rollout's versions. Raises NotFound when there was no such rollout."""
    version, _, _, baseline = _course(store, rollout)
    return classes_of(store, version, baseline)


def pairs_of(store: Store, rollout: int) -> PairsView | None:
    """What a rollout's shadow pairs say; None where there were none. Raises NotFound."""
    version, policy, vouched, baseline = _course(store, rollout)
    last = store.last_frozen(rollout)
    if last is None:
        return None
    return pairs_view(with_pairs(last.shadow, None, policy), vouched, classes_of(store, version, baseline))


def _course(store: Store, number: int) -> tuple[Version, Policy, tuple[str, ...], Version | None]:
    """A rollout's version, the policy that it followed at last, what vouched for it, and its baseline."""
    state = store.state()
    for known in (state.rollout, state.last):
        if known is not None and known.number == number:
            return known.version, known.policy, known.vouched, known.baseline
    policy: Policy | None = None
    vouched: tuple[str, ...] = ()
    for event in store.newest_events():
        match event.body:
            case PolicyChanged(rollout=it) if it == number and policy is None:
                policy = event.body.policy
            case Verified(rollout=it) if it == number:
                vouched = event.body.vouched
            case RolloutStarted(rollout=it) if it == number:
                return event.body.version, policy or event.body.policy, vouched, None
    raise NotFound(f"There is no rollout {number}.", remedy="`serinus rollout history` lists them.")


def _queued(store: Store, rollout: int, name: str) -> Queued | None:
    found = store.gallery.get(rollout, name)
    noted = store.gallery.mark_of(rollout, name)
    if found is None or (noted is not None and noted.dismissed):
        return None
    return Queued(
        name=found.answered.request_id,
        width=found.answered.width,
        height=found.answered.height,
        suggestions=tuple(_suggestions(found)),
        pre=store.gallery.file(rollout, name, GalleryFile.PRE),
        post=store.gallery.file(rollout, name, GalleryFile.POST),
    )


def _view(store: Store, name: str, found: Disagreement) -> DisagreementView:
    sides = _sides(found)
    seconds = {found.answered.role: found.answered_seconds, found.shadow.role: found.shadow_seconds}
    noted = None
    with suppress(Corrupt):
        noted = store.gallery.mark_of(found.rollout, name)
    return DisagreementView(
        id=name,
        request_id=found.answered.request_id,
        time=found.answered.time,
        f1=found.f1,
        disputed=found.disputed,
        matched=found.matched,
        agreed=found.agreed,
        boxes_current=len(sides[Arm.CURRENT].boxes),
        boxes_canary=len(sides[Arm.CANARY].boxes),
        score_shift=found.score_shift,
        answered_by=found.answered.role,
        current=sides[Arm.CURRENT].version,
        canary=sides[Arm.CANARY].version,
        seconds_current=seconds[Arm.CURRENT],
        seconds_canary=seconds[Arm.CANARY],
        files=tuple(sorted(found.files)),
        mark=noted,
    )


def _sides(found: Disagreement) -> dict[Arm, Answered]:
    return {found.answered.role: found.answered, found.shadow.role: found.shadow}


def _suggestions(found: Disagreement) -> Iterator[Suggestion]:
    """Boxes that both see, with one class: once. All others: as each version has them."""
    sides = _sides(found)
    current, canary = sides[Arm.CURRENT], sides[Arm.CANARY]
    import numpy as np  # heavy, and rarely needed by the dashboard's process

    from serinus.evaluation.agreement import match

    boxes = [np.array(side.boxes, np.float32).reshape(-1, 4) for side in (current, canary)]
    labels = [np.array(side.classes, np.int64) for side in (current, canary)]
    rows, columns = match(*boxes, prefer=labels[0][:, None] == labels[1])
    partner = {int(row): int(column) for row, column in zip(rows, columns, strict=True)}
    count = 0
    for row in range(len(current.boxes)):
        column = partner.pop(row, None)
        if column is None:
            yield _suggested(current, row, Source.CURRENT)
            count += 1
        elif current.classes[row] == canary.classes[column]:
            yield _suggested(canary, column, Source.BOTH)
            count += 1
        else:
            yield _suggested(current, row, Source.CURRENT, partner=count + 1)
            yield _suggested(canary, column, Source.CANARY, partner=count)
            count += 2
    for column in sorted(set(range(len(canary.boxes))) - set(columns.tolist())):
        yield _suggested(canary, column, Source.CANARY)


def _suggested(side: Answered, place: int, source: Source, *, partner: int | None = None) -> Suggestion:
    return Suggestion(
        box=side.boxes[place],
        label=side.classes[place],
        score=side.scores[place],
        source=source,
        partner=partner,
    )


def _not_there(rollout: int, name: str, what: str = "") -> NotFound:
    return NotFound(
        f"There is no disagreement {name!r}{what} in rollout {rollout}.",
        remedy=f"`serinus disagreements list {rollout}` names them. Only the worst are kept.",
    )
