"""How long an event takes to 50 screens: python bench/live.py [--screens 50] [--events 12] [--json FILE]

`serinus ui` serves a store with a rollout on its way, as a process with its usual settings. This process
appends events to the same store, as a controller or another operator does, and notes when each of them is
there: on event streams of as many HTTP clients (the message, then the page that they fetch because of it);
in as many tabs of one Chromium, which share one stream; in as many browsers (contexts), each with a stream
of its own. A tab counts once its headline has changed in the document. The baseline, in the same run, is one
of each. Hidden tabs fetch nothing: of a person's tabs of one browser one is in front. That all are visible is
what fifty people see, who bring a computer each; here they share this one with the server, so it is told
whose the CPU time is.
"""

import argparse
import asyncio
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from playwright.async_api import Browser, Page, async_playwright  # noqa: E402
from tests.api.stage import Stage  # noqa: E402
from tests.ui import scenes  # noqa: E402
from tests.ui.server import ARGS  # noqa: E402

from serinus.bootstrap import edge  # noqa: E402
from serinus.control import commands  # noqa: E402
from serinus.store import Store  # noqa: E402

GOAL_SECONDS = 1.0
PATIENCE_SECONDS = 30.0
PAUSE_SECONDS = 1.37
"""Between two events; no multiple of the server's half second."""
WATCH = """
const look = () => {
  const title = document.getElementById("title");
  if (!title) return;
  window.seen = window.seen || {};
  window.seen[title.textContent] = Date.now() / 1000;
};
new MutationObserver(look).observe(document, { subtree: true, childList: true, characterData: true });
"""
BEHIND = "Object.defineProperty(document, 'hidden', { get: () => true });"


class Rollout:
    """Pauses and resumes it; each changes the headline."""

    def __init__(self, models: Path) -> None:
        self._store = Store.open(models, clock=edge.now, new_id=edge.new_id)
        self._paused = False

    def event(self) -> tuple[float, int, str]:
        """(when it was appended, its number, the headline then)."""
        act = commands.resume if self._paused else commands.pause
        event = act(self._store, actor="bench", reason="to be seen")
        self._paused = not self._paused
        return edge.now(), event.seq, "is paused" if self._paused else "is on trial"


class Place(NamedTuple):
    """A dashboard that runs."""

    url: str
    server: int
    """Its process id."""
    rollout: Rollout


class Waits(NamedTuple):
    """What one way of looking on came to, seconds."""

    waits: list[float]
    """From the event on, of every screen and event."""
    server: float | None = None
    """CPU time of the dashboard, an event."""
    screens: float | None = None
    """CPU time of the browsers, an event."""
    crowded: bool = False
    """Many screens are drawn by this one machine, which says more of it than of the dashboard."""


