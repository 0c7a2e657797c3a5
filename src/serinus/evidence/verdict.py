"""What the evidence says, as values for `rollout.decide` and as words for people.

Either stratum may blame the canary. Users come first for promotion: probes supply what users do not, but
only while the users' own requests have not contradicted them. Pooled, a canary that fails every one of
three users a minute would be promoted by its probes.
"""

import msgspec

from serinus.core.enums import ReasonCode, Stratum
from serinus.evidence import assignment, errors, latency, outage, promotion, wealth
from serinus.evidence.families import Families
from serinus.evidence.promotion import Tally
from serinus.evidence.stratum import StratumEvidence
from serinus.evidence.wealth import in_words

ALARM = 10.0
"""Evidence against the canary at which it is not promoted, long before it is blamed."""
CONTRADICTED = 3.0
"""Users' E_abs at which probes cannot vouch for the canary."""
CONTRADICTED_FAILURES = 2


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the evidence says now; the window, pauses and holds are `rollout.decide`'s business."""

    blame: ReasonCode | None = None
    """ERRORS, SIGNALS or LATENCY: roll back now."""
    good: bool = False
    """The promotion rule holds (the window apart)."""
    alarm: bool = False
    """Evidence speaks against the canary, though not enough to blame it."""
    shared_failure: bool = False
    """The canary fails, and so does current: hold."""
    mismatch: bool = False
    """The traffic is not split as declared."""
    shift: str = ""
    """The canary answers differently from current, in words; empty while that is not shown."""
    drift: str = ""
    """Both versions answer differently from the past, in words; empty while that is not shown."""
    answers: str = ""
    """What the versions' answers say of each other and of the past, in words."""
    blockers: tuple[str, ...] = ()
    """Why it is not good, in words for people."""
    on_probes: bool = False
    """Good, thanks to probes only."""
    numbers: dict[str, float] = {}
    """For the history: counts, e-values and their limits, of the deciding stratum and per stratum."""
    words: str = ""
    """One sentence for people."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """The e-values of one stratum and their limits."""

    stratum: Stratum
    canary: Tally
    current: Tally
    control: bool
    in_flight: int
    e_abs: float
    e_rel: float
    e_good: float
    e_good_recent: float
    e_split: float
    e_slower: float | None
    """None where latency is not judged."""
    e_proved: float | None
    """None where latency is not judged or current has too few successes to compare with."""
    limit_errors: float
    limit_latency: float
    limit_good: float
    limit_proved: float
    contradicts: bool
    """What was seen here forbids that others vouch for the canary."""
    current_fails: bool
    """Its newest requests fail more often than p0."""

    @property
    def e_errors(self) -> float:
        return min(self.e_abs, self.e_rel) if self.control else self.e_abs

    @property
    def errors_blamed(self) -> bool:
        return self.e_errors >= self.limit_errors

    @property
    def shared_failure(self) -> bool:
        return self.e_abs >= self.limit_errors and self.current_fails and not self.errors_blamed

    @property
    def mismatch(self) -> bool:
        return self.e_split >= assignment.LIMIT

    @property
    def slower(self) -> bool:
        return self.e_slower is not None and self.e_slower >= self.limit_latency

    @property
    def alarm(self) -> bool:
        return self.e_abs >= ALARM or (self.e_slower is not None and self.e_slower >= ALARM)

    @property
    def proof(self) -> float:
        """The weaker of E_good over all and over the recent observations."""
        return min(self.e_good, self.e_good_recent)

    @property
    def proved(self) -> bool:
        fast = self.e_proved is None or self.e_proved >= self.limit_proved
        return self.proof >= self.limit_good and fast


def read(stratum: Stratum, evidence: StratumEvidence, p0: float, scale: float, in_flight: int) -> Reading:
    """The e-values of a stratum. `scale` multiplies the limits of rollback."""
    doubled = wealth.doubled(evidence.restarts)
    unsettled = Tally(in_flight, in_flight)
    feared = evidence.canary + unsettled
    speed = evidence.latency
    return Reading(
        stratum=stratum,
        canary=evidence.canary,
        current=evidence.current,
        control=evidence.control,
        in_flight=in_flight,
        e_abs=evidence.errors.e_abs,
        e_rel=evidence.errors.e_rel,
        e_good=promotion.e_good(feared, p0),
        e_good_recent=promotion.e_good(evidence.recent.total + unsettled, p0),
        e_split=assignment.e_split(evidence.split),
        e_slower=speed.e_slower if speed else None,
        e_proved=speed.e_proved if speed and evidence.control and speed.comparable else None,
        limit_errors=errors.LIMIT * doubled * scale,
        limit_latency=latency.LIMIT * doubled * scale,
        limit_good=promotion.LIMIT * doubled,
        limit_proved=latency.PROVED * doubled,
        contradicts=evidence.errors.e_abs >= CONTRADICTED
        or (feared.failures >= CONTRADICTED_FAILURES and feared.failures > p0 * feared.requests),
        current_fails=outage.fails(evidence.newest_current, p0),
    )


def verdict_of(users: Reading, probes: Reading, told: Families, *, canary: Tally, current: Tally) -> Verdict:
    """Weighs the strata. `told`: what their answers say; `canary` and `current`: the totals for people."""
    strata = (users, probes)
    missplit = sorted((one for one in strata if one.mismatch), key=lambda one: -one.e_split)
    mismatch = bool(missplit)
    blamed = _blamed(strata, told, mismatch)
    shared = [one for one in strata if one.shared_failure]
    vouching = _vouching(users, probes)
    blockers = _blockers(strata, vouching, told, mismatch)
    good = blamed is None and not blockers
    deciding = blamed[0] if blamed else next(iter((*shared, *missplit)), vouching)
    on_probes = good and vouching is probes
    return Verdict(
        blame=blamed[1] if blamed else None,
        good=good,
        alarm=any(one.alarm for one in strata)
        or told.e_blame >= ALARM
        or (users.contradicts and not users.proved),
        shared_failure=bool(shared),
        mismatch=mismatch,
        shift="" if mismatch else told.shift,
        drift=told.drift,
        answers=told.words,
        blockers=blockers,
        on_probes=on_probes,
        numbers=_numbers(strata, deciding, canary, current) | told.numbers,
        words=_blame_words(deciding, told, blamed[1])
        if blamed
        else _words(deciding, shared=bool(shared), mismatch=mismatch, blockers=blockers),
    )


def _vouching(users: Reading, probes: Reading) -> Reading:
    """The stratum whose proof counts: users', unless they brought less than probes and do not contradict."""
    if users.proved or users.contradicts or not probes.canary.requests:
        return users
    return probes if probes.proof > users.proof else users


