"""The results as a Markdown table and as plots."""

from collections.abc import Sequence
from pathlib import Path

from serinus.core.errors import Misconfigured
from serinus.simulation.cells import Looks, Metric
from serinus.simulation.run import SERINUS, Figures, Goal, Result

_SHARES = frozenset({Metric.ROLLED_BACK, Metric.FOR_ERRORS, Metric.PROMOTED})


def markdown(results: Sequence[Result], *, command: str) -> str:
    """Both tables, with the command line that makes them again."""
    rules = list(results[0].rules)
    lines = [f"Made by `{command}`.", "", "Rolled back / promoted / undecided, per cent of the rollouts:", ""]
    lines += [
        f"| Cell | Truth | Promotion | {' | '.join(rules)} |",
        f"|---|---|---|{'---|' * len(rules)}",
    ]
    for one in results:
        ends = [_ends(one.rules[rule]) for rule in rules]
        lines.append(f"| {one.name} | {one.words} | {one.looks} | {' | '.join(ends)} |")
    lines += [
        "",
        "Canary requests until the rollback, mean / median / p95 (after the change, where there is one):",
        "",
    ]
    lines += [f"| Cell | Wald's bound | {' | '.join(rules)} |", f"|---|---|{'---|' * len(rules)}"]
    for one in results:
        if one.rules[SERINUS].mean is None or one.rules[SERINUS].rolled_back < 0.05:
            continue
        bound = f"{one.wald:.1f}" if one.wald is not None else "-"
        lines.append(f"| {one.name} | {bound} | {' | '.join(_delays(one.rules[rule]) for rule in rules)} |")
    goals = [(one, goal) for one in results for goal in one.goals]
    if goals:
        lines += [
            "",
            "Goals:",
            "",
            "| Cell | Measured of Serinus | Goal | Value | |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {one.name} | {_asked(one, goal)} | at most {_value(goal, goal.at_most)}"
            f" | {_value(goal, goal.measured)} | {'met' if goal.met else '**missed**'} |"
            for one, goal in goals
        ]
    return "\n".join(lines) + "\n"


def plots(results: Sequence[Result], folder: Path) -> list[Path]:
    """Writes the plots that the results allow. Raises Misconfigured where matplotlib is missing."""
    try:
        import matplotlib as mpl
    except ModuleNotFoundError as error:
        raise Misconfigured(
            "Plots need matplotlib, which is not installed.", remedy="pip install 'serinus[train]'"
        ) from error
    mpl.use("Agg")
    written = []
    ends = [one for one in results if one.looks is Looks.WINDOW]
    if ends:
        written.append(_plot_ends(ends, folder / "simulation-ends.png"))
    delays = [one for one in ends if one.wald is not None and one.rules[SERINUS].mean is not None]
    if delays:
        written.append(_plot_delays(delays, folder / "simulation-delays.png"))
    return written


_COLOURS = ("#1b7f4b", "#8c8c8c", "#4c72b0", "#dd8452")


def _plot_ends(results: Sequence[Result], path: Path) -> Path:
    """How often each rule promotes, per truth."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 4.2), layout="constrained")
    rules = list(results[0].rules)
    width = 0.8 / len(rules)
    for n, rule in enumerate(rules):
        places = [k + (n - (len(rules) - 1) / 2) * width for k in range(len(results))]
        heights = [100 * one.rules[rule].promoted for one in results]
        axes.bar(places, heights, width, label=rule, color=_COLOURS[n])
    axes.set_xticks(range(len(results)), [one.name for one in results], rotation=30, ha="right")
    axes.set_ylabel("promoted, % of the rollouts")
    axes.set_title("Who is promoted (good and good-2 should be, nobody else)")
    axes.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def _plot_delays(results: Sequence[Result], path: Path) -> Path:
    """Canary requests until the rollback: median to p95, with Wald's bound."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 4.2), layout="constrained")
    rules = list(results[0].rules)
    for n, rule in enumerate(rules):
        for k, one in enumerate(results):
            figures = one.rules[rule]
            if figures.median is None or figures.p95 is None or figures.mean is None:
                continue
            x = k + (n - (len(rules) - 1) / 2) * 0.16
            axes.plot([x, x], [figures.median, figures.p95], color=_COLOURS[n], linewidth=4, alpha=0.5)
            axes.plot(x, figures.mean, "o", color=_COLOURS[n], label=rule if k == 0 else None)
    bounds = [one.wald for one in results if one.wald is not None]
    axes.plot(range(len(results)), bounds, "k_", markersize=30, label="Wald's bound of the mean")
    axes.set_yscale("log")
    axes.set_xticks(range(len(results)), [one.name for one in results], rotation=30, ha="right")
    axes.set_ylabel("canary requests")
    axes.set_title("Until a bad canary is rolled back: mean, and median to p95")
    axes.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def _ends(figures: Figures) -> str:
    return " / ".join(
        _per_cent(share) for share in (figures.rolled_back, figures.promoted, figures.undecided)
    )


def _per_cent(share: float) -> str:
    return f"{100 * share:.2f}".rstrip("0").rstrip(".")


def _delays(figures: Figures) -> str:
    if figures.mean is None or figures.median is None or figures.p95 is None:
        return "-"
    return f"{figures.mean:.1f} / {figures.median:.0f} / {figures.p95:.0f}"


def _asked(one: Result, goal: Goal) -> str:
    if one.looks is Looks.ALWAYS:
        return f"{goal.metric} until the promotion"
    return str(goal.metric)


def _value(goal: Goal, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{_per_cent(value)} %" if goal.metric in _SHARES else f"{value:.5g}"
