"""The demo's own installation: a folder, a process tree in it, and the commands that a user would type."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from serinus.core.errors import Misconfigured, SerinusError
from serinus.core.ids import Version


class DemoFailed(SerinusError):
    """A step of the demo did not end as it must."""


@dataclass(frozen=True)
class Home:
    """One folder with models, data, archives and the log of its `serinus up`."""

    root: Path
    infer_port: int
    ui_port: int
    window_seconds: float

    @property
    def infer_url(self) -> str:
        return f"http://127.0.0.1:{self.infer_port}"

    @property
    def ui_url(self) -> str:
        return f"http://127.0.0.1:{self.ui_port}"

    @property
    def env(self) -> dict[str, str]:
        return {
            **os.environ,
            "MODEL_DIR": str(self.root / "models"),
            "DATA_DIR": str(self.root / "data"),
            "INFER_PORT": str(self.infer_port),
            "UI_PORT": str(self.ui_port),
            "WINDOW_SECONDS": str(self.window_seconds),
        }

    def clean(self) -> None:
        """Stop what an earlier demo left running here, and start from nothing."""
        self.down()
        if self.root.exists():
            if not (self.root / ".serinus-demo").exists():
                raise Misconfigured(
                    f"{self.root} exists and was not made by the demo.", remedy="Choose another --home."
                )
            shutil.rmtree(self.root)
        self.root.mkdir(parents=True)
        (self.root / ".serinus-demo").touch()

    def up(self) -> None:
        """Start `serinus up` in the background and wait until it serves.

        Raises Misconfigured when a port is in use: whoever is there would be taken for ours.
        """
        from serinus.bootstrap.process import require_free_port

        require_free_port("127.0.0.1", self.infer_port, "--infer-port")
        require_free_port("127.0.0.1", self.ui_port, "--ui-port")
        with (self.root / "up.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "serinus", "up"],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        serves = wait_for(lambda: process.poll() is not None or self._ready(), 120)
        if process.poll() is not None or not serves:
            tail = (self.root / "up.log").read_text(errors="replace")[-2000:]
            raise DemoFailed(f"`serinus up` did not start:\n{tail}")

    def down(self) -> None:
        """Stop the `serinus up` of this folder, if one runs."""
        lock = self.root / "models" / ".up.lock"
        if lock.exists():
            self.run("down")

    def run(self, *words: str) -> Any:
        """Run one command as a user would; gives what it prints with --json. Raises DemoFailed."""
        done = subprocess.run(
            [sys.executable, "-m", "serinus", *words, "--json"],
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise DemoFailed(f"`serinus {' '.join(words)}` failed:\n{done.stderr[-2000:]}")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a long command; its JSON comes on stdout."""
        return subprocess.Popen(
            [sys.executable, "-m", "serinus", *words, "--json"],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def version_state(self, version: Version) -> str:
        """The state of one version, in the registry's word."""
        for item in self.run("versions", "list"):
            if item["version"] == version:
                return str(item["state"])
        return ""

    def _ready(self) -> bool:
        try:
            infer = httpx.get(f"{self.infer_url}/readyz", timeout=2.0, trust_env=False).status_code
            ui = httpx.get(f"{self.ui_url}/healthz", timeout=2.0, trust_env=False).status_code
        except httpx.HTTPError:
            return False
        return infer == ui == httpx.codes.OK


def wait_for(done: Callable[[], bool], timeout: float, pause: float = 0.2) -> bool:
    """Wait for `done`; False when `timeout` seconds passed first."""
    until = time.monotonic() + timeout
    while not done():
        if time.monotonic() > until:
            return False
        time.sleep(pause)
    return True


def stop(process: subprocess.Popen[str]) -> None:
    """End a command that was started and is not wanted any more."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.wait()
