"""Why a rollout went as it did: in words, as a time line, and as the series behind a picture.

All of it comes from the journal and the frozen slices, so a rollout of long ago is explained as on its day.
"""

from collections.abc import Sequence

import msgspec

from serinus.control.golden import GoldenResult, results_in
from serinus.control.history import Row, row_of
from serinus.control.ledger import Standing, params_of, standing, with_pairs
from serinus.control.pairs import PairsView, classes_of, pairs_view
from serinus.control.series import Point, Rate, Regime, Shift, rate_of, series
from serinus.core.enums import Arm, ReasonCode, RolloutPhase, Stratum
from serinus.core.errors import NotFound
from serinus.core.ids import Version
from serinus.evidence.analysis import begin
from serinus.evidence.needed import fewest_requests, good_requests
from serinus.evidence.promotion import Tally
from serinus.evidence.verdict import Verdict
from serinus.rollout.events import (
    Aside,
    EpochReset,
    Event,
    Held,
    PolicyChanged,
    Promoted,
    Published,
    Rejected,
    Resumed,
    RolledBack,
    RolloutStarted,
    ShareChanged,
    Undone,
    Verified,
)
from serinus.rollout.policy import Policy, Rule
from serinus.store import Store


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """One arm as one stratum saw it, since its evidence last started afresh."""

    stratum: Stratum
    arm: Arm
    version: Version | None
    seen: Rate


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """An event of the rollout."""

    seconds: float
    """Since the rollout began."""
    share: float | None
    """The canary's share from then on; None where the event does not change it."""
    row: Row


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """All about one rollout."""

    rollout: int
    version: Version
    baseline: Version | None
    phase: RolloutPhase
    code: ReasonCode | None
    override: bool
    """A person promoted it against the evidence."""
    policy: Policy
    """The one that it followed at last."""
    headline: str
    """What came of it and why, in a sentence."""
    needed: str
    """What a promotion takes, or would have taken."""
    good_requests_needed: int | None
    """Further canary requests, all of them good, for the proof of health; None where it got no traffic."""
    clock: float
    """The window's clock at last, seconds."""
    slices: int
    digest: str
    """Of the newest frozen slice."""
    arms: tuple[Counts, ...]
    whole: str
    """What was counted in the whole rollout, in a sentence; empty where the evidence never started afresh."""
    answers: str
    """What the versions' answers say of each other and of the past, in a sentence; empty before any."""
    numbers: dict[str, float]
    """Of the newest decision; without one, of now."""
    golden: tuple[GoldenResult, ...]
    """What each golden set, and held-out pairs, said before the traffic, gate by gate."""
    timeline: tuple[Moment, ...]
    series: tuple[Point, ...]
    pairs: PairsView | None = None
    """What shadow pairs say; None where there were none."""


def explain(store: Store, number: int | None = None, *, most_points: int = 400) -> Explanation:
    """Explains a rollout; without a number the active one, else the last one.

    `most_points`: of the series, which is spread evenly over a longer rollout.

    Raises NotFound when there is none, Corrupt, naming a damaged file.
    """
    wanted = store.state().rollouts if number is None else number
    if not 1 <= wanted <= store.state().rollouts:
        raise NotFound(
            "There was no rollout yet." if number is None else f"There is no rollout {number}.",
            remedy="`serinus rollout history` names them.",
        )
    events = _events_of(store, wanted)
    started = events[0].body
    assert isinstance(started, RolloutStarted)
    regimes = [Regime(-2, started.policy)]
    regimes += [Regime(e.body.k, e.body.policy) for e in events if isinstance(e.body, PolicyChanged)]
    policy, baseline = regimes[-1].policy, _baseline(store, wanted, events[0])
    at = _standing(store, wanted, policy, events)
    verdict = at.verdict()
    phase, decisive = _outcome(store, wanted, events)
    had_traffic = any(isinstance(event.body, Verified) for event in events)
    vouching = at.analysis.probes if verdict.on_probes else at.analysis.users
    missing = good_requests(vouching, policy.max_error_rate) if had_traffic else None
    numbers = dict(getattr(decisive.body, "numbers", {})) or verdict.numbers
    versions = {wanted: started.version}
    return Explanation(
        rollout=wanted,
        version=started.version,
        baseline=baseline,
        phase=phase,
        code=getattr(decisive.body, "code", None),
        override=isinstance(decisive.body, Promoted) and decisive.body.override,
        policy=policy,
        headline=_headline(started.version, phase, decisive, numbers, verdict),
        needed=_needed(phase, policy, missing, vouching.canary, decisive),
        good_requests_needed=missing,
        clock=at.window,
        slices=at.k + 1,
        digest=at.digest,
        arms=_arms(at, started.version, baseline),
        whole=_whole(at),
        answers=f"{verdict.answers[:1].upper()}{verdict.answers[1:]}." if verdict.answers else "",
        numbers=numbers,
        golden=_golden(events),
        timeline=tuple(
            Moment(
                seconds=max(0.0, event.time - events[0].time),
                share=getattr(event.body, "share", None),
                row=row_of(event, versions),
            )
            for event in events
        ),
        series=series(store, wanted, regimes, _shifts(events), most_points),
        pairs=pairs_view(at.shadow, _vouched(events), classes_of(store, started.version, baseline)),
    )


