"""The inference service as a real process on a real port."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from serinus.evidence.counts import Slice, merge
from serinus.store import Store
from tests import models
from tests.serving.house import open_store, publish, start_canary, wait_for


class Server:
    """The process, its store, and what its log says."""

    def __init__(self, root: Path, process: subprocess.Popen[bytes], url: str, store: Store) -> None:
        self.root = root
        self.process = process
        self.url = url
        self.store = store
        self.psutil = psutil.Process(process.pid)

    def get(self, path: str) -> dict[str, Any]:
        reply: dict[str, Any] = httpx.get(self.url + path, trust_env=False).json()
        return reply

    def workers(self) -> list[int]:
        return [child.pid for child in self.psutil.children()]

    def worker(self, version: int) -> int:
        """The process of a version's only worker."""
        digest = self.store.state().versions[version].digest
        (found,) = [child.pid for child in self.psutil.children() if digest in " ".join(child.cmdline())]
        return found

    def connections(self) -> list[Any]:
        """Open connections of clients."""
        return [each for each in self.psutil.net_connections("tcp") if each.status == "ESTABLISHED"]

    def log(self) -> list[dict[str, Any]]:
        lines = (self.root / "log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def canary(self) -> int | None:
        found = self.get("/model-status").get("canary_version")
        return found["version"] if found else None

    def start_canary(self, draft: Path, share: float = 0.5) -> tuple[int, int]:
        version = publish(self.store, draft)
        rollout = start_canary(self.store, version, share=share)
        wait_for(lambda: self.canary() == version, "the canary to be loaded")
        return rollout, version

    def observed(self, rollout: int, requests: int) -> Slice:
        def all_slices() -> Slice:
            return merge(slice_ for _, _, slice_ in self.store.new_observations(rollout, {}))

        wait_for(lambda: sum(c.successes + c.failures for c in all_slices()) >= requests, "the observations")
        return all_slices()


def is_up(url: str) -> bool:
    try:
        return httpx.get(url + "/readyz", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def server(
    root: Path,
    *,
    predict_seconds: float = 20.0,
    first: Path | None = None,
    env: dict[str, str] | None = None,
    **options: Any,
) -> Iterator[Server]:
    """A service with one version. `env`: more of its environment; `options`: see `serve_inference`."""
    store = open_store(root / "store")
    publish(store, first or models.healthy(root / "first", 1), initial=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = [str(root), str(port), str(predict_seconds), json.dumps(options)]
    command = [sys.executable, "-m", "tests.api.serve_inference", *arguments]
    with (
        (root / "log").open("wb") as log,
        subprocess.Popen(command, stderr=log, env=os.environ | (env or {})) as process,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for(lambda: is_up(url), "the service")
            yield Server(root, process, url, store)
        finally:
            process.kill()
