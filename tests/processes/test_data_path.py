"""From a cut upload to a confirmed data set, through a real dashboard that is killed on the way."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.test_schema import is_up
from tests.data.archives import name, pack_tar, pairs
from tests.serving.house import wait_for

pytestmark = pytest.mark.processes
TUS = {"Tus-Resumable": "1.0.0"}


class Dashboard:
    """`serinus ui` in a folder, without an inference service."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.start()

    def start(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        env = os.environ | {
            "MODEL_DIR": str(self.root / "models"),
            "DATA_DIR": str(self.root / "data"),
            "UI_PORT": str(port),
        }
        with (self.root / "log").open("ab") as log:
            command = [sys.executable, "-m", "serinus", "ui"]
            self.process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        url = f"http://127.0.0.1:{port}"
        self.client = httpx.Client(base_url=url, trust_env=False, timeout=30)
        wait_for(lambda: is_up(url), "the dashboard")

    def kill(self) -> None:
        self.client.close()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def job(self, job: str) -> dict[str, Any]:
        return dict(self.client.get(f"/api/jobs/{job}").json())

    def over(self, job: str) -> dict[str, Any]:
        def done() -> bool:
            return self.job(job)["job"]["state"] not in ("queued", "running")

        wait_for(done, f"the end of {job}")
        return self.job(job)


@pytest.fixture
def dashboard(tmp_path: Path) -> Iterator[Dashboard]:
    made = Dashboard(tmp_path)
    yield made
    made.kill()


def test_from_a_cut_upload_to_a_confirmed_data_set(dashboard: Dashboard) -> None:
    files = pairs(10)
    for tile in (2, 5):
        del files[name(tile, "post", "png")]
    data = pack_tar(dashboard.root / "a.tar.zst", files).read_bytes()
    half = len(data) // 2
    piece = TUS | {"Content-Type": "application/offset+octet-stream"}
    begun = dashboard.client.post("/api/uploads", headers=TUS | {"Upload-Length": str(len(data))})
    place = begun.headers["location"]
    dashboard.client.patch(place, headers=piece | {"Upload-Offset": "0"}, content=data[:half])
    dashboard.kill()
    dashboard.start()
    at = int(dashboard.client.head(place, headers=TUS).headers["upload-offset"])
    assert at == half
    last = dashboard.client.patch(place, headers=piece | {"Upload-Offset": str(at)}, content=data[at:])
    assert last.status_code == 204

    job = dashboard.client.post("/trigger-preprocess").json()["job"]
    dashboard.kill()  # the job goes on without it
    dashboard.start()
    refused = dashboard.over(job)
    assert refused["job"]["state"] == "failed"
    asked = refused["confirmation"]
    assert "2 of 10 pairs cannot be used" in asked["question"]
    assert "Needs your confirmation" in dashboard.client.get(asked["report"]).text
    status = dashboard.client.get(f"/job-status/{job}").json()
    assert (status["active"], status["failed"]) == (0, 1)
    assert dashboard.client.get("/api/datasets").json()["datasets"] == []

    again = dashboard.client.post(asked["post"], data=asked["form"]).json()["job"]
    confirmed = dashboard.over(again)
    assert confirmed["job"]["state"] == "succeeded", confirmed["job"]
    logs = dashboard.client.get("/job-logs/preprocess").json()["preprocess_summary"]
    assert (logs["status"], logs["total_images"], logs["total_polygons"]) == ("succeeded", 16, 8)
    (dataset,) = dashboard.client.get("/api/datasets").json()["datasets"]
    report = dashboard.client.get(f"/api/datasets/{dataset['id']}/report").json()
    assert (report["pairs_found"], report["pairs_usable"]) == (10, 8)
    page = dashboard.client.get(f"/api/datasets/{dataset['id']}/report.html")
    assert page.status_code == 200 and "data:image/jpeg" in page.text
