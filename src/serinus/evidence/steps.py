"""The proof of health within one step of a rollout whose share rises in steps.

The blame tests go on through all steps: they hold under any change of the share. What allows the next step
is E_good (see `promotion`) on the canary's observations *since the step began*: at a larger share a version
meets more load and other users, so the proof of the last step is no proof of this one. The tallies of a
stratum only grow between two restarts of its evidence, so the step's own tally is the difference to what
was known when it began, or all of it where the evidence was restarted since.
"""

import msgspec

from serinus.core.enums import Stratum
from serinus.evidence import promotion
from serinus.evidence.analysis import Analysis, Params
from serinus.evidence.promotion import Tally
from serinus.evidence.stratum import StratumEvidence
from serinus.evidence.verdict import CONTRADICTED, CONTRADICTED_FAILURES
from serinus.evidence.wealth import doubled


class StepProof(msgspec.Struct, frozen=True, kw_only=True):
    """What the step's own observations of the canary prove."""

    stratum: Stratum
    """Whose observations: users', unless they brought less than probes and do not contradict them."""
    requests: int
    failures: int
    e_good: float
    limit: float

    @property
    def proved(self) -> bool:
        return self.e_good >= self.limit

    @property
    def words(self) -> str:
        what = "probes of the canary" if self.stratum is Stratum.PROBES else "canary requests"
        return (
            f"{self.failures} of {self.requests} {what} failed, "
            f"proof of health {min(self.e_good, 1e6):.3g} of {self.limit:g} needed"
        )


def proof(now: Analysis, began: Analysis, params: Params, in_flight: int = 0) -> StepProof:
    """The proof of the step that began with the analysis `began`.

    `in_flight`: canary requests of users that are not settled; they count as failures.
    """
    p0 = params.max_error_rate
    waiting = Tally(in_flight, in_flight)
    users = _proof(Stratum.USERS, now.users, began.users, p0, waiting)
    probes = _proof(Stratum.PROBES, now.probes, began.probes, p0, Tally())
    contradicted = now.users.errors.e_abs >= CONTRADICTED or (
        users.failures >= CONTRADICTED_FAILURES and users.failures > p0 * users.requests
    )
    if users.proved or contradicted or not probes.requests:
        return users
    return probes if probes.e_good > users.e_good else users


def _proof(
    which: Stratum, now: StratumEvidence, began: StratumEvidence, p0: float, waiting: Tally
) -> StepProof:
    before = began.canary if now.restarts == began.restarts else Tally()
    tally = Tally(now.canary.requests - before.requests, now.canary.failures - before.failures)
    return StepProof(
        stratum=which,
        requests=tally.requests,
        failures=tally.failures,
        e_good=promotion.e_good(tally + waiting, p0),
        limit=promotion.LIMIT * doubled(now.restarts),
    )
