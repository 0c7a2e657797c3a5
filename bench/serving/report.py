"""The figures as a table, as JSON, and as the section of docs/benchmarks.md."""

import importlib.metadata
import os
import platform
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from serving.figures import Cell, Figure
from serving.servers import BASE, PEERS, SHARED

from serinus.artifact.files import sha256_file

BEGIN, END = "<!-- bench-serve -->", "<!-- /bench-serve -->"
_COLUMNS = (
    "",
    "limit CPU ms",
    "CPU ms",
    "over the limit",
    "ratio CPU",
    "ratio throughput",
    "requests/s",
    "p50 ms",
    "p99 ms",
)


class Report(NamedTuple):
    """Everything that was measured, and under which circumstances."""

    figures: dict[Cell, Figure]
    failed: dict[Cell, str]
    repeats: int
    requests: int
    waiting: tuple[float, float]
    """Processes that wanted a core, in the minute before the beginning and before the end."""

    def show(self) -> None:
        """On the terminal."""
        console = Console(width=None if sys.stdout.isatty() else 160)
        for count in self._counts():
            table = Table(title=f"{_cores(count)}: medians, with their range")
            for column in _COLUMNS:
                table.add_column(column, justify="right" if column else "left")
            for row in self._rows(count):
                table.add_row(*row)
            console.print(table)
        for cell, words in self.failed.items():
            console.print(f"[red]{cell.name} failed:[/red] {words}")

    def document(self) -> dict[str, object]:
        """Each figure by the cell's name: on one core the plain name, on more with `_2cores`; peers' names go
        before theirs."""
        named = {cell.name: figure for cell, figure in self.figures.items()}

        def medians(of: Callable[[Figure], list[float]]) -> dict[str, float]:
            return {name: statistics.median(of(figure)) for name, figure in named.items()}

        def intervals(of: str) -> dict[str, list[float]]:
            return {name: [min(f.ratios(of)), max(f.ratios(of))] for name, f in named.items()}

        return {
            "machine": machine() | {"waiting_before": self.waiting[0], "waiting_after": self.waiting[1]},
            "versions": self._versions() | {"model_sha256": sha256_file(BASE / "model.onnx")},
            "repeats": self.repeats,
            "requests": self.requests,
            "ratio_cpu": medians(lambda figure: figure.ratios("cpu")),
            "ratio_throughput": medians(lambda figure: figure.ratios("wall")),
            "interval_cpu": intervals("cpu"),
            "interval_throughput": intervals("wall"),
            "over_limit_cpu_ms": medians(Figure.over),
            "against_peers": self._against(),
            "failed": {cell.name: words for cell, words in self.failed.items()},
            "limit": {name: [cost._asdict() for cost in f.limit] for name, f in named.items()},
            "server": {name: [cost._asdict() for cost in f.server] for name, f in named.items()},
        }

    def markdown(self) -> str:
        """Tables with what they were measured on, for docs/benchmarks.md."""
        about = machine()
        packages = ", ".join(f"{name} {version}" for name, version in self._versions().items())
        lines = [
            f"{about['processor']}, {about['cores']} cores, {about['memory_gb']} GB, "
            f"Linux {about['kernel']}, Python {about['python']}; {packages}.",
            f"`{' '.join(['python bench/serve.py', *_arguments()])}`: {self.repeats} repetitions of "
            f"{self.requests} requests. Processes that wanted a core in the minute before the beginning: "
            f"{self.waiting[0]:.1f}, before the end: {self.waiting[1]:.1f}.",
        ]
        for count in self._counts():
            lines += ["", f"On {_cores(count)}:", "", "| " + " | ".join(_COLUMNS) + " |"]
            lines.append("|---|" + "---:|" * (len(_COLUMNS) - 1))
            lines += ["| " + " | ".join(row) + " |" for row in self._rows(count)]
        against = self._against()
        if against:
            lines += ["", "Serinus beside peers, the same load in the same run:", ""]
            lines += ["| | requests/s of Serinus over theirs | their CPU over Serinus's |", "|---|---:|---:|"]
            lines += [
                f"| {name} | {of['throughput']:.2f} | {of['cpu']:.2f} |" for name, of in against.items()
            ]
        lines += [f"\n{cell.name} failed." for cell in self.failed]
        return "\n".join(lines)

    def write_markdown(self, path: Path) -> None:
        """Into the marked section of `path`, or as the whole of a file without one."""
        before, begin, rest = (path.read_text() if path.exists() else "").partition(BEGIN)
        _, end, after = rest.partition(END)
        if begin and end:
            path.write_text(f"{before}{BEGIN}\n{self.markdown()}\n{END}{after}")
        else:
            path.write_text(self.markdown() + "\n")

    def _versions(self) -> dict[str, str]:
        """Of what was measured."""
        asked = {cell.who for cell in self.figures}
        theirs = [wanted.split("==") for who in asked & set(PEERS) for wanted in PEERS[who] if "==" in wanted]
        ours = (*SHARED, "fastapi", "uvicorn", "serinus")
        return {name: importlib.metadata.version(name) for name in ours} | dict(theirs)

    def _counts(self) -> list[int]:
        return sorted({cell.cores for cell in self.figures})

    def _rows(self, count: int) -> list[list[str]]:
        return [
            [
                f"{cell.who} {cell.load.name}",
                f"{statistics.median(cost.cpu for cost in figure.limit):.1f}",
                f"{figure.median('cpu'):.1f}",
                f"{statistics.median(figure.over()):+.1f}",
                _spread(figure.ratios("cpu")),
                _spread(figure.ratios("wall")),
                f"{1000 / figure.median('wall'):.1f}",
                f"{figure.median('p50'):.0f}",
                f"{figure.median('p99'):.0f}",
            ]
            for cell, figure in self.figures.items()
            if cell.cores == count
        ]

    def _against(self) -> dict[str, dict[str, float]]:
        """For each cell of a peer: what Serinus does beside it."""
        found = {}
        for cell, theirs in self.figures.items():
            ours = self.figures.get(cell._replace(who="serinus"))
            if cell.who not in ("serinus", "loop") and ours is not None:
                found[cell.name] = {
                    "throughput": theirs.median("wall") / ours.median("wall"),
                    "cpu": theirs.median("cpu") / ours.median("cpu"),
                }
        return found


def machine() -> dict[str, object]:
    """What it was measured on."""
    names = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9),
        "kernel": platform.release().split("-")[0],
        "python": platform.python_version(),
    }


def _arguments() -> list[str]:
    """The command's arguments that say what was measured."""
    given = iter(sys.argv[1:])
    return [each for each in given if each not in ("--json", "--markdown") or not next(given, None)]


def _cores(count: int) -> str:
    return "one core" if count == 1 else f"{count} cores"


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} ({min(values):.3f}-{max(values):.3f})"
