"""What a golden set says of a candidate beside current, gate by gate, in numbers and in words."""

from collections.abc import Sequence

import msgspec

from serinus.control.golden import Gate
from serinus.evaluation.bootstrap import Bound, ClassSupport, Comparison
from serinus.rollout.policy import DEFAULT, ClassGate, ClassMetric, Loss, Policy

_MAP50 = "map50"
_SHOWN = {_MAP50: "mAP50", ClassMetric.AP50: "AP50", ClassMetric.RECALL: "recall"}

_SHOWN_LOST = ClassGate(metric=ClassMetric.RECALL, margin=0.3, min_objects=10, min_pictures=5)
_ITSELF = msgspec.structs.replace(DEFAULT, class_gates=(*DEFAULT.class_gates, _SHOWN_LOST))


def judge(compared: Comparison, classes: Sequence[str], policy: Policy) -> tuple[Gate, ...]:
    """All gates of a policy: the mean of the classes first, then class by class."""
    found = [_mean(compared, policy.map50_margin)]
    for gate in policy.class_gates:
        found += [
            _of_class(compared, label, name, gate)
            for label, name in enumerate(classes)
            if compared.support[label].objects
        ]
    return tuple(found)


def judge_itself(compared: Comparison, classes: Sequence[str]) -> tuple[Gate, ...]:
    """What the measurement itself says, whatever a policy lets pass.

    These are the default gates, and one more: whoever turns its confidences down finds as much by AP, which
    only asks for their order, but shows users nothing.
    """
    return judge(compared, classes, _ITSELF)


def clearly_worse(made: Sequence[Gate]) -> bool:
    """Whether a loss is certain by the gates of `judge_itself`: of the mean, past its margin; or of a class.

    A weaker question than whether all gates pass: few pairs can hardly show that little was lost, but they do
    show a collapse.
    """
    mean, *rest = made
    lost = mean.high < 0.0 and mean.difference < -mean.margin
    return lost or not all(gate.passed for gate in rest)


def doubt(compared: Comparison, made: Sequence[Gate]) -> str:
    """Why pairs on which nothing is certain still do not speak for the candidate; empty when they do.

    That no loss is proven is no ground to believe other answers: the figures themselves must be about as good
    as current's. By `judge_itself`, and by what is shown at the version's own threshold, whatever the class.
    """
    mean = made[0]
    if mean.candidate <= 0.0:
        return "it finds nothing there"
    if mean.difference < -mean.margin:
        return f"it found {-mean.difference:.3f} less there"
    bounds = [
        (support.objects, compared.recall(label, _SHOWN_LOST.confidence))
        for label, support in enumerate(compared.support)
        if support.objects
    ]
    shown = sum(objects * bound.b for objects, bound in bounds)
    by_current = sum(objects * bound.a for objects, bound in bounds)
    if shown < (1.0 - _SHOWN_LOST.margin) * by_current:
        return f"it shows {round(shown)} of them, current {round(by_current)}"
    return ""


def words_of(gates: Sequence[Gate]) -> str:
    """A paragraph: what failed, class by class; else what all classes kept; what was not judged."""
    mean, rest = gates[0], gates[1:]
    failed = [gate.words for gate in rest if not gate.passed]
    judged = [gate for gate in rest if gate.judged]
    kept = []
    if judged and not failed:
        names = ", ".join(dict.fromkeys(gate.label for gate in judged))
        kept = [f"No class lost more than its gates allow ({names})."]
    left_out = list(dict.fromkeys(gate.words for gate in rest if not gate.judged))
    return " ".join([mean.words, *failed, *kept, *left_out])


def _mean(compared: Comparison, margin: float) -> Gate:
    bound = compared.map50()
    return Gate(
        metric=_MAP50,
        objects=sum(support.objects for support in compared.support),
        pictures=compared.pictures,
        passed=bound.low >= -margin,
        current=bound.a,
        candidate=bound.b,
        low=bound.low,
        high=bound.high,
        margin=margin,
        words=f"mAP50 {_figures(bound, f'{compared.pictures} pairs')}; {_lower_end(bound, margin)}",
    )


def _of_class(compared: Comparison, label: int, name: str, gate: ClassGate) -> Gate:
    support = compared.support[label]
    if lacking := _lacking(support, gate):
        return Gate(
            metric=gate.metric,
            label=name,
            objects=support.objects,
            pictures=support.pictures,
            judged=False,
            loss=gate.loss,
            words=f"{name} was not judged: {lacking}.",
        )
    measure = compared.ap50 if gate.metric is ClassMetric.AP50 else compared.recall
    bound = measure(label, gate.confidence)
    passed = (bound.low if gate.loss is Loss.POSSIBLE else bound.high) >= -gate.margin
    end = _lower_end if gate.loss is Loss.POSSIBLE else _upper_end
    where = f"{support.objects} objects in {support.pictures} pairs"
    return Gate(
        metric=gate.metric,
        label=name,
        objects=support.objects,
        pictures=support.pictures,
        passed=passed,
        current=bound.a,
        candidate=bound.b,
        low=bound.low,
        high=bound.high,
        margin=gate.margin,
        confidence=gate.confidence,
        loss=gate.loss,
        words=f"Class {name}: {_SHOWN[gate.metric]} {_figures(bound, where, gate.confidence)};"
        f" {end(bound, gate.margin)}",
    )


def _lacking(support: ClassSupport, gate: ClassGate) -> str:
    """What a class has too little of; empty when it can be judged."""
    if support.objects < gate.min_objects:
        return f"{support.objects} object{'' if support.objects == 1 else 's'}, {gate.min_objects} needed"
    if support.pictures < gate.min_pictures:
        return f"in {support.pictures} pairs, {gate.min_pictures} needed"
    return ""


def _figures(bound: Bound, where: str, confidence: float = 0.95) -> str:
    return (
        f"{bound.b:.3f} against {bound.a:.3f} of current on {where}: {bound.difference:+.3f}, "
        f"{confidence * 100:.4g} % between {bound.low:+.3f} and {bound.high:+.3f}"
    )


def _lower_end(bound: Bound, margin: float) -> str:
    return f"the lower end {'lies' if bound.low < -margin else 'does not lie'} below {-margin:+.3f}."


def _upper_end(bound: Bound, margin: float) -> str:
    return f"{'all of it lies' if bound.high < -margin else 'not all of it lies'} below {-margin:+.3f}."
