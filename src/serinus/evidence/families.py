"""The model signals of both strata as two families: one to roll back, one to hold.

Each has the limit of 400 (alpha 0.0025) for the *average* of its e-values (see `signals`). A stratum that saw
nothing has the e-value 1. One whose evidence started afresh n times has its e-values divided by 2^n, which is
the doubling of its limits.
"""

import msgspec

from serinus.core.enums import Signal, Stratum
from serinus.evidence import answers, signals, wealth
from serinus.evidence.signals import LIMIT
from serinus.evidence.stratum import StratumEvidence
from serinus.evidence.wealth import in_words

_NOUNS = {Signal.DETECTIONS: "number of detections", Signal.DOMINANT_CLASS: "dominant class"}


class Families(msgspec.Struct, frozen=True, kw_only=True):
    """The families' e-values, and what they come from."""

    e_blame: float
    limit_blame: float
    e_shift: float
    e_drift: float | None
    """None where no past is known."""
    parts: dict[str, float]
    """Name -> e-value of each test."""
    accuser: Stratum
    """Whose accusation is the strongest."""
    blame_words: str
    """What it says."""
    difference: str
    """Where the arms' answers differ most; empty where nothing was compared."""

    @property
    def blamed(self) -> bool:
        return self.e_blame >= self.limit_blame

    @property
    def words(self) -> str:
        """What the answers say, in a sentence; empty where nothing was compared."""
        if self.shift or self.drift:
            return "; ".join(words for words in (self.shift, self.drift) if words)
        if not self.difference:
            return ""
        return (
            f"no difference is shown between the versions' answers (the largest: {self.difference});"
            f" evidence {in_words(self.e_shift)} of {in_words(LIMIT)}"
        )

    @property
    def shift(self) -> str:
        """That the arms answer differently, in words; empty while that is not shown."""
        if self.e_shift < LIMIT:
            return ""
        return (
            f"the canary answers differently from current: {self.difference};"
            f" evidence {in_words(self.e_shift)} against a limit of {in_words(LIMIT)}"
        )

    @property
    def drift(self) -> str:
        """That both arms left the past, in words; empty while that is not shown."""
        if self.e_drift is None or self.e_drift < LIMIT:
            return ""
        return (
            "both versions answer differently from the time before the rollout: the pictures are others"
            f" (data drift); evidence {in_words(self.e_drift)} against a limit of {in_words(LIMIT)}"
        )

    @property
    def numbers(self) -> dict[str, float]:
        """For the history."""
        drift = {} if self.e_drift is None else {"e_drift": self.e_drift, "limit_drift": LIMIT}
        return {
            "e_signals": self.e_blame,
            "limit_signals": self.limit_blame,
            "e_shift": self.e_shift,
            "limit_shift": LIMIT,
            **drift,
            **self.parts,
        }


def families(users: StratumEvidence, probes: StratumEvidence, scale: float) -> Families:
    """Weighs the strata together. `scale` multiplies the limit of the rollback."""
    invalid = "NaN, boxes outside the picture or the like"
    accusations = {
        "users_e_invalid": (
            users,
            users.answers.invalid,
            f"the canary's answers to users are invalid ({invalid})",
        ),
        "probes_e_invalid": (
            probes,
            probes.answers.invalid,
            f"the canary's answers to probes are invalid ({invalid})",
        ),
        "probes_e_empty": (
            probes,
            probes.answers.empty,
            "the canary finds nothing on golden pairs that show buildings",
        ),
    }
    blames = {
        name: answers.e_blame(evidence, control=stratum.control) / _doubled(stratum)
        for name, (stratum, evidence, _) in accusations.items()
    }
    shifts = {
        f"{name}_e_shift_{signal}": one.e_shift / _doubled(stratum)
        for name, stratum in (("users", users), ("probes", probes))
        for signal, one in stratum.answers.shifts.items()
    }
    worst = max(blames, key=lambda name: blames[name])
    return Families(
        e_blame=signals.e_family(blames.values()),
        limit_blame=LIMIT * scale,
        e_shift=signals.e_family(shifts.values()),
        e_drift=_drift(users),
        parts={name: e_value for name, e_value in {**blames, **shifts}.items() if _seen(name, users, probes)},
        accuser=Stratum.USERS if accusations[worst][0] is users else Stratum.PROBES,
        blame_words=accusations[worst][2],
        difference=_difference(users, probes),
    )


def _seen(test: str, users: StratumEvidence, probes: StratumEvidence) -> bool:
    stratum = users if test.startswith(Stratum.USERS) else probes
    return stratum.canary.requests + stratum.current.requests > 0


def _doubled(stratum: StratumEvidence) -> float:
    return wealth.doubled(stratum.restarts)


def _drift(users: StratumEvidence) -> float | None:
    drifts = users.answers.drifts.values()
    if not drifts:
        return None
    e_value = signals.e_data_drift([one.canary for one in drifts], [one.current for one in drifts])
    return e_value / _doubled(users)


def _difference(users: StratumEvidence, probes: StratumEvidence) -> str:
    """The category whose shares differ most, in the stratum and signal with the strongest evidence."""
    tests = [
        (shift.e_shift / _doubled(stratum), f"{_NOUNS[signal]} {{}}{where}", shift.seen)
        for where, stratum in (("", users), (" of probes", probes))
        for signal, shift in stratum.answers.shifts.items()
        if any(one.canary for one in shift.seen.values()) and any(one.current for one in shift.seen.values())
    ]
    if not tests:
        return ""
    _, words, seen = max(tests, key=lambda test: test[0])
    canary = sum(one.canary for one in seen.values())
    current = sum(one.current for one in seen.values())
    shares = [(name, one.canary / canary, one.current / current) for name, one in seen.items()]
    category, ours, theirs = max(shares, key=lambda share: abs(share[1] - share[2]))
    return f"{words.format(category)} in {ours:.0%} of its answers, in {theirs:.0%} of current's"