def _blamed(strata: tuple[Reading, ...], told: Families, mismatch: bool) -> tuple[Reading, ReasonCode] | None:
    """The stratum that blames the canary, and for what. A wrong split suspends the blame for latency."""
    failing = [one for one in strata if one.errors_blamed]
    if failing:
        return max(failing, key=lambda one: one.e_errors), ReasonCode.ERRORS
    if told.blamed:
        return next(one for one in strata if one.stratum is told.accuser), ReasonCode.SIGNALS
    slow = [one for one in strata if one.slower and not mismatch]
    return (slow[0], ReasonCode.LATENCY) if slow else None


def _blockers(
    strata: tuple[Reading, ...], vouching: Reading, told: Families, mismatch: bool
) -> tuple[str, ...]:
    found: list[str] = []
    if mismatch:
        found.append("the traffic is not split between the versions as declared")
    for one in strata:
        if one.e_abs >= ALARM:
            found.append(f"{_failed(one)} (alarm {in_words(one.e_abs)}, must be below {in_words(ALARM)})")
        if one.e_slower is not None and one.e_slower >= ALARM:
            found.append(f"the canary seems slower for {one.stratum} (alarm {in_words(one.e_slower)})")
    if told.e_blame >= ALARM:
        found.append(f"{told.blame_words} (alarm {in_words(told.e_blame)})")
    if vouching.proof < vouching.limit_good:
        waiting = f", {vouching.in_flight} in flight" if vouching.in_flight else ""
        found.append(
            f"too little proof of health: {in_words(vouching.proof)} of {in_words(vouching.limit_good)}"
            f" needed ({_failed(vouching)}{waiting})"
        )
    if vouching.e_proved is not None and vouching.e_proved < vouching.limit_proved:
        found.append(
            f"too little proof of speed: {in_words(vouching.e_proved)} of {in_words(vouching.limit_proved)}"
            " needed"
        )
    return tuple(found)