def in_words(found: Explanation) -> str:
    """The explanation for people: headline, counts, what was needed."""
    lines = [found.headline]
    for one in found.arms:
        seen = one.seen
        what = "probes" if one.stratum is Stratum.PROBES else "requests"
        lines.append(
            f"{one.arm.value.capitalize()}: {seen.failures} of {seen.requests} {what} failed, {seen.rate:.1%}"
            f" (between {seen.low:.1%} and {seen.high:.1%} with 95 % confidence, however often one looks)."
        )
    lines += [found.whole, found.answers]
    if found.pairs is not None:
        lines.append(f"Shadow pairs: {found.pairs.words}")
    lines.append(found.needed)
    lines.append(
        f"Policy {found.policy.name}; {found.clock:.0f} of {found.policy.window_seconds:g} s of the window"
        + (f"; judged on {found.slices} slices, the last one {found.digest[:12]}." if found.slices else ".")
    )
    return "\n".join(line for line in lines if line)


def _standing(store: Store, number: int, policy: Policy, events: Sequence[Event]) -> Standing:
    active = store.state().rollout
    if active is not None and active.number == number:
        return standing(store, active)
    last, params = store.last_frozen(number), params_of(policy)
    if last is None:
        return Standing(None, begin(params), params, policy)
    restarts = [e.body.clock for e in events if isinstance(e.body, PolicyChanged) and e.body.fresh]
    shadow = with_pairs(last.shadow, None, policy)
    return Standing(last, last.analysis, params, policy, shadow, max(restarts, default=0.0))


def _events_of(store: Store, number: int) -> list[Event]:
    """The rollout's events, oldest first, with the one that superseded it."""
    found: list[Event] = []
    for event in store.newest_events():
        body = event.body
        if isinstance(body, RolloutStarted) and body.supersedes == number:
            found.append(event)
        elif not isinstance(body, Aside) and body.rollout == number:
            found.append(event)
            if isinstance(body, RolloutStarted):
                break
    return list(reversed(found))


def _vouched(events: Sequence[Event]) -> tuple[str, ...]:
    return next((event.body.vouched for event in events if isinstance(event.body, Verified)), ())


def _baseline(store: Store, number: int, start: Event) -> Version | None:
    """The version that was current when the rollout began."""
    state = store.state()
    for rollout in (state.rollout, state.last):
        if rollout is not None and rollout.number == number:
            return rollout.baseline
    for event in store.newest_events():
        if event.seq >= start.seq:
            continue
        match event.body:
            case Promoted(version=version) | Undone(version=version):
                return version
            case Published(initial=True, version=version):
                return version
    return None


def _outcome(store: Store, number: int, events: Sequence[Event]) -> tuple[RolloutPhase, Event]:
    """Where the rollout is, and the event that says why."""
    decisive = events[-1]
    match decisive.body:
        case Promoted():
            return RolloutPhase.PROMOTED, decisive
        case RolledBack():
            return RolloutPhase.ROLLED_BACK, decisive
        case Rejected():
            return RolloutPhase.REJECTED, decisive
        case RolloutStarted(supersedes=superseded) if superseded == number:
            return RolloutPhase.SUPERSEDED, decisive
    rollout = store.state().rollout
    phase = RolloutPhase.VERIFYING if rollout is None else rollout.phase
    if phase is RolloutPhase.HELD:
        decisive = next(event for event in reversed(events) if isinstance(event.body, Held))
    return phase, decisive


def _golden(events: Sequence[Event]) -> tuple[GoldenResult, ...]:
    for event in reversed(events):
        match event.body:
            case Verified(report=report) | Rejected(report=report):
                return results_in(report)
    return ()


