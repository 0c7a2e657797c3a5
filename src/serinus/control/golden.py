"""What golden sets and held-out pairs said of a version before its traffic, as the events have it."""

from typing import Any

import msgspec

from serinus.core.ids import Version
from serinus.rollout.events import Published, Rejected, RolloutStarted, Verified
from serinus.rollout.policy import Loss
from serinus.store import Store

_PREFIX = "golden set "
HELD_OUT = "held-out pairs of data set "
MEASUREMENTS = (_PREFIX, HELD_OUT)
"""How the names of checks begin that measure a candidate beside current."""


class Gate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One gate on one set of pairs."""

    metric: str
    """`map50`, `ap50` or `recall`."""
    label: str = ""
    """The class; empty for the mean of all."""
    objects: int
    """Of this class in the set."""
    pictures: int
    """That show one; of mAP50 all."""
    judged: bool = True
    passed: bool = True
    """True where it was not judged."""
    current: float = 0.0
    candidate: float = 0.0
    low: float = 0.0
    high: float = 0.0
    margin: float = 0.0
    confidence: float = 0.95
    loss: Loss = Loss.POSSIBLE
    words: str

    @property
    def difference(self) -> float:
        return self.candidate - self.current


class GoldenResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one set of pairs said of a version before its traffic, as the event has it."""

    name: str
    """Of a golden set; or "held-out pairs of data set ..."."""
    passed: bool
    words: str
    gates: tuple[Gate, ...] = ()
    """Empty where nothing could be compared; the words say why."""
    vouches: bool = False
    """It was compared with current and is not worse, whatever the policy's gates let pass."""


def results_of(store: Store, version: Version) -> tuple[GoldenResult, ...]:
    """Of its last verification; empty where it had none or there was no golden set."""
    reports: dict[int, dict[str, Any]] = {}
    for event in store.newest_events():
        match event.body:
            case Verified(rollout=number, report=report) | Rejected(rollout=number, report=report):
                reports[number] = report
            case RolloutStarted(rollout=number, version=started) if started == version and number in reports:
                return results_in(reports[number])
            case Published(version=published) if published == version:
                break
    return ()


def results_in(report: dict[str, Any]) -> tuple[GoldenResult, ...]:
    """What they said, from the report of an event; older ones have no gates."""
    return tuple(
        GoldenResult(
            name=str(check["name"]).removeprefix(_PREFIX),
            passed=check.get("failed") is None,
            words=check["words"],
            gates=msgspec.convert(check.get("gates", ()), type=tuple[Gate, ...]),
            vouches=check.get("vouches") is True,
        )
        for check in report.get("checks", ())
        if str(check["name"]).startswith(MEASUREMENTS)
    )


def check_name(golden: str) -> str:
    """Name of the check of a golden set, by which `results_in` finds it."""
    return _PREFIX + golden
