"""`serinus up`: one process tree on one machine - infer, ui and controller, restarted when they die."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from serinus.bootstrap import signing
from serinus.bootstrap.device import device_of
from serinus.bootstrap.process import require_free_port, stop_event
from serinus.bootstrap.settings import Settings, environment
from serinus.bootstrap.wiring import ensure_base, open_jobs, open_store
from serinus.core.errors import Conflict, Misconfigured, Unavailable
from serinus.rollout.policy import DEFAULT
from serinus.store import volume_errors

_BACKOFF_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_STEADY_SECONDS = 30.0
"""A child that lived this long starts its back-off anew when it dies."""
_DRAIN_SECONDS = 55.0
"""Longer than an admitted request may take (see `InferenceSettings.longest_seconds`)."""


@dataclass
class Child:
    """One supervised process and its restarts."""

    name: str
    argv: list[str]
    env: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    restart_at: float = field(default=0.0)

    def start(self) -> None:
        """Start it in a session of its own, so that Ctrl-C reaches only the supervisor."""
        self.process = subprocess.Popen(self.argv, env=self.env, start_new_session=True)
        self.started = time.monotonic()

    def tend(self, console: Console) -> None:
        """Restart it when it has died, later and later while it keeps dying."""
        now = time.monotonic()
        if self.process is None:
            if now >= self.restart_at:
                self.start()
            return
        code = self.process.poll()
        if code is None:
            return
        self.failures = 1 if now - self.started > _STEADY_SECONDS else self.failures + 1
        delay = _BACKOFF_SECONDS[min(self.failures, len(_BACKOFF_SECONDS)) - 1]
        console.print(f"[yellow]{self.name} ended with {_ending(code)}; starting it again in {delay:g} s[/]")
        self.process, self.restart_at = None, now + delay

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def reap(self, deadline: float) -> None:
        """Wait until `deadline` (monotonic), then kill its whole process group."""
        if self.process is None:
            return
        try:
            self.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


@contextmanager
def sole_owner(model_dir: Path) -> Iterator[None]:
    """Hold the lock of `model_dir`. Raises Misconfigured when another `serinus up` has it."""
    path = model_dir / ".up.lock"
    with volume_errors("take the lock", model_dir):
        model_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise Misconfigured(
                f"Serinus is already up on MODEL_DIR {model_dir} (pid {owner}).",
                remedy="Stop that one, or choose another --model-dir.",
            ) from error
        pid = str(os.getpid()).encode()
        with volume_errors("take the lock", model_dir):
            os.pwrite(descriptor, pid, 0)  # over what was there: on a full volume no new room is found
            os.ftruncate(descriptor, len(pid))
        yield
    finally:
        os.close(descriptor)


def down(settings: Settings, patience: float = 60.0) -> int | None:
    """Stop the `serinus up` that holds the lock of MODEL_DIR; gives its pid, None when there is none.

    Raises Unavailable when it has not ended after `patience` seconds.
    """
    path = settings.model_dir / ".up.lock"
    if not path.exists():
        return None
    pid: int | None = None
    until = time.monotonic() + patience
    while time.monotonic() < until:
        with path.open("r+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return pid
            except BlockingIOError:
                owner = int(lock.read() or 0)
        if pid is None and owner:
            pid = owner
            os.kill(pid, signal.SIGTERM)
        time.sleep(0.1)
    raise Unavailable(f"Serinus (pid {pid}) has not stopped within {patience:g} s.")


def _children(settings: Settings) -> list[Child]:
    env = {**os.environ, **environment(settings)}
    parent = str(os.getpid())
    return [
        Child(name, [sys.executable, "-m", "serinus", name, "--parent", parent], env)
        for name in ("infer", "ui", "controller")
    ]


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=1.0, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _screen(settings: Settings) -> Panel:
    ui = f"http://{settings.ui_host}:{settings.ui_port}"
    table = Table.grid(padding=(0, 2))
    for name, value in (
        ("Dashboard", ui),
        ("Try a pair", f"{ui}/inference"),
        ("Predictions", f"POST {settings.infer}/predict"),
        ("API", f"{settings.infer}/docs   {ui}/docs"),
        ("Metrics", f"{settings.infer}/metrics"),
        ("Models", str(settings.model_dir.absolute())),
        ("Data, jobs", str(settings.data_dir.absolute())),
        ("Policy", _policy(settings)),
        ("Stop", "Ctrl-C"),
    ):
        table.add_row(f"[bold]{name}[/]", value)
    return Panel(table, title="Serinus is up", border_style="green", expand=False)


def _policy(settings: Settings) -> str:
    if settings.policy != DEFAULT.name:
        return f"{settings.policy} (serinus policy show {settings.policy})"
    return f"{settings.share:.0%} of requests for {settings.window_seconds:g} s"


def _announce(settings: Settings, console: Console, stop: threading.Event) -> None:
    """Print where everything is, once both services answer."""
    urls = (
        f"http://{settings.infer_host}:{settings.infer_port}/readyz",
        f"http://{settings.ui_host}:{settings.ui_port}/healthz",
    )
    while not stop.is_set():
        if all(_answers(url) for url in urls):
            console.print(_screen(settings))
            return
        stop.wait(0.2)


def _cancel_jobs(settings: Settings, console: Console) -> None:
    jobs = open_jobs(settings)
    for record in jobs.list():
        if record.active:
            with suppress(Conflict):
                jobs.cancel(record.id)
                console.print(f"cancelled {record.id}")


def _prepare(settings: Settings, console: Console) -> None:
    """Makes the first version. While the store is away only a tree that knows what it served may start."""
    store = open_store(settings, may_be_away=True, may_be_full=True)
    try:
        ensure_base(store, settings)
    except Unavailable as error:
        if store.last_known() is None:
            raise
        console.print(f"[yellow]Starting without the store:[/] {escape(error.message)}", highlight=False)


def up(settings: Settings) -> None:
    """Run the tree until SIGTERM or Ctrl-C. Raises Misconfigured (WrongSettings) when it cannot start."""
    console = Console(stderr=True)
    if (settings.infer_host, settings.infer_port) == (settings.ui_host, settings.ui_port):
        raise Misconfigured(
            f"Inference and dashboard cannot share {settings.ui_host}:{settings.ui_port}.",
            remedy="Choose another --infer-port or --ui-port.",
        )
    if settings.device == "cuda":
        device_of(settings)  # said once, here, and not by a child that is started again and again
    with sole_owner(settings.model_dir):
        require_free_port(settings.infer_host, settings.infer_port, "--infer-port")
        require_free_port(settings.ui_host, settings.ui_port, "--ui-port")
        signing.trusted(settings)
        _prepare(settings, console)
        stop = stop_event()
        children = _children(settings)
        for child in children:
            child.start()
        announcer = threading.Thread(target=_announce, args=(settings, console, stop), daemon=True)
        announcer.start()
        while not stop.wait(0.2):
            for child in children:
                child.tend(console)
        console.print("Stopping ...")
        _cancel_jobs(settings, console)
        for child in children:
            child.stop()
        deadline = time.monotonic() + _DRAIN_SECONDS + settings.drain_delay_seconds
        for child in children:
            child.reap(deadline)
        console.print("Stopped.")
