"""Printing results: JSON for programs, tables for people. Results go to stdout, talk to stderr."""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from serinus.cli.options import Output
from serinus.core.text import visible

NO_JOURNAL = "No version is left: the journal is lost. See `serinus store check`."
_COUNTED = re.compile(r",| \d[\d,.]* of ")
"""Where words of a progress begin that change all the time."""


class Terminal(Console):
    """A console that shows control characters in what it prints, and obeys only its own."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


def say(text: str) -> None:
    """Talk to a person."""
    Terminal(stderr=True, soft_wrap=True).print(text, highlight=False, markup=False, emoji=False)


def emit(value: Any, output: Output, people: Callable[[Console], None]) -> None:
    """Print `value` as JSON, or let `people` print it for a person."""
    if output.as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
    else:
        people(Terminal())


def table(console: Console, columns: Sequence[str], rows: Iterable[Sequence[str]], empty: str) -> None:
    """A table; `empty` is said when there is no row."""
    drawn = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(visible(cell)) for cell in row))  # before it is measured
    console.print(drawn if drawn.row_count else empty)


def when(seconds: float | None) -> str:
    """A time for people, in UTC."""
    return "-" if not seconds else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def megabytes(size: int) -> str:
    """Bytes as MB."""
    return f"{size / 1e6:.1f}"


@contextmanager
def transfer(description: str, total: int | None) -> Iterator[Callable[[str, int], None]]:
    """Progress in bytes on stderr, for people only; gives a function (what, bytes) to move it."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[what]}"),
        console=Terminal(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(description, total=total, what="")

        def move(what: str, size: int) -> None:
            bar.update(task, advance=size, what=what[-60:])

        yield move


@contextmanager
def progress(description: str, *, steps: bool = False) -> Any:
    """A progress bar on stderr; gives a function (done, total, words) to move it.

    `steps`: where there is no terminal, as in a job's log, a line for each step in place of the bar. `pair 2
    of 90` is the step of `pair 1 of 90`, `epoch 2/9, loss 0.4` is another one than `epoch 1/9, loss 0.5`.
    """
    console = Terminal(stderr=True)
    lines = steps and not console.is_terminal
    last = ""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("eta"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[words]}"),
        console=console,
        disable=lines,
    )
    with bar:
        task = bar.add_task(description, total=None, words="")

        def move(done: float, total: float, words: str = "") -> None:
            nonlocal last
            if lines and last and _COUNTED.split(last, 1)[0] != _COUNTED.split(words, 1)[0]:
                say(last)
            last = words
            bar.update(task, completed=done, total=total, words=words)

        yield move
    if lines and last:
        say(last)
