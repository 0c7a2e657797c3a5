"""How versions do on what users sent and judged."""

from collections.abc import Callable, Iterator, Sequence

import msgspec
import numpy as np

from serinus.core.errors import Corrupt, InvalidInput
from serinus.core.ids import Digest, Version
from serinus.data.labelled import LabelledPair
from serinus.evaluation.coco import Found, Truth
from serinus.evaluation.online import OnlineMetrics, online_metrics
from serinus.store import Feedback, Store


class Online(msgspec.Struct, frozen=True, kw_only=True):
    """How a version does on what users sent and judged."""

    version: Version
    digest: Digest
    pictures: int
    metrics: OnlineMetrics | None
    """None while no judged picture shows a building."""


def online(store: Store) -> list[Online]:
    """Every version that was judged, the newest first. Raises Corrupt, naming a damaged file."""
    state = store.state()
    rows = []
    for digest in store.feedback.digests():
        all_of_it = store.feedback.of(digest)
        classes = store.manifest(digest).contract.classes
        for version in {one.answered.version for one in all_of_it} & state.versions.keys():
            mine = [one for one in all_of_it if one.answered.version == version]
            rows.append(
                Online(version=version, digest=digest, pictures=len(mine), metrics=_metrics(mine, classes))
            )
    return sorted(rows, key=lambda row: -row.version)


def refuse(error: Corrupt) -> None:
    """Raises it."""
    raise error


def labelled(store: Store, damaged: Callable[[Corrupt], None] = refuse) -> Iterator[LabelledPair]:
    """Every judged pair whose pictures were kept, oldest first within a version.

    `damaged` is told of each file that is; when it returns, what is in it is left out.
    """
    for digest in store.feedback.digests():
        judged = []
        for found in store.feedback.each(digest):
            if isinstance(found, Corrupt):
                damaged(found)
            else:
                judged.append(found)
        for one in sorted(judged, key=lambda one: (one.answered.time, one.answered.request_id)):
            try:
                pair = store.feedback.pair(one.answered)
            except Corrupt as error:
                damaged(error)
                continue
            if pair is not None:
                yield LabelledPair(
                    name=one.answered.request_id,
                    pre=pair.pre,
                    post=pair.post,
                    width=one.answered.width,
                    height=one.answered.height,
                    boxes=one.boxes,
                    classes=one.classes,
                )


def _metrics(feedback: Sequence[Feedback], classes: tuple[str, ...]) -> OnlineMetrics | None:
    try:
        return online_metrics(*pairs_of(feedback), classes)
    except InvalidInput:
        return None


def pairs_of(feedback: Sequence[Feedback]) -> tuple[Truth, list[Found]]:
    """Truth and what was found, picture by picture, as `evaluation` wants them."""
    truth = [
        (np.array(one.boxes, np.float32).reshape(-1, 4), np.array(one.classes, np.int64)) for one in feedback
    ]
    found = [
        np.column_stack(
            (
                np.array(one.answered.boxes, np.float32).reshape(-1, 4),
                np.array(one.answered.scores, np.float32),
                np.array(one.answered.classes, np.float32),
            )
        )
        for one in feedback
    ]
    return truth, found
