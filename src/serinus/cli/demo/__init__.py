"""`serinus demo`: the main job, told on real processes, real training, real HTTP and real files."""

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from serinus.cli.show import say

if TYPE_CHECKING:
    from serinus.cli.demo.traffic import Traffic


def demo(
    *,
    home: Path = Path("demo"),
    window_seconds: float = 30.0,
    infer_port: int = 9000,
    ui_port: int = 8080,
    stop: bool = False,
) -> None:
    """Tell the whole story: data, training, promotion, a changed world, two bad versions, no failed answer.

    Parameters
    ----------
    home
        Folder for everything that the demo makes; made anew each time.
    window_seconds
        Shortest evaluation of a canary. `serinus up` uses 180; the demo is in a hurry.
    infer_port
        Port of the inference service.
    ui_port
        Port of the dashboard.
    stop
        Stop the services at the end instead of leaving them for you to look at.
    """
    from serinus.cli.demo.home import Home
    from serinus.cli.demo.screen import Screen
    from serinus.cli.demo.story import HURRICANE, Story, live_pairs
    from serinus.cli.demo.traffic import Traffic

    place = Home(home.absolute(), infer_port, ui_port, window_seconds)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the services end, too
    place.clean()
    traffic = Traffic(place.infer_url, live_pairs(HURRICANE))

    def status() -> str:
        answered = ", ".join(f"v{number}: {n}" for number, n in sorted(traffic.tally.answered.items()))
        failed = len(traffic.tally.failed)
        return f"answers to users: {answered or 'none yet'}   failed: {failed}   {place.ui_url}"

    screen = Screen(status)
    finished = False
    try:
        place.up()
        with screen.live():
            traffic.start()
            Story(place, screen, traffic).tell()
            finished = True
    finally:
        traffic.stop()
        if stop or not finished:
            place.down()
    _summary(place.run("rollout", "history"), traffic)
    if not stop:
        say(f"Still running: {place.ui_url} (dashboard), {place.infer_url}/docs (predictions).")
        say(f"Stop it with: serinus down --model-dir {home / 'models'}")


def _summary(history: list[dict[str, str]], traffic: "Traffic") -> None:
    """Counts per version, decisions with their reasons, the users' failed requests."""
    console = Console()
    answers = Table("version", "answers", "of these in place of the canary", box=None, header_style="bold")
    for version, count in sorted(traffic.tally.answered.items()):
        answers.add_row(str(version), str(count), str(traffic.tally.fallbacks[version]))
    decisions = Table("what", "why", box=None, header_style="bold", padding=(0, 2, 1, 0))
    for row in history:
        if row["actor"] == "controller" and row["kind"] != "rollout_started":
            decisions.add_row(row["what"], row["why"])
    console.print(Panel(answers, title="Answers to users", expand=False))
    console.print(Panel(decisions, title="Decisions", expand=False))
    console.print(
        f"The users' failed requests: [bold]{len(traffic.tally.failed)}[/] of {traffic.tally.total}"
    )
