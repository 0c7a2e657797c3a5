"""What users' judgements say of a canary beside current: when they are looked at, and what follows.

Feedback is looked at a few times only, at 1, 2, 4, 8 and 16 times the gate's `min_pairs`, each time on what
had come until then, and each look may err by its part of the whole error (Bonferroni). So the gate's
confidence holds over all looks together, whenever and however often the controller asks. It is a gate before
a promotion and no reason for a rollback: users judge what looks wrong to them, not a random sample.
"""

import msgspec

from serinus.rollout.policy import FeedbackGate
from serinus.rollout.state import Rollout

LOOKS = 5
_SHOWN = {"map50": "mAP50", "precision": "precision", "recall": "recall"}


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What the last look found: the metric of both versions, and the interval of canary minus current."""

    look: int
    """1 to `LOOKS`."""
    canary_pairs: int
    current_pairs: int
    canary: float
    current: float
    low: float
    high: float


class FeedbackStanding(msgspec.Struct, frozen=True, kw_only=True):
    """Where the feedback of a rollout stands."""

    gate: FeedbackGate
    canary_pairs: int
    """Judged pairs of this rollout that have come so far."""
    current_pairs: int
    judged: Judged | None = None
    """None while one of the versions has too few, or they show no building."""

    @property
    def worse(self) -> bool:
        """The canary may have lost more than the margin."""
        return self.judged is not None and self.judged.low < -self.gate.margin

    @property
    def vouches(self) -> bool:
        """Users' judgements show that it lost no more than the margin."""
        return self.judged is not None and not self.worse

    @property
    def words(self) -> str:
        """One clause for people."""
        found, gate = self.judged, self.gate
        if found is None:
            return (
                f"feedback not judged: {self.canary_pairs} judged pairs of the canary and"
                f" {self.current_pairs} of current, {gate.min_pairs} of each needed"
            )
        lies = "lies" if self.worse else "does not lie"
        return (
            f"feedback: {_SHOWN[gate.metric]} {found.canary:.3f} on {found.canary_pairs} judged pairs against"
            f" {found.current:.3f} on {found.current_pairs} of current, the difference between"
            f" {found.low:+.3f} and {found.high:+.3f} (look {found.look} of {LOOKS},"
            f" {gate.confidence * 100:.4g} % over all); the lower end {lies} below {-gate.margin:+.3f}"
        )

    @property
    def numbers(self) -> dict[str, float]:
        """For the event."""
        numbers: dict[str, float] = {
            "feedback_canary_pairs": self.canary_pairs,
            "feedback_current_pairs": self.current_pairs,
            "feedback_margin": self.gate.margin,
        }
        if self.judged is not None:
            numbers |= {
                "feedback_look": self.judged.look,
                "feedback_canary": self.judged.canary,
                "feedback_current": self.judged.current,
                "feedback_low": self.judged.low,
                "feedback_high": self.judged.high,
            }
        return numbers


def vouched(rollout: Rollout, feedback: FeedbackStanding | None) -> tuple[str, ...]:
    """Who says that a canary which answers differently from current is none the worse for it.

    Golden sets, held-out pairs and feedback; nobody where feedback speaks against it.
    """
    if feedback is not None and feedback.worse:
        return ()
    judged = feedback is not None and feedback.vouches
    return (*rollout.vouched, *(("feedback",) if judged else ()))


def look(min_pairs: int, canary_pairs: int, current_pairs: int) -> tuple[int, int] | None:
    """The last look that is due, from 1, and the pairs of each version that it takes; None: not one yet."""
    fewest = min(canary_pairs, current_pairs)
    due = [(number, min_pairs << (number - 1)) for number in range(1, LOOKS + 1)]
    return next(((number, pairs) for number, pairs in reversed(due) if pairs <= fewest), None)


def confidence_of_a_look(gate: FeedbackGate) -> float:
    """The confidence of one interval, so that all of them together have the gate's."""
    return 1.0 - (1.0 - gate.confidence) / LOOKS


def objection(gate: FeedbackGate | None, standing: FeedbackStanding | None) -> str:
    """Why feedback forbids a promotion now; empty when it does not."""
    if gate is None or standing is None:
        return ""
    missing = gate.required and standing.judged is None
    return standing.words if standing.worse or missing else ""
