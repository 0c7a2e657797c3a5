"""A batch as a job, through a real inference service."""

import os
import socket
import sys
import zipfile
from pathlib import Path

import pytest

from serinus.bootstrap.batching import batch
from serinus.bootstrap.edge import new_id, now
from serinus.bootstrap.settings import load
from serinus.core.enums import JobState
from serinus.core.errors import InvalidInput, Unavailable
from serinus.jobs import BatchJob, BatchOutput, LocalJobs
from tests.api.live import server
from tests.data.archives import name, pack, pairs
from tests.serving.house import wait_for

pytestmark = pytest.mark.processes


def test_a_batch_is_a_job_with_a_result(tmp_path: Path) -> None:
    files = {key: content for key, content in pairs(4).items() if key.endswith("png")}
    files[name(2, "post", "png")] = b"no picture"
    archive = pack(tmp_path / "pairs.zip", files)
    with server(tmp_path) as made:
        settings = load(infer_url=made.url, data_dir=tmp_path / "data")
        jobs = LocalJobs(
            tmp_path / "jobs",
            (sys.executable, "-m", "serinus"),
            env={**os.environ, "INFER_URL": made.url},
            clock=now,
            new_id=new_id,
        )
        job = jobs.submit(BatchJob(archive=str(archive), name="pairs.zip"))

        def over() -> bool:
            jobs.advance()
            return not jobs.describe(job).active

        wait_for(over, "the batch")
        record = jobs.describe(job)
        assert record.state is JobState.SUCCEEDED, record.reason
        assert record.output == BatchOutput(pairs=4, failed=1)
        with zipfile.ZipFile(jobs.folder(job) / "result.zip") as result:
            assert "errors.csv" in result.namelist()

        told: list[tuple[float, str]] = []
        out = tmp_path / "again.zip"
        batch(settings, archive, out, job=None, progress=lambda done, _, words: told.append((done, words)))
        assert zipfile.is_zipfile(out)
        assert [done for done, _ in told] == sorted(done for done, _ in told)
        assert "the inference service is at work" in [words for _, words in told]

        (tmp_path / "broken.zip").write_bytes(b"no zip")
        with pytest.raises(InvalidInput, match="zip"):
            batch(settings, tmp_path / "broken.zip", tmp_path / "x.zip", job=None, progress=lambda *_: None)
        assert not list(tmp_path.glob("*x.zip*"))


def test_nobody_answers(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        settings = load(infer_url=f"http://127.0.0.1:{free.getsockname()[1]}", data_dir=tmp_path)
        archive = pack(tmp_path / "a.zip", pairs(1))
        with pytest.raises(Unavailable, match="does not answer"):
            batch(settings, archive, tmp_path / "out.zip", job=None, progress=lambda *_: None)