def _numbers(
    strata: tuple[Reading, ...], deciding: Reading, canary: Tally, current: Tally
) -> dict[str, float]:
    numbers: dict[str, float] = {
        "canary_requests": canary.requests,
        "canary_failures": canary.failures,
        "current_requests": current.requests,
        "current_failures": current.failures,
    }
    numbers |= _evidence(deciding)
    for one in strata:
        if not one.canary.requests and not one.current.requests:
            continue
        counts = {
            "canary_requests": one.canary.requests,
            "canary_failures": one.canary.failures,
            "current_requests": one.current.requests,
            "current_failures": one.current.failures,
        }
        numbers |= {f"{one.stratum}_{name}": n for name, n in {**counts, **_evidence(one)}.items()}
    return numbers


def _evidence(one: Reading) -> dict[str, float]:
    numbers = {
        "e_abs": one.e_abs,
        "e_rel": one.e_rel,
        "e_errors": one.e_errors,
        "e_good": one.e_good,
        "e_good_recent": one.e_good_recent,
        "e_split": one.e_split,
        "limit_errors": one.limit_errors,
        "limit_good": one.limit_good,
        "in_flight": one.in_flight,
    }
    if one.e_slower is not None:
        numbers |= {"e_latency": one.e_slower, "limit_latency": one.limit_latency}
    if one.e_proved is not None:
        numbers |= {"e_fast_enough": one.e_proved, "limit_fast_enough": one.limit_proved}
    return numbers


def _blame_words(one: Reading, told: Families, blame: ReasonCode) -> str:
    if blame is ReasonCode.ERRORS:
        control = f" ({_of(one.current)} of current)" if one.control else ""
        words, e_value, limit = f"{_failed(one)}{control}", one.e_errors, one.limit_errors
    elif blame is ReasonCode.SIGNALS:
        words, e_value, limit = told.blame_words, told.e_blame, told.limit_blame
    else:
        words, e_value, limit = (
            "the canary is slower than 1.2 times current",
            one.e_slower or 0.0,
            one.limit_latency,
        )
    return f"{words}; evidence {in_words(e_value)} against a limit of {in_words(limit)}"


def _words(one: Reading, *, shared: bool, mismatch: bool, blockers: tuple[str, ...]) -> str:
    if shared:
        return f"{_failed(one)}, but so did {_of(one.current)} of current: the canary is not to blame alone"
    if mismatch:
        return (
            "the traffic is not split between the versions as declared"
            f" ({one.canary.requests} canary requests, {one.current.requests} of current)"
        )
    if blockers:
        return "; ".join(blockers)
    by = " (on probes)" if one.stratum is Stratum.PROBES else ""
    return (
        f"{_failed(one)}; proof of health {in_words(one.proof)} against {in_words(one.limit_good)} needed{by}"
    )


def _failed(one: Reading) -> str:
    what = "probes of the canary" if one.stratum is Stratum.PROBES else "canary requests"
    return f"{_of(one.canary)} {what} failed"


def _of(tally: Tally) -> str:
    return f"{tally.failures} of {tally.requests}"
