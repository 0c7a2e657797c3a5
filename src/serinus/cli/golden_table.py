"""What golden sets and held-out pairs said of a version, as a table for people."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from serinus.cli.show import table

if TYPE_CHECKING:
    from serinus.control.golden import Gate, GoldenResult

_COLUMNS = ("measured on", "what", "current", "this one", "difference", "may lose", "")


def golden_table(console: Console, results: "Sequence[GoldenResult]") -> None:
    """One row for each gate; nothing where nothing was measured."""
    if not results:
        return
    rows: list[tuple[str, ...]] = []
    for one in results:
        rows += [(one.name, *_cells(gate, refuses=not one.passed)) for gate in one.gates]
        if not one.gates:
            rows.append((one.name, one.words, "", "", "", "", "passed" if one.passed else "FAILED"))
    console.print()
    table(console, _COLUMNS, rows, "")


def _cells(gate: "Gate", *, refuses: bool) -> tuple[str, ...]:
    """`refuses`: whether a gate that is not passed kept the version from traffic; held-out pairs do not."""
    what = f"{gate.metric} {gate.label}".strip()
    if not gate.judged:
        reason = gate.words.partition(": ")[2].rstrip(".")
        return (what, "", "", "", "", f"not judged: {reason}")
    return (
        what,
        f"{gate.current:.3f}",
        f"{gate.candidate:.3f}",
        f"{gate.difference:+.3f} ({gate.low:+.3f} to {gate.high:+.3f})",
        f"{gate.margin:g} ({gate.loss})",
        "passed" if gate.passed else "FAILED" if refuses else "may be worse",
    )
