"""What golden sets said of a version before its traffic, as the events have it."""

from typing import Any

import msgspec

from serinus.core.ids import Version
from serinus.rollout.events import Published, Rejected, RolloutStarted, Verified
from serinus.rollout.policy import Loss
from serinus.store import Store

_PREFIX = "golden set "


class Gate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One gate on one golden set."""

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
    """What one golden set said of a version before its traffic, as the event has it."""

    name: str
    passed: bool
    words: str
    gates: tuple[Gate, ...] = ()
    """Empty where nothing could be compared; the words say why."""

    @property
    def vouches(self) -> bool:
        """It was compared with current, and nothing was found against it."""
        return self.passed and any(gate.judged for gate in self.gates)


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
    """What the golden sets said, from the report of an event; older ones have no gates."""
    return tuple(
        GoldenResult(
            name=str(check["name"]).removeprefix(_PREFIX),
            passed=check.get("failed") is None,
            words=check["words"],
            gates=msgspec.convert(check.get("gates", ()), type=tuple[Gate, ...]),
        )
        for check in report.get("checks", ())
        if str(check["name"]).startswith(_PREFIX)
    )


def check_name(golden: str) -> str:
    """Name of the check of a golden set, by which `results_in` finds it."""
    return _PREFIX + golden
