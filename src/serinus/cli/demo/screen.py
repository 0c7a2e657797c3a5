"""What one sees while the demo runs: the chapters with their outcomes, live counts, a summary."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text


@dataclass
class Chapter:
    title: str
    outcome: str = ""
    done: bool = False


@dataclass
class Screen:
    """A live view on a terminal; elsewhere one line for each thing that happens."""

    status: Callable[[], str]
    """Gives the line of live numbers."""
    console: Console = field(default_factory=lambda: Console(stderr=True, soft_wrap=True))
    chapters: list[Chapter] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    @contextmanager
    def live(self) -> Iterator[None]:
        """Show the view until the block ends."""
        if not self.console.is_terminal:
            yield
            return
        with Live(get_renderable=self._view, console=self.console, refresh_per_second=4):
            yield

    @contextmanager
    def chapter(self, title: str) -> Iterator[Chapter]:
        """One step of the story; what the block writes into `outcome` stands behind its title."""
        chapter = Chapter(title)
        self.chapters.append(chapter)
        self._line(f"... {title}")
        yield chapter
        chapter.done = True
        self._line(f"ok  {title}: {chapter.outcome}")

    def _line(self, text: str) -> None:
        if not self.console.is_terminal:
            seconds = time.monotonic() - self.started
            sys.stderr.write(f"[{int(seconds) // 60}:{int(seconds) % 60:02d}] {text}\n")
            sys.stderr.flush()

    def _view(self) -> Panel:
        rows = Table.grid(padding=(0, 1))
        for chapter in self.chapters:
            mark = Text("✔", "green") if chapter.done else Spinner("dots", style="yellow")
            rows.add_row(mark, Text(chapter.title, "bold"), Text(chapter.outcome, "dim"))
        seconds = int(time.monotonic() - self.started)
        return Panel(
            Group(rows, Text(), Text(self.status())),
            title="Serinus demo",
            subtitle=f"{seconds // 60}:{seconds % 60:02d}",
            border_style="yellow",
        )
