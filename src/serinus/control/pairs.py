"""What shadow pairs say about a rollout, for people: both versions on the same pictures."""

import math
from collections import Counter
from collections.abc import Mapping

import msgspec

from serinus.core.enums import Arm, ShadowDrop
from serinus.core.errors import Corrupt, NotFound
from serinus.core.ids import Version
from serinus.evidence.counts import BINS_PER_MARGIN, FASTEST_SECONDS
from serinus.evidence.pairs import BANDS, MICRO, NONE, PairCounts, PairEvidence
from serinus.store import Store


class Confused(msgspec.Struct, frozen=True, kw_only=True):
    """Boxes of one cell of the confusion matrix between the versions."""

    current: str | None
    """Class by current; None: only the canary has a box."""
    canary: str | None
    """Class by the canary; None: only current has a box."""
    boxes: int


class PairLatency(msgspec.Struct, frozen=True, kw_only=True):
    """How long one version took over the pairs, in seconds; None where it was never in that place."""

    arm: Arm
    answered: float | None
    """Median when it answered the user."""
    shadowed: float | None
    """Median when it was asked afterwards, with low priority."""


class PairsView(msgspec.Struct, frozen=True, kw_only=True):
    """All shadow pairs of a rollout."""

    pairs: int
    """Since the rollout began."""
    tested: int
    """Since the policy last changed what is tolerated."""
    disagreed: int
    """Of the tested ones: with an agreement F1 below `below`."""
    below: float
    tolerated: float
    """Rate of disagreements that the policy tolerates."""
    e_disagreement: float
    """Evidence that more of them disagree: an e-value."""
    limit: float
    excessive: bool
    """The evidence has reached the limit."""
    vouched: tuple[str, ...]
    """Golden sets and held-out pairs that vouch for the canary: a disagreement is noted and no hold."""
    f1: tuple[int, ...]
    """Pairs by agreement F1: [0, 0.05), [0.05, 0.1) ... and, last, 1."""
    f1_pooled: float | None
    """Agreement F1 over all boxes; None without any."""
    boxes_current: int
    boxes_canary: int
    matched: int
    agreed: int
    score_shift: float
    """Mean over matched boxes of the canary's confidence minus current's."""
    confusion: tuple[Confused, ...]
    latency: tuple[PairLatency, ...]
    slower: float | None
    """The canary's latency over current's on the same picture, geometric mean. Each version has to have
    answered some and shadowed some, since who is asked afterwards has a low priority; else None."""
    failed: dict[Arm, int]
    """Pictures without a pair, by the version that was asked afterwards and failed."""
    dropped: dict[ShadowDrop, int]
    """Pictures that were to be asked twice and were not."""
    words: str


def pairs_view(
    evidence: PairEvidence | None, vouched: tuple[str, ...], classes: tuple[str, ...]
) -> PairsView | None:
    """None where the rollout had no shadow pairs."""
    if evidence is None:
        return None
    total = evidence.total
    boxes = total.boxes_current + total.boxes_canary
    return PairsView(
        pairs=total.pairs,
        tested=evidence.pairs,
        disagreed=evidence.disagreed,
        below=evidence.tolerance.below,
        tolerated=evidence.tolerance.rate,
        e_disagreement=evidence.e_disagreement,
        limit=evidence.limit,
        excessive=evidence.excessive,
        vouched=vouched,
        f1=tuple(total.f1.get(band, 0) for band in range(BANDS + 1)),
        f1_pooled=2 * total.agreed / boxes if boxes else None,
        boxes_current=total.boxes_current,
        boxes_canary=total.boxes_canary,
        matched=total.matched,
        agreed=total.agreed,
        score_shift=total.score_shift / MICRO / total.matched if total.matched else 0.0,
        confusion=_confusion(total, classes),
        latency=tuple(
            PairLatency(arm=arm, answered=_median(total.answered, arm), shadowed=_median(total.shadowed, arm))
            for arm in Arm
        ),
        slower=_slower(total),
        failed=total.failed,
        dropped=total.dropped,
        words=_words(evidence, vouched),
    )


def classes_of(store: Store, *versions: Version | None) -> tuple[str, ...]:
    """The longest list of class names of these versions, as far as they are still there."""
    state = store.state()
    found: list[tuple[str, ...]] = [()]
    for version in versions:
        if version is None:
            continue
        try:
            found.append(store.manifest(state.versions[version].digest).contract.classes)
        except (NotFound, Corrupt):
            continue  # the counts can be shown without names
    return max(found, key=len)


def name_of(label: int, classes: tuple[str, ...]) -> str | None:
    """A class by name; None where a version has no box."""
    if label == NONE:
        return None
    return classes[label] if label < len(classes) else f"class {label}"


def _confusion(total: PairCounts, classes: tuple[str, ...]) -> tuple[Confused, ...]:
    return tuple(
        Confused(current=name_of(row, classes), canary=name_of(column, classes), boxes=boxes)
        for row, columns in total.confusion.items()
        for column, boxes in columns.items()
    )


def _median(latencies: Mapping[Arm, Mapping[int, int]], arm: Arm) -> float | None:
    """The middle of the median's bin, seconds."""
    bins = Counter(latencies.get(arm, {}))
    seen = 0
    for bin_ in sorted(bins):
        seen += bins[bin_]
        if 2 * seen >= bins.total():
            return float(FASTEST_SECONDS * 1.2 ** ((bin_ + 0.5) / BINS_PER_MARGIN))
    return None


def _slower(total: PairCounts) -> float | None:
    """The mean of both orders: what the low priority costs stands once above and once below the line."""
    counts = {arm: sum(total.answered.get(arm, {}).values()) for arm in Arm}
    if not all(counts.values()):
        return None
    means = [total.slower.get(arm, 0) / MICRO / counts[arm] for arm in Arm]
    return math.exp(sum(means) / len(means))


def _words(evidence: PairEvidence, vouched: tuple[str, ...]) -> str:
    if not evidence.pairs:
        return "No picture was asked of both versions yet."
    said = evidence.words[0].upper() + evidence.words[1:]
    if not evidence.excessive:
        return f"{said}."
    if vouched:
        return f"{said}: noted, since {' and '.join(vouched)} vouches for the canary."
    return f"{said}, and neither golden sets nor held-out pairs vouch for the canary."
