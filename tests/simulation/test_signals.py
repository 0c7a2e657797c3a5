"""The vectorised families are those of `evidence`, request by request; and what a cell says of them."""

import numpy as np
import pytest

from serinus.core.enums import Arm, FailureKind, Signal, Stratum
from serinus.evidence import answers, signals
from serinus.evidence.answers import Tolerated
from serinus.evidence.counts import Cell
from serinus.evidence.signals import Categories, Shift
from serinus.simulation.signals import CELLS, BlameTest, DriftTest, End, ShiftTest, simulate, tilted

ROLLOUTS, REQUESTS = 3, 150


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_shifts_are_judged_alike(share: float) -> None:
    rng = np.random.default_rng(2)
    test, scalar = ShiftTest(3, ROLLOUTS, REQUESTS, share), [Shift()] * ROLLOUTS
    for _ in range(REQUESTS):
        canary = rng.random(ROLLOUTS) < share
        category = np.where(canary, rng.integers(0, 2, ROLLOUTS), rng.integers(0, 3, ROLLOUTS))
        answered = rng.random(ROLLOUTS) < 0.9
        test.step(canary, category, answered)
        for r in np.flatnonzero(answered):
            arm = Arm.CANARY if canary[r] else Arm.CURRENT
            part = Categories(arm=arm, share=share, counts={str(category[r]): 1})
            scalar[r] = signals.observe_shift(scalar[r], [part])
        assert test.values[0] == pytest.approx([one.e_shift for one in scalar], rel=1e-9)
    assert test.values[0].max() > 2.0


def test_drift_is_judged_alike() -> None:
    rng = np.random.default_rng(3)
    pasts = rng.multinomial(800, (0.5, 0.3, 0.2), size=ROLLOUTS)
    test = DriftTest(pasts, REQUESTS)
    begun = [signals.begin_drift({str(n): int(x) for n, x in enumerate(past)}) for past in pasts]
    scalar = [[one, one] for one in begun]
    for _ in range(REQUESTS):
        canary, category = rng.random(ROLLOUTS) < 0.5, rng.choice(3, ROLLOUTS, p=(0.05, 0.15, 0.8))
        test.step(canary, category, np.ones(ROLLOUTS, np.bool_))
        for r in range(ROLLOUTS):
            arm = int(canary[r])
            scalar[r][arm] = signals.observe_drift(scalar[r][arm], {str(category[r]): 1})
        for arm in (0, 1):
            assert test.values[arm] == pytest.approx([one[arm].e_drift for one in scalar], rel=1e-9)
    assert min(test.values[0].max(), test.values[1].max()) > 100.0


def test_invalid_answers_are_judged_alike() -> None:
    rng = np.random.default_rng(4)
    test, scalar = BlameTest(ROLLOUTS, REQUESTS, 0.5), [answers.start({})] * ROLLOUTS
    for _ in range(REQUESTS):
        canary = rng.random(ROLLOUTS) < 0.5
        failed = rng.random(ROLLOUTS) < np.where(canary, 0.2, 0.02)
        test.step(canary, failed)
        for r in range(ROLLOUTS):
            kind = {FailureKind.INVALID_OUTPUT: 1} if failed[r] else {}
            cell = Cell(
                arm=Arm.CANARY if canary[r] else Arm.CURRENT,
                stratum=Stratum.USERS,
                share=0.5,
                ok={} if failed[r] else {50: 1},
                failed=kind,
                signals={} if failed[r] else {Signal.DETECTIONS: {"1": 1}},
            )
            scalar[r] = answers.observe(scalar[r], [cell], Tolerated(), compare=True)
        found = [answers.e_blame(one.invalid, control=True) for one in scalar]
        assert test.values == pytest.approx(found, rel=1e-9)
    assert test.values.max() > 100.0


def test_a_tilted_mix_has_the_odds_that_are_asked_for() -> None:
    mix = tilted((0.2, 0.5, 0.3), 3.0)
    assert mix.sum() == pytest.approx(1.0)
    assert mix[0] / (1 - mix[0]) == pytest.approx(0.25 * 3.0)
    assert mix[1] / mix[2] == pytest.approx(0.5 / 0.3)


def test_what_is_true_comes_out() -> None:
    names = ("alike", "shift-10", "invalid-100", "both-100", "drift-5")
    cells = tuple(cell for cell in CELLS if cell.name in names)
    found = {
        one.name: one for one in simulate(cells, window=400, rollouts=60, seed=2, progress=lambda _: None)
    }
    assert found["alike"].rate == found["both-100"].rate == 0.0
    for name in ("shift-10", "invalid-100", "drift-5"):
        assert found[name].rate == 1.0 and found[name].median is not None, name
    assert found["invalid-100"].end is End.BLAME
