"""`serinus simulate`: what a policy does to good and bad canaries, by simulation."""

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console

from serinus.cli.options import PEOPLE, Output
from serinus.cli.show import emit, progress, say, table
from serinus.core.errors import InvalidInput, Misconfigured

if TYPE_CHECKING:
    from serinus.simulation.run import Result


def simulate(
    *,
    policy: Path | None = None,
    rollouts: int = 2000,
    scenario: tuple[str, ...] = (),
    signals: bool = False,
    seed: int = 1,
    out: Path | None = None,
    output: Output = PEOPLE,
) -> None:
    """Measure a policy: false rollbacks, false promotions, requests until a bad canary is found.

    Thousands of simulated rollouts for each of many truths, judged by the policy and, on the same streams, by
    a plain threshold, a Flagger-like and an Argo-like rule.

    Parameters
    ----------
    policy
        YAML or JSON file with a policy (default: the documented one).
    rollouts
        Simulated rollouts of each scenario.
    scenario
        Only this one; may be given several times (default: all).
    signals
        Measure the model signals instead: false holds, false rollbacks for invalid answers, and delays.
    seed
        The same seed gives the same figures.
    out
        Folder for the table (simulation.md), the figures (simulation.json) and the plots.
    """
    try:
        from serinus.simulation.cells import CELLS
        from serinus.simulation.report import markdown, plots
        from serinus.simulation.run import simulate as run
    except ModuleNotFoundError as error:
        raise Misconfigured(
            f"A simulation needs {error.name}, which is not installed.", remedy="pip install 'serinus[train]'"
        ) from error
    from serinus.control.policy_document import read_file
    from serinus.rollout.policy import Policy

    if not 1 <= rollouts <= 1_000_000:
        raise InvalidInput(f"--rollouts must be within 1 and 1000000, not {rollouts}.")
    if seed < 0:
        raise InvalidInput(f"--seed must be at least 0, not {seed}.")
    if signals and policy is not None:
        raise InvalidInput("--signals measures tests that no policy changes.", remedy="Leave out --policy.")
    if signals:
        _signals(scenario, rollouts, seed, out, output)
        return
    known = {cell.scenario.name: cell for cell in CELLS}
    if unknown := [name for name in scenario if name not in known]:
        raise InvalidInput(
            f"There is no scenario {', '.join(unknown)}.", remedy=f"There are: {', '.join(known)}."
        )
    cells = [known[name] for name in dict.fromkeys(scenario or known)]
    chosen = Policy() if policy is None else read_file(policy)
    if chosen.steps and chosen.steps[-1] == 1.0:
        raise InvalidInput(
            f"{policy}: a last step of 1 leaves no control arm, and the evidence starts afresh there, which "
            "is not simulated.",
            remedy="Leave that step out; the proof that it takes comes on top.",
        )
    with progress("simulate") as move:
        results = run(chosen, cells, rollouts=rollouts, seed=seed, progress=move)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        command = _command(policy, rollouts, scenario, seed)
        (out / "simulation.md").write_text(markdown(results, command=command))
        (out / "simulation.json").write_bytes(msgspec.json.format(msgspec.json.encode(results)))
        plots(results, out)
        say(f"Written to {out}.")
    emit(results, output, lambda console: _show(console, results))


def _signals(names: tuple[str, ...], rollouts: int, seed: int, out: Path | None, output: Output) -> None:
    from serinus.rollout.policy import Policy
    from serinus.simulation.run import REQUESTS_PER_SECOND
    from serinus.simulation.signals import CELLS, markdown, simulate

    known = {cell.name: cell for cell in CELLS}
    if unknown := [name for name in names if name not in known]:
        raise InvalidInput(
            f"There is no scenario {', '.join(unknown)}.", remedy=f"There are: {', '.join(known)}."
        )
    cells = tuple(known[name] for name in dict.fromkeys(names or known))
    window = round(Policy().window_seconds * REQUESTS_PER_SECOND)
    with progress("simulate") as move:
        tell = iter(range(len(cells)))
        figures = simulate(
            cells,
            window=window,
            rollouts=rollouts,
            seed=seed,
            progress=lambda name: move(float(next(tell)), float(len(cells)), name),
        )
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        command = " ".join([_command(None, rollouts, names, seed), "--signals"])
        (out / "signals.md").write_text(markdown(figures, command=command))
        (out / "signals.json").write_bytes(msgspec.json.format(msgspec.json.encode(figures)))
        say(f"Written to {out}.")
    rows = [
        (
            one.name,
            one.words,
            one.end.value,
            f"{100 * one.rate:g}",
            "-" if one.at_most is None else f"{100 * one.at_most:g}",
            "-" if one.median is None else f"{one.median:.0f}",
        )
        for one in figures
    ]
    columns = ("scenario", "truth", "end", "rate %", "at most %", "requests")
    emit(figures, output, lambda console: table(console, columns, rows, "Nothing was simulated."))


def _command(policy: Path | None, rollouts: int, scenario: tuple[str, ...], seed: int) -> str:
    words = ["serinus simulate", f"--rollouts {rollouts}", f"--seed {seed}"]
    words += [f"--policy {policy.name}"] if policy is not None else []
    words += [f"--scenario {name}" for name in scenario]
    return " ".join(words)


def _show(console: Console, results: "list[Result]") -> None:
    rows = []
    for one in results:
        for n, (rule, figures) in enumerate(one.rules.items()):
            shares = [f"{100 * share:.2f}" for share in (figures.rolled_back, figures.promoted)]
            requests = (figures.mean, figures.median, figures.p95, None if n else one.wald)
            numbers = ["-" if number is None else f"{number:.0f}" for number in requests]
            rows.append(("" if n else one.name, rule, *shares, *numbers))
    columns = ("scenario", "rule", "back %", "prom %", "mean", "median", "p95", "Wald")
    table(console, columns, rows, "Nothing was simulated.")
    console.print("Rolled back, promoted; canary requests until then; Wald's bound of their mean.")
    goals = [(one.name, goal) for one in results for goal in one.goals]
    for name, goal in goals:
        if not goal.met:
            console.print(f"Missed: {name}, {goal.metric}: {goal.measured} of at most {goal.at_most}.")
    if goals:
        console.print(f"{sum(goal.met for _, goal in goals)} of {len(goals)} goals met.")
