"""What a training in a cluster suffers, in the browser: plain words while it lasts, none when it is over."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("lightkube")

from serinus.jobs.cluster_api import ClusterApi
from serinus.jobs.model import TrainJob
from tests.api.inference import inference
from tests.api.stage import Stage
from tests.jobs.fake_cluster import FakeCluster
from tests.jobs.test_cluster import EVICTED, NO_NODE, SILENT, TEMPLATE, disrupted, ended, waiting
from tests.ui.server import Site
from tests.ui.test_browser import see

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    with FakeCluster() as found:
        yield found


@pytest.fixture
def dashboard(tmp_path: Path, cluster: FakeCluster) -> Iterator[Site]:
    (tmp_path / "train.yaml").write_text(TEMPLATE)
    stage = Stage(tmp_path, inference=inference(), cluster=ClusterApi(cluster.config))
    stage.base()
    site = Site(stage)
    yield site
    site.stop()


def watched(dashboard: Site, page: playwright.Page) -> str:
    """Starts a training and opens its page; gives its id."""
    job = dashboard.stage.jobs.submit(TrainJob(note="coast"))
    page.goto(f"{dashboard.url}/jobs/{job}")
    see(page, "#job-state", "queued")
    return job


def test_why_it_waits_is_said_as_it_changes(
    dashboard: Site, cluster: FakeCluster, page: playwright.Page
) -> None:
    cluster.denied["create", "jobs"] = (403, 'jobs.batch is forbidden: User "ui" cannot create resource')
    watched(dashboard, page)
    see(page, "#job-words", "Kubernetes forbids it")
    cluster.denied["create", "jobs"] = (403, "exceeded quota: compute, requested: count/jobs.batch=1")
    see(page, "#job-words", "quota is used up")
    cluster.denied.clear()
    see(page, "#job-words", "makes a pod for it")
    cluster.warn("FailedCreate", "pods is forbidden: exceeded quota: compute")
    see(page, "#job-words", "Raise the quota")
    pod = cluster.make_pod()
    cluster.set_pod(pod, **waiting("ImagePullBackOff", "not found"))
    see(page, "#job-words", "cannot pull the image")
    page.goto(f"{dashboard.url}/training")
    see(page, "article.job", "cannot pull the image")


def test_what_disturbs_a_running_one_is_said_and_goes_again(
    dashboard: Site, cluster: FakeCluster, page: playwright.Page
) -> None:
    watched(dashboard, page)
    see(page, "#job-words", "makes a pod for it")
    pod = cluster.make_pod(phase="Running")
    cluster.say(pod, "epoch 1")
    see(page, "#job-state", "running")
    see(page, "#log", "epoch 1")
    cluster.stop()
    see(page, "#trouble", "The Kubernetes API does not answer")
    cluster.start()
    playwright.expect(page.locator("#trouble")).to_have_count(0)
    cluster.denied["get", "pods/log"] = (500, NO_NODE)
    cluster.set_pod(pod, **SILENT)
    see(page, "#trouble", "The node that it ran on does not answer")
    page.goto(dashboard.url)
    see(page, "#work", "The node that it ran on does not answer")


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        ({"phase": "Failed", "reason": "Evicted", "message": EVICTED}, "BackoffLimitExceeded", "evicted it"),
        (disrupted("DeletionByTaintManager"), "PodFailurePolicy", "The node that it ran on was lost"),
        (ended("OOMKilled", 137), "BackoffLimitExceeded", "took more memory than its limit"),
    ],
    ids=["evicted", "node lost", "memory"],
)
def test_why_it_failed_is_said_with_a_way_to_go_on(
    dashboard: Site,
    cluster: FakeCluster,
    page: playwright.Page,
    status: dict[str, object],
    reason: str,
    words: str,
) -> None:
    watched(dashboard, page)
    see(page, "#job-words", "makes a pod for it")
    cluster.set_pod(cluster.make_pod(), **status)
    cluster.end_job("Failed", reason=reason)
    see(page, "#job-state", "failed")
    see(page, "#reason", words)
    see(page, "#next", "Train again")
    assert "Traceback" not in page.content()
