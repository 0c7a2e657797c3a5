"""The cells of the table: what is true of the versions, what is asked, and the goals that are set for it."""

from dataclasses import dataclass
from enum import StrEnum

from serinus.simulation.streams import Scenario

WINDOWS = 5
"""Length of a stream, in windows: the documented policy's longest evaluation."""


class Looks(StrEnum):
    """When a rollout may be promoted."""

    WINDOW = "after the window"
    NEVER = "never"
    """Asks how often it is rolled back however long it is looked at."""
    ALWAYS = "from the first request"
    """Asks how many requests the proof of health takes."""


class Metric(StrEnum):
    """What is measured of a cell. Canary requests are those until the decision, after the change if there is
    one."""

    ROLLED_BACK = "rolled back"
    FOR_ERRORS = "rolled back for errors"
    PROMOTED = "promoted"
    MEAN = "mean canary requests"
    MEDIAN = "median canary requests"
    P95 = "p95 canary requests"
    MOST = "most canary requests"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One line of the table."""

    scenario: Scenario
    looks: Looks = Looks.WINDOW
    goals: tuple[tuple[Metric, float], ...] = ()
    """Largest values, for the documented policy."""
    windows: int = WINDOWS
    """Length of its streams."""


_STAYS = ((Metric.ROLLED_BACK, 0.01), (Metric.FOR_ERRORS, 0.005))
_KEPT_OUT = ((Metric.PROMOTED, 0.05),)

CELLS = (
    Cell(
        scenario=Scenario(name="healthy", words="both fail 0.1 %"), looks=Looks.NEVER, windows=1, goals=_STAYS
    ),
    Cell(
        scenario=Scenario(name="allowed", words="4 % against 0.1 %: worse, but allowed", canary=0.04),
        looks=Looks.NEVER,
        windows=1,
        goals=_STAYS,
    ),
    Cell(
        scenario=Scenario(name="both-8", words="both fail 8 %", canary=0.08, current=0.08),
        looks=Looks.NEVER,
        windows=1,
        goals=_STAYS,
    ),
    Cell(
        scenario=Scenario(
            name="both-8-long", words="both fail 8 %, for five windows", canary=0.08, current=0.08
        ),
        looks=Looks.NEVER,
        goals=_STAYS,
    ),
    Cell(
        scenario=Scenario(name="both-100", words="both fail always", canary=1.0, current=1.0),
        looks=Looks.NEVER,
        windows=1,
        goals=_STAYS,
    ),
    Cell(
        scenario=Scenario(
            name="outage",
            words="2 % against 0.5 %, then both fail 50 %",
            canary=0.02,
            current=0.005,
            after=1500,
            canary_then=0.5,
            current_then=0.5,
        ),
        looks=Looks.NEVER,
        goals=_STAYS,
        windows=2,
    ),
    Cell(
        scenario=Scenario(name="failing-current", words="0.1 % against 60 %", current=0.6),
        looks=Looks.NEVER,
        goals=_STAYS,
        windows=1,
    ),
    Cell(
        scenario=Scenario(
            name="slower-1.15",
            words="latency x1.15, hardly any dispersion",
            slower=1.15,
            sigma=0.03,
            tail=0.0,
        ),
        looks=Looks.NEVER,
        windows=1,
        goals=((Metric.ROLLED_BACK, 0.01),),
    ),
    Cell(
        scenario=Scenario(name="slower-1.2", words="latency x1.2", slower=1.2),
        looks=Looks.NEVER,
        windows=1,
        goals=((Metric.ROLLED_BACK, 0.0025),),
    ),
    Cell(scenario=Scenario(name="good", words="both fail 0.1 %"), goals=_STAYS),
    Cell(scenario=Scenario(name="good-2", words="2 % against 0.1 %: allowed", canary=0.02), goals=_STAYS),
    Cell(scenario=Scenario(name="bad-5.5", words="5.5 % against 0.1 %", canary=0.055), goals=_KEPT_OUT),
    Cell(scenario=Scenario(name="bad-6", words="6 % against 0.1 %", canary=0.06), goals=_KEPT_OUT),
    Cell(scenario=Scenario(name="bad-8", words="8 % against 0.1 %", canary=0.08), goals=_KEPT_OUT),
    Cell(
        scenario=Scenario(name="bad-10", words="10 % against 0.1 %", canary=0.1),
        goals=(*_KEPT_OUT, (Metric.MEAN, 345)),
    ),
    Cell(
        scenario=Scenario(name="bad-20", words="20 % against 0.1 %", canary=0.2),
        goals=(*_KEPT_OUT, (Metric.MEAN, 57), (Metric.P95, 115)),
    ),
    Cell(
        scenario=Scenario(name="bad-50", words="50 % against 0.1 %", canary=0.5),
        goals=(*_KEPT_OUT, (Metric.MEDIAN, 16), (Metric.P95, 26)),
    ),
    Cell(
        scenario=Scenario(name="bad-100", words="fails always, against 0.1 %", canary=1.0),
        goals=(*_KEPT_OUT, (Metric.MEDIAN, 6), (Metric.P95, 8)),
    ),
    Cell(
        scenario=Scenario(
            name="no-control", words="fails always, all requests are the canary's", canary=1.0, share=1.0
        ),
        goals=((Metric.MOST, 3),),
    ),
    Cell(
        scenario=Scenario(
            name="change-300", words="20 % after 300 good requests", after=300, canary_then=0.2
        ),
        looks=Looks.NEVER,
        goals=((Metric.MEAN, 105),),
        windows=2,
    ),
    Cell(
        scenario=Scenario(
            name="change-3000", words="20 % after 3,000 good requests", after=3000, canary_then=0.2
        ),
        looks=Looks.NEVER,
        goals=((Metric.MEAN, 135),),
    ),
    Cell(
        scenario=Scenario(name="proof", words="both fail 0.1 %: the proof of health"),
        looks=Looks.ALWAYS,
        goals=((Metric.MEDIAN, 74), (Metric.P95, 140)),
    ),
    Cell(
        scenario=Scenario(name="slower-1.5", words="latency x1.5", slower=1.5),
        goals=((Metric.MEDIAN, 165), (Metric.P95, 390)),
    ),
    Cell(
        scenario=Scenario(name="slower-2", words="latency x2", slower=2.0),
        goals=((Metric.MEDIAN, 36), (Metric.P95, 75)),
    ),
    Cell(
        scenario=Scenario(name="slower-5", words="latency x5", slower=5.0),
        goals=((Metric.MEDIAN, 14), (Metric.P95, 22)),
    ),
)
"""The goals are those of the rule's specification, for share 0.5 and at most 5 % errors."""