def _headline(
    version: Version, phase: RolloutPhase, event: Event, numbers: dict[str, float], verdict: Verdict
) -> str:
    reason = event.reason.rstrip(".")
    after = f" after {_requests(numbers)}" if numbers else ""
    by = f" by {event.actor}" if getattr(event.body, "code", None) is ReasonCode.MANUAL else ""
    match phase, event.body:
        case RolloutPhase.PROMOTED, Promoted(override=True):
            words = f"was promoted{after}{by}, against the evidence: {reason}"
        case RolloutPhase.PROMOTED, _:
            words = f"was promoted{after}{by}: {reason}"
        case RolloutPhase.ROLLED_BACK, _:
            words = f"was rolled back{after}{by}: {reason}"
        case RolloutPhase.REJECTED, _:
            words = f"was rejected before any request: {reason}"
        case RolloutPhase.SUPERSEDED, RolloutStarted(version=newer):
            words = f"gave way to version {newer}: {reason}"
        case RolloutPhase.HELD, _:
            words = f"is held{after}, a person is asked: {reason}"
        case RolloutPhase.VERIFYING, _:
            words = "is being verified; it gets no requests yet"
        case _:
            paused = " (paused)" if phase is RolloutPhase.PAUSED else ""
            words = f"is the canary{paused}: {verdict.words.rstrip('.')}"
    return f"Version {version} {words}{'' if words.endswith(('.', '.)')) else '.'}"


def _requests(numbers: dict[str, float]) -> str:
    users = int(numbers.get("users_canary_requests", 0))
    probes = int(numbers.get("probes_canary_requests", 0))
    said = f"{users} canary request{'' if users == 1 else 's'}"
    said += f" and {probes} probe{'' if probes == 1 else 's'}" if probes else ""
    whole = int(numbers.get("canary_requests", 0))
    return f"{said} since the evidence started afresh ({whole} in all)" if whole > users + probes else said


def _needed(phase: RolloutPhase, policy: Policy, missing: int | None, tally: Tally, decisive: Event) -> str:
    if missing is None:
        if isinstance(decisive.body, Rejected):
            return "A version that fails a check before traffic takes a new version, or another check."
        return ""
    fewest = fewest_requests(policy.max_error_rate)
    proof = f"an error rate below {policy.max_error_rate * 100:.3g} %"
    known = f"with {tally.failures} of {tally.requests} failed"
    would = "takes" if phase not in _OVER else "would have taken"
    if missing:
        text = (
            f"The proof of {proof} {would} {missing} further canary request{'' if missing == 1 else 's'}"
            f" without a failure, {known} ({fewest} with nothing seen before)."
        )
    else:
        text = f"The proof of {proof} was there, {known}; the fewest requests that can prove it are {fewest}."
    if policy.rule is Rule.COUNTING:
        return f"The policy counts plainly and asks for no proof. By evidence: {text[0].lower()}{text[1:]}"
    return text


_OVER = frozenset(
    {RolloutPhase.PROMOTED, RolloutPhase.ROLLED_BACK, RolloutPhase.REJECTED, RolloutPhase.SUPERSEDED}
)


def _arms(at: Standing, version: Version, baseline: Version | None) -> tuple[Counts, ...]:
    strata = ((Stratum.USERS, at.analysis.users), (Stratum.PROBES, at.analysis.probes))
    return tuple(
        Counts(stratum=which, arm=arm, version=number, seen=rate_of(tally))
        for which, stratum in strata
        for arm, number, tally in (
            (Arm.CANARY, version, stratum.canary),
            (Arm.CURRENT, baseline, stratum.current),
        )
        if tally.requests
    )


def _whole(at: Standing) -> str:
    """Both strata over all epochs, where that is more than the arms of the last epoch."""
    now = at.analysis
    last = sum(
        tally.requests for stratum in (now.users, now.probes) for tally in (stratum.canary, stratum.current)
    )
    if now.canary.requests + now.current.requests == last:
        return ""
    return (
        "That is since the evidence started afresh; in the whole rollout, probes among them,"
        f" {now.canary.failures} of {now.canary.requests} canary requests failed"
        f" and {now.current.failures} of {now.current.requests} of current."
    )


def _shifts(events: Sequence[Event]) -> list[Shift]:
    """The share over time, from the first request on."""
    found: list[Shift] = []
    for event in events:
        match event.body:
            case Resumed() | EpochReset() if found and found[-1].share == 0.0:
                found.append(Shift(event.time, next(s.share for s in reversed(found) if s.share)))
            case Verified(share=share) | ShareChanged(share=share):
                found.append(Shift(event.time, share))
            case PolicyChanged(share=share) if found:
                found.append(Shift(event.time, share))
    return found