@contextmanager
def served(root: Path) -> Iterator[Place]:
    """`serinus ui` on a store with a rollout."""
    stage = Stage(root)
    scenes.on_trial(stage)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = {
        **os.environ,
        "MODEL_DIR": str(root / "models"),
        "DATA_DIR": str(root / "data"),
        "UI_PORT": str(port),
    }
    with (root / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "serinus", "ui"], env=env, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            _until(lambda: _answers(url), "the dashboard")
            yield Place(url, process.pid, Rollout(root / "models"))
        finally:
            process.terminate()
            process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _until(done: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not done():
        if time.monotonic() > until:
            raise SystemExit(f"{what} did not come")
        time.sleep(0.05)


class Reader:
    """A client with a stream of its own, which fetches the page when something happened."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self.told: dict[int, float] = {}
        self.shown: dict[int, float] = {}

    async def follow(self) -> None:
        kind, seq = "", 0
        async with self._client.stream("GET", "/api/events") as reply:
            async for line in reply.aiter_lines():
                if line.startswith("event: "):
                    kind = line[7:]
                elif line.startswith("data: ") and kind in ("state", "tick"):
                    body = json.loads(line[6:])
                    now = body["state"]["seq"] if kind == "state" else body["seq"]
                    if now != seq:
                        seq = now
                        self.told[seq] = edge.now()
                        await self._client.get("/live")
                        self.shown[seq] = edge.now()


async def streams(at: Place, screens: int, events: int) -> dict[str, list[float]]:
    """Seconds until the message, and until the page, of every client and event."""
    limits = httpx.Limits(max_connections=None)
    clients = [
        httpx.AsyncClient(base_url=at.url, timeout=None, trust_env=False, limits=limits)
        for _ in range(screens)
    ]
    readers = [Reader(client) for client in clients]
    tasks = [asyncio.create_task(reader.follow()) for reader in readers]
    found: dict[str, list[float]] = {"message": [], "page": []}
    await _all(lambda: all(reader.shown for reader in readers))
    for _ in range(events):
        await asyncio.sleep(PAUSE_SECONDS)
        appended, seq, _ = await asyncio.to_thread(at.rollout.event)
        await _all(lambda seq=seq: all(seq in reader.shown for reader in readers))
        found["message"] += [reader.told[seq] - appended for reader in readers]
        found["page"] += [reader.shown[seq] - appended for reader in readers]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for client in clients:
        await client.aclose()
    return found


def cpu_seconds(server: int) -> tuple[float, float]:
    """CPU time so far of the dashboard, and of all else that this process started (the browsers)."""
    used = {
        one.pid: sum(one.cpu_times()[:2])
        for one in psutil.Process().children(recursive=True)
        if one.is_running()
    }
    return used[server], sum(used.values()) - used[server]


async def screens_of(at: Place, pages: list[Page], events: int, *, behind: list[Page]) -> Waits:
    """Until the headline of every page has changed that is not behind another one."""
    for page in behind:
        await page.add_init_script(BEHIND)
    for page in (*behind, *pages):
        await page.add_init_script(WATCH)
        await page.goto(at.url, wait_until="domcontentloaded")
        await page.locator("#link.on").wait_for(timeout=PATIENCE_SECONDS * 1000)
    find = "words => Object.entries(window.seen).find(([title]) => title.includes(words))?.[1]"
    found = []
    before = cpu_seconds(at.server)
    for _ in range(events):
        await asyncio.sleep(PAUSE_SECONDS)
        await asyncio.gather(*(page.evaluate("window.seen = {}") for page in pages))
        appended, _, headline = await asyncio.to_thread(at.rollout.event)
        await asyncio.sleep(GOAL_SECONDS)  # asking takes a core that the pages need
        waits = (
            page.wait_for_function(find, arg=headline, polling=200, timeout=PATIENCE_SECONDS * 1000)
            for page in pages
        )
        found += [await handle.json_value() - appended for handle in await asyncio.gather(*waits)]
    server, screens = (now - then for now, then in zip(cpu_seconds(at.server), before, strict=True))
    return Waits(found, server / events, screens / events)


async def browsers(
    browser: Browser, at: Place, screens: int, events: int, *, shared: bool, front: int
) -> Waits:
    """`shared`: tabs of one browser; else one browser for each. Of the screens `front` are in front."""
    contexts = [await browser.new_context() for _ in range(1 if shared else screens)]
    pages = [await contexts[n % len(contexts)].new_page() for n in range(screens)]
    try:
        return await screens_of(at, pages[-front:], events, behind=pages[:-front])
    finally:
        for context in contexts:
            await context.close()


async def _all(done: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not done():
        if time.monotonic() > until:
            raise SystemExit(f"not everybody has heard of it within {PATIENCE_SECONDS:g} s")
        await asyncio.sleep(0.005)


async def measure(screens: int, events: int) -> dict[str, Waits]:
    """By what was measured."""
    found: dict[str, Waits] = {}
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as at:
        for count in (1, screens):
            for what, seconds in (await streams(at, count, events)).items():
                found[f"{count} stream{'s' * (count > 1)}: {what}"] = Waits(seconds)
        async with async_playwright() as play:
            browser = await play.chromium.launch(executable_path=shutil.which("chromium"), args=ARGS)
            ways: list[tuple[str, int, bool, int]] = [
                ("1 tab", 1, True, 1),
                (f"{screens} tabs of one browser, one in front", screens, True, 1),
                (f"{screens} tabs of one browser, all in front", screens, True, screens),
                (f"{screens} browsers on this machine", screens, False, screens),
            ]
            for name, count, shared, front in ways:
                waits = await browsers(browser, at, count, events, shared=shared, front=front)
                found[name] = waits._replace(crowded=front > 1)
            await browser.close()
    return found


def main() -> None:
    """Prints the table; exits with 1 when the slowest took longer than the goal, where nothing is crowded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--screens", type=int, default=50)
    parser.add_argument("--events", type=int, default=12)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    load = psutil.getloadavg()[0]
    found = asyncio.run(measure(given.screens, given.events))
    table = Table(
        *("From an event to", "median", "95 %", "slowest", "CPU: dashboard", "browsers"),
        title=f"Seconds; {given.events} events each",
    )
    figures = {}
    for name, measured in found.items():
        ordered = sorted(measured.waits)
        figures[name] = {
            "median": statistics.median(ordered),
            "p95": ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
            "slowest": ordered[-1],
            "samples": len(ordered),
            "cpu_dashboard": measured.server,
            "cpu_browsers": measured.screens,
        }
        shown = (
            figures[name][which] for which in ("median", "p95", "slowest", "cpu_dashboard", "cpu_browsers")
        )
        table.add_row(name, *("" if value is None else f"{value:.2f}" for value in shown))
    console = Console()
    console.print(table)
    console.print(
        f"Goal: under {GOAL_SECONDS:g} s. {platform.machine()}, {os.cpu_count()} cores, "
        f"load {load:.1f} before, "
        f"{psutil.getloadavg()[0]:.1f} after."
    )
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1))
    sys.exit(any(max(one.waits) > GOAL_SECONDS for one in found.values() if not one.crowded))


if __name__ == "__main__":
    main()
