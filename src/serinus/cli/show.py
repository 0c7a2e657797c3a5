"""Printing results: JSON for programs, tables for people. Results go to stdout, talk to stderr."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.console import Console
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
from rich.table import Table

from serinus.cli.options import Output


def say(text: str) -> None:
    """Talk to a person."""
    Console(stderr=True, soft_wrap=True).print(text, highlight=False)


def emit(value: Any, output: Output, people: Callable[[Console], None]) -> None:
    """Print `value` as JSON, or let `people` print it for a person."""
    if output.as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
    else:
        people(Console())


def table(console: Console, columns: Sequence[str], rows: Iterable[Sequence[str]], empty: str) -> None:
    """A table; `empty` is said when there is no row."""
    drawn = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*row)
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
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(description, total=total, what="")

        def move(what: str, size: int) -> None:
            bar.update(task, advance=size, what=what[-60:])

        yield move


@contextmanager
def progress(description: str) -> Any:
    """A progress bar on stderr; gives a function (done, total, words) to move it."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("eta"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[words]}"),
        console=Console(stderr=True),
    )
    with bar:
        task = bar.add_task(description, total=None, words="")

        def move(done: float, total: float, words: str = "") -> None:
            bar.update(task, completed=done, total=total, words=words)

        yield move
