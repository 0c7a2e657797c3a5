"""Cells, figures, rivals, the report; a small sample of the goals, and all of them in `make test-long`."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from serinus.cli.app import run
from serinus.cli.exits import Exit
from serinus.rollout.policy import Policy, Rule
from serinus.simulation.cells import CELLS, Cell, Looks, Metric
from serinus.simulation.engine import Code
from serinus.simulation.rivals import argo, flagger, threshold
from serinus.simulation.run import SERINUS, Result, simulate, wald_bound
from serinus.simulation.streams import Scenario, Streams, draw

BY_NAME = {cell.scenario.name: cell for cell in CELLS}
SHARES = (Metric.ROLLED_BACK, Metric.FOR_ERRORS, Metric.PROMOTED)


def silent(done: float, total: float, words: str) -> None:
    assert 0 <= done <= total
    assert words


def measured(*names: str, rollouts: int, seed: int = 1) -> list[Result]:
    cells = [BY_NAME[name] for name in names]
    return simulate(Policy(), cells, rollouts=rollouts, seed=seed, progress=silent)


def slack(metric: Metric, goal: float, rollouts: int) -> float:
    """What chance may add to a figure that meets its goal: three standard errors."""
    if metric in SHARES:
        return goal + 3 * math.sqrt(goal * (1 - goal) / rollouts)
    return goal * (1 + 3 / math.sqrt(rollouts))


def test_a_small_sample_meets_the_goals() -> None:
    names = ("bad-20", "bad-100", "no-control", "proof", "slower-2", "slower-5")
    for result in measured(*names, rollouts=100):
        for goal in result.goals:
            assert goal.measured is not None, (result.name, goal)
            assert goal.measured <= slack(goal.metric, goal.at_most, 100), (result.name, goal)


@pytest.mark.long
def test_every_goal_is_met() -> None:
    """Shares may lie above by what chance adds in 2,000 rollouts."""
    for result in measured(*BY_NAME, rollouts=2000):
        for goal in result.goals:
            assert goal.measured is not None
            most = slack(goal.metric, goal.at_most, 2000) if goal.metric in SHARES else goal.at_most
            assert goal.measured <= most, (result.name, goal)


def test_figures_add_up_and_do_not_depend_on_what_else_is_asked() -> None:
    alone = measured("bad-50", rollouts=30)[0]
    beside = measured("no-control", "bad-50", rollouts=30)[1]
    assert alone == beside != measured("bad-50", rollouts=30, seed=2)[0]
    for figures in alone.rules.values():
        assert figures.rolled_back + figures.promoted + figures.undecided == pytest.approx(1.0)


def test_another_policy_has_no_goals_and_other_figures() -> None:
    policy = Policy(max_error_rate=0.4, window_seconds=20.0)
    (found,) = simulate(policy, [BY_NAME["bad-20"]], rollouts=20, seed=1, progress=silent)
    assert found.goals == ()
    assert found.requests == 5 * 200
    assert found.rules[SERINUS].promoted > 0.5
    assert found.wald is None


def test_steps_take_longer_and_keep_bad_canaries_out() -> None:
    policy = Policy(steps=(0.1, 0.5), window_seconds=60.0)
    cells = [BY_NAME[name] for name in ("good", "bad-20")]
    good, bad = simulate(policy, cells, rollouts=40, seed=1, progress=silent)
    assert set(good.rules) == {SERINUS}, "the rivals know one share"
    assert good.goals == () and good.rules[SERINUS].promoted > 0.9
    assert bad.rules[SERINUS].rolled_back > 0.9 and bad.rules[SERINUS].promoted < 0.1


def test_counting_is_simulated_as_the_plain_threshold_that_it_is() -> None:
    cells = [BY_NAME[name] for name in ("good-2", "bad-20")]
    strict, lax = (
        simulate(Policy(rule=Rule.COUNTING, min_requests=least), cells, rollouts=60, seed=1, progress=silent)
        for least in (20, 1_000_000)
    )
    for one, other in zip(strict, lax, strict=True):
        assert one.rules[SERINUS] == one.rules["threshold"]
        assert other.rules[SERINUS].promoted == 1.0, "nobody sends so many requests"
    assert strict[0].rules[SERINUS].rolled_back > 0.1, "it looks often and pays for none of it"


def test_a_last_step_of_all_requests_is_refused_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "all.yaml"
    policy.write_text("steps: [0.5, 1]\n")
    assert run(["simulate", "--policy", str(policy), "--rollouts", "1", "--scenario", "good"]) != Exit.DONE
    assert "no control arm" in capsys.readouterr().err


def test_walds_bound_is_the_documented_one() -> None:
    assert wald_bound(0.2, 0.05) == pytest.approx(37.9, abs=0.05)
    assert wald_bound(0.05, 0.05) is None
    assert wald_bound(1.0, 0.05) == pytest.approx(math.log(200) / math.log(20))


def test_who_cancels_is_heard() -> None:
    def cancel(done: float, total: float, words: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(Policy(), [BY_NAME["good"]], rollouts=1, seed=1, progress=cancel)


# Rivals.


def made(failures: list[int], requests: int = 360, slow: int = 0) -> Streams:
    """One rollout, every request the canary's; `failures`: which fail; the first `slow` are slow."""
    failed = np.zeros((1, requests), np.bool_)
    failed[0, failures] = True
    bins = np.full((1, requests), 60, np.uint8)
    bins[0, :slow] = 200
    return Streams(np.ones((1, requests), np.bool_), failed, bins, 1.0)


