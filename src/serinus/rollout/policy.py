"""What a rollout may do: one typed document that travels inside the event that starts it."""

import math
from enum import StrEnum
from typing import Annotated, Any, TypeAlias

import msgspec

from serinus.core.ids import Version
from serinus.rollout.allowed import words_of

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Share = Annotated[float, msgspec.Meta(gt=0.0, le=1.0)]
Rate = Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)]
Margin = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Part = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Confidence = Annotated[float, msgspec.Meta(ge=0.5, lt=1.0)]
Positive = Annotated[float, msgspec.Meta(gt=0.0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0.0)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Header = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$")]


class OnInsufficient(StrEnum):
    """What to do when `max_evaluation` windows brought too little evidence."""

    HOLD = "hold"
    PROMOTE = "promote"
    ROLLBACK = "rollback"


class OnShift(StrEnum):
    """What to do when the canary answers differently from current and nothing vouches for it."""

    AUTO = "auto"
    """Hold where something was measured that could vouch and nothing did, note where there was nothing."""
    HOLD = "hold"
    NOTE = "note"


class OnDrift(StrEnum):
    """What to do when both versions answer differently from the past."""

    HOLD = "hold"
    NOTE = "note"


class OnNoRoom(StrEnum):
    """What to do with a version that finds no room beside those that are loaded."""

    REFUSE = "refuse"
    SEQUENTIAL = "sequential"
    """It takes the place of current: that one is unloaded first, and nobody answers meanwhile."""


class OnNewVersion(StrEnum):
    """What a version published during a rollout does."""

    QUEUE = "queue"
    SUPERSEDE = "supersede"


class Rule(StrEnum):
    """How the requests are judged."""

    EVIDENCE = "evidence"
    """Sequential tests, valid at every look (`serinus.evidence`)."""
    COUNTING = "counting"
    """Plain counting, as the prototype's documents say (`serinus.evidence.counting`)."""


class ByHeader(msgspec.Struct, frozen=True, tag_field="by", tag="header", forbid_unknown_fields=True):
    """The user is who sends the same value of a header."""

    name: Header


class ByCookie(msgspec.Struct, frozen=True, tag_field="by", tag="cookie", forbid_unknown_fields=True):
    """The user is who sends the same value of a cookie."""

    name: Header


Sticky: TypeAlias = ByHeader | ByCookie


class ClassMetric(StrEnum):
    """What a golden set measures of one class."""

    AP50 = "ap50"
    """Average precision at IoU 0.5."""
    RECALL = "recall"
    """Share of its buildings that users are shown, at the version's own confidence threshold."""


class Loss(StrEnum):
    """Which loss refuses a version. The interval is that of the difference to current."""

    POSSIBLE = "possible"
    """Its lower end lies below minus the margin: the version must prove that it lost no more."""
    PROVEN = "proven"
    """All of it lies below minus the margin: it is certain that the version lost more."""


class ClassGate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What no class may lose against current on any golden set."""

    metric: ClassMetric = ClassMetric.AP50
    loss: Loss = Loss.PROVEN
    margin: Margin = 0.1
    confidence: Confidence = 0.95
    """Of the central interval of the difference (paired bootstrap over pictures)."""
    min_objects: Count = 30
    """A class with fewer objects in the set is not judged,"""
    min_pictures: Count = 10
    """nor one that fewer pictures show: what is drawn anew are pictures."""


class FeedbackMetric(StrEnum):
    """What feedback measures of a version."""

    MAP50 = "map50"
    PRECISION = "precision"
    RECALL = "recall"


class FeedbackGate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the canary may lose against current on what users judged during the rollout."""

    metric: FeedbackMetric = FeedbackMetric.MAP50
    margin: Margin = 0.05
    confidence: Confidence = 0.95
    """Over all looks together."""
    min_pairs: Count = 50
    """Judged pairs that each of the two versions needs before they are compared."""
    required: bool = False
    """Whether a promotion waits for so much feedback. Else too little feedback is no objection."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Defaults are the documented ones: half of the traffic, three minutes, 5 % errors."""

    name: Name = "default"
    """Its name in the store and in the history."""
    description: str = ""
    """What it is for, in words."""
    share: Share = 0.5
    """Share of requests that the canary gets, above 0 and at most 1. Not beside `steps`."""
    steps: tuple[Share, ...] = ()
    """Rising shares instead of one, such as [0.05, 0.25, 0.5]. The next one follows as soon as the evidence
    of health in the step suffices and nothing speaks against the canary; the last is kept until the end."""
    window_seconds: Positive = 180.0
    """Shortest evaluation, in seconds of the window's clock."""
    max_error_rate: Rate = 0.05
    """p0 of the error tests: a canary above it, and above current, is rolled back."""
    rule: Rule = Rule.EVIDENCE
    """evidence: sequential tests. counting: more failures than `max_error_rate` among at least `min_requests`
    canary requests roll back, else the end of the window promotes."""
    min_requests: Count = 20
    """With the rule counting: fewer canary requests than this roll nothing back."""
    max_evaluation: Count = 5
    """Longest evaluation, in windows; with `steps`, of each step."""
    on_insufficient: OnInsufficient = OnInsufficient.HOLD
    """What follows when the longest evaluation brought too little evidence."""
    on_new_version: OnNewVersion = OnNewVersion.QUEUE
    """What a version published during a rollout does."""
    on_no_room: OnNoRoom = OnNoRoom.REFUSE
    """What follows, before the rollout gets traffic, when a replica has no room for the version beside
    current: refuse it, or sequential: current is unloaded first, nobody answers until the version is loaded,
    and it then gets all requests. Undo goes by it, too. Not beside `steps`."""
    sticky: Sticky | None = None
    """Pins each user to one version by a header or a cookie, such as {by: header, name: X-User-Id}. The
    evidence then counts users instead of requests. Who sends none is assigned request by request."""
    override_header: Header | None = None
    """Header in which testers ask for `canary` or `current`. Such a request is no evidence."""
    hold_for_seconds: NotNegative = 3600.0
    """How long a held rollout keeps its share; then the share is 0 until somebody decides."""
    rollback_window_seconds: NotNegative = 600.0
    """How long the previous version stays loaded after a promotion, so that undo is instant."""
    max_replicas: Count = 16
    """A replica's own trip needs this many times the threshold (union bound over replicas)."""
    probes: bool = True
    """Whether the controller sends probes when users bring too little evidence."""
    probes_per_window: Count = 160
    """Most probes sent in one window, spread evenly."""
    judge_latency: bool = True
    """Whether the latency test may roll back and must pass before promotion."""
    latency_floor_seconds: NotNegative = 0.01
    """Latencies below this are all alike to the latency test, in seconds."""
    max_invalid_rate: Rate = 0.01
    """Tolerated rate of answers that nobody may see: NaN, a box outside the picture. A canary above it, and
    above current, is rolled back."""
    max_empty_rate: Rate = 0.2
    """The same of empty answers to probes whose golden pair shows buildings."""
    on_shift: OnShift = OnShift.AUTO
    """What follows when the canary answers differently from current and nothing vouches for it: hold and ask
    a person; note it in the history and go on; or auto, which holds where there are golden sets or held-out
    pairs of the canary's data set, and notes where there are neither, since then nothing could vouch. Shadow
    pairs hold with auto, too."""
    on_drift: OnDrift = OnDrift.HOLD
    """What follows when both versions answer differently from the time before the rollout (data drift)."""
    require_signature: bool = False
    """Whether a version must be signed with a trusted key before it gets traffic."""
    map50_margin: Margin = 0.05
    """Golden gate: the 95 % bound of mAP50(canary) - mAP50(current) must not lie below minus this."""
    class_gates: tuple[ClassGate, ...] = (ClassGate(),)
    """Golden gates class by class, such as [{metric: recall, loss: possible, margin: 0.2, min_objects: 200}].
    The default refuses a version of which it is certain that a class lost more than 0.1 of AP50. [] asks
    for none."""
    feedback: FeedbackGate | None = None
    """Gate before a promotion: what users judged, such as {metric: recall, margin: 0.05, min_pairs: 50}. It
    rolls nothing back: users judge what looks wrong to them, and that is no random sample."""
    shadow_share: Part = 0.0
    """Share of the users' requests that the other version is asked too, after the answer was sent. Takes one
    more worker of each version; dropped first under load."""
    shadow_agreement: Part = 0.5
    """A picture on which the agreement F1 of both versions lies below this is a disagreement; in steps of
    0.05."""
    max_disagreement: Rate = 0.2
    """p0 of the test of shadow pairs: disagreements above this rate hold the rollout, unless golden sets,
    held-out pairs or feedback vouch for the canary. They never roll it back."""
    keep_inputs: bool = False
    """Whether the worst disagreements are kept with the pictures as they were sent; both answers and both
    overlays always are."""

    @property
    def shares(self) -> tuple[float, ...]:
        """The shares that a rollout goes through, in their order."""
        return self.steps or (self.share,)

    def problems(self) -> tuple[str, ...]:
        """What no rollout can obey, in words; empty for a sane policy."""
        wrong = _wrong_fields(self)
        if any(after <= before for before, after in zip(self.steps, self.steps[1:], strict=False)):
            wrong.append("steps must rise from each one to the next")
        if self.steps and self.rule is not Rule.EVIDENCE:
            wrong.append("steps need the rule evidence, which proves each of them")
        if self.steps and self.on_no_room is OnNoRoom.SEQUENTIAL:
            wrong.append("steps need both versions loaded: not beside on_no_room sequential")
        return tuple(wrong)


DEFAULT = Policy(description="the documented behaviour, judged by evidence")
LITERAL = Policy(
    name="literal",
    description="the prototype's rule: more than 5 % of at least 20 canary requests failed: rolled back; "
    "after 3 minutes: promoted",
    rule=Rule.COUNTING,
    probes=False,
    judge_latency=False,
)
BUILT_IN = {policy.name: policy for policy in (DEFAULT, LITERAL)}
"""Always there, and never replaced."""


def share_of_step(policy: Policy, baseline: Version | None, step: int) -> float:
    """The canary's share in a step, counted from 0. Without a baseline the canary is all there is."""
    return 1.0 if baseline is None else policy.shares[min(step, len(policy.shares) - 1)]


def step_of(policy: Policy, share: float) -> int:
    """The step that a canary with this share has reached."""
    return max(0, sum(one <= share for one in policy.shares) - 1)


def same_null(one: Policy, other: Policy) -> bool:
    """Whether evidence gathered under one policy is evidence under the other.

    The null hypotheses are about the error rate p0 of an observation, which is a request or a pinned user,
    about the rates of odd answers, and about latency where that is judged. All else changes what follows from
    the evidence, or how it comes.
    """
    return _null(one) == _null(other)


def _null(policy: Policy) -> tuple[object, ...]:
    return (
        policy.max_error_rate,
        policy.max_invalid_rate,
        policy.max_empty_rate,
        policy.judge_latency,
        policy.latency_floor_seconds,
        policy.sticky,
    )


def _wrong_fields(policy: Policy) -> list[str]:
    found: list[str] = []
    for field in msgspec.structs.fields(Policy):
        value = msgspec.to_builtins(getattr(policy, field.name))
        finite = _finite(value)
        try:
            msgspec.convert(value, field.type)
        except msgspec.ValidationError:
            finite = False
        if not finite:
            found.append(f"{field.name} is {value}; allowed: {words_of(field.type)}")
    return found


def _finite(value: Any) -> bool:
    match value:
        case float():
            return math.isfinite(value)
        case list() | tuple():
            return all(map(_finite, value))
        case dict():
            return all(map(_finite, value.values()))
    return True
