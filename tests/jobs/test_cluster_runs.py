"""An import in a cluster whose node runs it as a process: what it reports comes through the shared folder."""

from pathlib import Path

import pytest

pytest.importorskip("lightkube")

from serinus.bootstrap.edge import new_id, now
from serinus.core.enums import JobState
from serinus.jobs.cluster import KINDS, ClusterQueue
from serinus.jobs.cluster_api import ClusterApi
from serinus.jobs.local import LocalJobs
from serinus.jobs.model import PrepareJob, PrepareOutput
from tests.data.archives import pack_tar, pairs
from tests.jobs.fake_cluster import FakeCluster, Node, until
from tests.jobs.test_cluster import TEMPLATE


def test_an_import_runs_in_the_cluster_and_tells_its_progress_and_result(tmp_path: Path) -> None:
    templates = tmp_path / "templates"
    templates.mkdir()
    (templates / "prepare.yaml").write_text(TEMPLATE)
    data = tmp_path / "data"
    jobs = LocalJobs(data / "jobs", ("false",), env={}, clock=now, new_id=new_id, elsewhere=KINDS)
    archive = pack_tar(tmp_path / "pairs.tar", pairs(3))
    env = {"DATA_DIR": str(data), "MODEL_DIR": str(tmp_path / "models")}
    with FakeCluster() as cluster, Node(cluster, env):
        api = ClusterApi(cluster.config)
        queue = ClusterQueue(jobs, api, templates, lock=data / "jobs" / ".cluster.lock", clock=now)
        good = jobs.submit(PrepareJob(upload=str(archive)))
        bad = jobs.submit(PrepareJob(upload=str(tmp_path / "none.zip")))

        def over() -> bool:
            queue.turn()
            return not any(jobs.describe(job).active or jobs.alive(job) for job in (good, bad))

        until(over, "both imports", 120.0)
        record = jobs.describe(good)
        assert record.state is JobState.SUCCEEDED, (record.reason, jobs.logs(good))
        assert isinstance(record.output, PrepareOutput)
        assert record.output.pairs_usable == 3
        assert jobs.logs(good)
        record = jobs.describe(bad)
        assert record.state is JobState.FAILED
        assert "none.zip" in record.reason
        assert "Traceback" not in record.reason
