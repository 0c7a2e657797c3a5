"""Ground truth that comes later, held against the answer that it judges."""

import math

import msgspec

from serinus.core.errors import InvalidInput, NotFound
from serinus.core.ids import Clock, Version
from serinus.store import Feedback, Store, volume_errors
from serinus.store.predictions import Box

_MOST_BOXES = 10_000


class TrueBox(msgspec.Struct, frozen=True, kw_only=True):
    """One building that is really there."""

    xyxy: Box
    """Left, top, right, bottom in pixels of the pictures that were sent."""
    cls: int | None = None
    """Class id; or give the name."""
    class_name: str | None = None


class GroundTruth(msgspec.Struct, frozen=True, kw_only=True):
    """Body of POST /feedback."""

    request_id: str
    """As /predict answered it."""
    boxes: list[TrueBox]
    """Every building in the picture; an empty list says that there is none."""


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of POST /feedback."""

    request_id: str
    version: Version
    """The version that had answered."""
    boxes: int
    pictures_kept: bool
    """Whether the pictures were kept, so that they can be trained on."""


def take(store: Store, truth: GroundTruth, *, clock: Clock) -> Taken:
    """Stores ground truth for an answer; newer truth for the same answer replaces it.

    Raises NotFound when the answer is not known (any more), InvalidInput for boxes that cannot be.
    """
    found = store.predictions.find(truth.request_id)
    if found is None:
        raise NotFound(
            f"There is no answer {truth.request_id!r} to judge.",
            remedy="Answers are kept for a while only (KEEP_PREDICTIONS): judge a newer one.",
        )
    answered, pair = found
    if len(truth.boxes) > _MOST_BOXES:
        raise InvalidInput(f"{len(truth.boxes)} boxes are too many; {_MOST_BOXES} are the limit.")
    names = store.manifest(answered.digest).contract.classes
    classes = tuple(_class_id(number, box, names) for number, box in enumerate(truth.boxes))
    boxes = tuple(
        _inside(number, box, answered.width, answered.height) for number, box in enumerate(truth.boxes)
    )
    with volume_errors("keep the ground truth", store.root):
        store.feedback.put(Feedback(answered=answered, time=clock(), boxes=boxes, classes=classes), pair)
    return Taken(
        request_id=truth.request_id,
        version=answered.version,
        boxes=len(boxes),
        pictures_kept=pair is not None,
    )


def _class_id(number: int, box: TrueBox, names: tuple[str, ...]) -> int:
    if box.cls is not None and 0 <= box.cls < len(names) and box.class_name in (None, names[box.cls]):
        return box.cls
    if box.cls is None and box.class_name in names:
        return names.index(box.class_name)
    raise InvalidInput(
        f"Box {number} has no class that this version knows.",
        remedy=f"Give cls 0 to {len(names) - 1} or class_name: {', '.join(names)}.",
    )


def _inside(number: int, box: TrueBox, width: int, height: int) -> Box:
    left, top, right, bottom = box.xyxy
    fits = all(map(math.isfinite, box.xyxy)) and 0 <= left < right <= width and 0 <= top < bottom <= height
    if not fits:
        raise InvalidInput(
            f"Box {number} does not lie in the picture of {width} x {height} px: {list(box.xyxy)}.",
            remedy="Give left, top, right, bottom in pixels of the pictures that were sent.",
        )
    return box.xyxy