def test_the_threshold_looks_every_second_from_twenty_requests_on() -> None:
    judged = threshold(made([3, 19]), 0.05, 360)
    assert (judged.code[0], judged.position[0]) == (Code.ROLLED_BACK, 20)
    assert threshold(made([25]), 0.05, 360).code[0] == Code.PROMOTED


def test_flagger_counts_failed_checks_and_does_not_advance() -> None:
    # A check every 20 requests of 360; two failures among 20 are more than 5 %.
    four = [20 * n + i for n in range(4) for i in (0, 1)]
    judged = flagger(made(four, requests=600), 0.05, 360)
    assert (judged.code[0], judged.position[0]) == (Code.PROMOTED, 20 * (18 + 4))
    five = [20 * n + i for n in range(5) for i in (0, 1)]
    judged = flagger(made(five, requests=600), 0.05, 360)
    assert (judged.code[0], judged.position[0]) == (Code.ROLLED_BACK, 100)
    assert flagger(made([], requests=600, slow=100), 0.05, 360).code[0] == Code.ROLLED_BACK
    assert flagger(made(four), 0.05, 360).code[0] == Code.UNDECIDED, "its checks outlast the stream"


def test_argo_lets_one_measurement_fail() -> None:
    # A measurement every 60 requests.
    one = list(range(10))
    assert argo(made(one), 0.05, 360).code[0] == Code.PROMOTED
    judged = argo(made([*one, *range(120, 130)]), 0.05, 360)
    assert (judged.code[0], judged.position[0], judged.canary[0]) == (Code.ROLLED_BACK, 180, 180)


def test_a_rival_blames_the_canary_for_what_both_suffer() -> None:
    streams = draw(BY_NAME["both-100"].scenario, 5, 1800, 0.5, np.random.default_rng(1))
    for rule in (threshold, flagger, argo):
        assert (rule(streams, 0.05, 1800).code == Code.ROLLED_BACK).all()


# The command.


def test_the_command_prints_writes_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["simulate", "--rollouts", "20", "--scenario", "bad-50", "--scenario", "no-control"]
    assert run([*words, "--seed", "3", "--json", "--out", str(tmp_path / "made")]) == Exit.DONE
    said = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in said] == ["bad-50", "no-control"]
    assert said[0]["rules"]["Serinus"]["rolled_back"] == 1.0
    assert json.loads((tmp_path / "made" / "simulation.json").read_text()) == said
    page = (tmp_path / "made" / "simulation.md").read_text()
    assert "serinus simulate --rollouts 20 --seed 3 --scenario bad-50 --scenario no-control" in page
    assert "| bad-50 | 50 % against 0.1 % |" in page
    plots = sorted(path.name for path in (tmp_path / "made").glob("*.png"))
    assert plots == ["simulation-delays.png", "simulation-ends.png"]
    assert run(words) == Exit.DONE
    out = capsys.readouterr().out
    assert "Flagger-like" in out
    assert "of 4 goals met." in out


def test_the_command_refuses_what_makes_no_sense(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["--rollouts", "0"],
        ["--seed", "-1"],
        ["--scenario", "sunshine"],
        ["--policy", "/nowhere"],
    ):
        assert run(["simulate", *words]) == Exit.USAGE
    assert "both-8" in capsys.readouterr().err


def test_cells_have_names_of_their_own_and_rollouts_that_may_end() -> None:
    assert len(BY_NAME) == len(CELLS)
    late = Cell(scenario=Scenario(name="x", words=""), looks=Looks.ALWAYS)
    assert late.goals == ()
