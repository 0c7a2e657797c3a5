"""Jobs in a cluster, against an API over HTTP that keeps and refuses as a real one does."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serinus.bootstrap.edge import new_id, now
from serinus.core.enums import JobKind, JobState
from serinus.core.errors import Conflict
from serinus.jobs.cluster import KINDS, ClusterQueue
from serinus.jobs.compat import job_status
from serinus.jobs.local import LocalJobs
from serinus.jobs.manifest import JOB_LABEL
from serinus.jobs.model import BrokenJob, DemoJob, PrepareJob, TrainJob, TrainOutput
from serinus.jobs.report import JobReporter
from tests.jobs.fake_cluster import FakeCluster

pytest.importorskip("lightkube")

from serinus.jobs.cluster_api import VERBS, ClusterApi

TEMPLATE = """
apiVersion: batch/v1
kind: Job
metadata:
  name: any
spec:
  template:
    spec:
      restartPolicy: Never
      containers:
        - name: train
          image: serinus-train
          args: [train]
          env:
            - {name: KEPT, value: "1"}
"""
CONTAINER = {"name": "train", "image": "serinus-train", "imageID": "", "ready": False, "restartCount": 0}
EVICTED = "The node was low on resource: memory."


class Place:
    """A dashboard's jobs, and the cluster that they run in."""

    def __init__(self, root: Path, cluster: FakeCluster) -> None:
        self.root, self.cluster = root, cluster
        self.templates = root / "templates"
        self.templates.mkdir()
        for name in ("train", "prepare"):
            (self.templates / f"{name}.yaml").write_text(TEMPLATE)
        self.time, self.wall = 1000.0, 0.0
        self.again()

    def again(self) -> None:
        """A new process, which shares nothing with the last one but the folder."""
        root = self.root / "jobs"
        self.jobs = LocalJobs(root, ("false",), env={}, clock=now, new_id=new_id, elsewhere=KINDS)
        self.queue = ClusterQueue(
            self.jobs,
            ClusterApi(self.cluster.config),
            self.templates,
            lock=root / ".cluster.lock",
            clock=lambda: now() + self.wall,
            monotonic=lambda: self.time,
        )

    def train(self) -> str:
        return self.jobs.submit(TrainJob(epochs=2, note="-n"))

    def turn(self) -> None:
        self.time += 1.0
        self.queue.turn()

    def told(self, job: str) -> tuple[JobState, str]:
        self.turn()
        record = self.jobs.describe(job)
        return record.state, record.reason

    def succeed(self, job: str, pod: str) -> None:
        JobReporter(self.jobs.folder(job), clock=now).succeed(
            TrainOutput(version=2, epochs_completed=2, total_epochs=2)
        )
        self.cluster.set_pod(pod, phase="Succeeded")
        self.cluster.end_job("Complete")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with FakeCluster() as cluster:
        yield Place(tmp_path, cluster)


def test_a_training_is_the_job_train_and_its_record_outlives_it(place: Place) -> None:
    job = place.train()
    assert place.told(job)[0] is JobState.QUEUED
    made = place.cluster.job("train")
    assert made["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "serinus", JOB_LABEL: job}
    assert made["spec"]["template"]["metadata"]["labels"][JOB_LABEL] == job
    assert (made["spec"]["backoffLimit"], made["spec"]["ttlSecondsAfterFinished"]) == (0, 604800)
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert container["args"][:3] == ["train", "--data", "newest"]
    assert container["args"][-3:] == ["--note=-n", "--job", str(place.jobs.folder(job))]
    assert {"name": "KEPT", "value": "1"} in container["env"]
    assert {"name": "SERINUS_JOB", "value": job} in container["env"]
    pod = place.cluster.make_pod(phase="Running")
    place.cluster.say(pod, "epoch 1")
    assert place.told(job) == (JobState.RUNNING, "")
    assert place.jobs.log_lines(job, 0).text == ("epoch 1",)
    assert place.jobs.alive(job)
    place.cluster.say(pod, "epoch 2", "")
    place.again()
    place.turn()
    assert place.jobs.logs(job) == "epoch 1\nepoch 2\n", "a new process goes on, and says nothing twice"
    place.cluster.say(pod, "done")
    place.succeed(job, pod)
    assert place.told(job) == (JobState.SUCCEEDED, "")
    assert place.jobs.logs(job) == "epoch 1\nepoch 2\n\ndone"
    assert not place.jobs.alive(job)
    place.cluster.objects.clear()
    calls = len(place.cluster.calls)
    assert place.told(job)[0] is JobState.SUCCEEDED
    assert len(place.cluster.calls) == calls, "nothing is asked while no job is open"
    assert job_status(place.jobs.describe("train"))["succeeded"] == 1


def test_a_running_one_is_never_deleted_and_a_finished_one_is_replaced(place: Place) -> None:
    first, second = place.train(), place.train()
    place.turn()
    pod = place.cluster.make_pod(phase="Running")
    assert place.told(second) == (JobState.QUEUED, f"Waits until {first} is over.")
    uid = place.cluster.job()["metadata"]["uid"]
    assert ("delete", "jobs") not in place.cluster.calls
    place.succeed(first, pod)
    place.turn()
    place.turn()
    assert place.cluster.job()["metadata"]["labels"][JOB_LABEL] == second
    assert place.cluster.job()["metadata"]["uid"] != uid
    assert place.jobs.describe(first).state is JobState.SUCCEEDED


def theirs() -> dict[str, Any]:
    """A Job `train` that somebody made by hand."""
    container = {"name": "train", "image": "serinus-train"}
    return {
        "metadata": {"name": "train"},
        "spec": {"template": {"metadata": {}, "spec": {"containers": [container]}}},
    }


def test_a_job_that_somebody_else_runs_under_that_name_is_waited_for(place: Place) -> None:
    place.cluster.put("jobs", theirs())
    job = place.train()
    assert place.told(job) == (JobState.QUEUED, "Waits until the running Job train in the cluster is over.")
    place.cluster.end_job("Complete")
    place.turn()
    assert place.cluster.job()["metadata"]["labels"][JOB_LABEL] == job


def test_one_that_takes_the_place_of_a_finished_one_meanwhile_is_not_deleted(place: Place) -> None:
    place.cluster.put("jobs", theirs())
    place.cluster.end_job("Complete")
    seen = ClusterApi(place.cluster.config).job("train")
    assert seen is not None
    del place.cluster.objects["jobs", "train"]
    place.cluster.put("jobs", theirs())
    ClusterApi(place.cluster.config).delete_job(seen)
    assert place.cluster.job()


def test_one_that_was_made_and_not_noted_is_taken_up(place: Place) -> None:
    job = place.train()
    place.turn()
    (place.jobs.folder(job) / "remote.json").unlink()
    place.again()
    assert place.told(job)[0] is JobState.QUEUED
    assert place.cluster.calls.count(("create", "jobs")) == 1


def test_each_kind_has_a_job_of_its_own_and_what_the_dashboards_image_can_do_runs_here(place: Place) -> None:
    place.train()
    for spec in (PrepareJob(upload="/data/a.zip"), DemoJob(), BrokenJob()):
        place.jobs.submit(spec)
    place.turn()
    made = {name for kind, name in place.cluster.objects if kind == "jobs"}
    assert made == {"train", "prepare", "demo", "broken"}
    assert set(JobKind) - KINDS == {JobKind.EVALUATE, JobKind.COMPARE, JobKind.BATCH}


def test_a_job_is_cancelled_with_its_pod(place: Place) -> None:
    job = place.train()
    place.turn()
    pod = place.cluster.make_pod(phase="Running")
    place.turn()
    place.jobs.cancel(job)
    assert place.told(job)[0] is JobState.RUNNING
    assert place.told(job) == (JobState.CANCELLED, "Cancelled by hand.")
    assert ("pods", pod) not in place.cluster.objects
    with pytest.raises(Conflict):
        place.jobs.cancel(job)


def test_one_that_waits_is_cancelled_without_the_cluster(place: Place) -> None:
    place.cluster.stop()
    job = place.train()
    place.jobs.cancel(job)
    assert place.jobs.describe(job).state is JobState.CANCELLED
    place.turn()


SILENT = {
    "phase": "Running",
    "conditions": [
        {"type": "Ready", "status": "False"},
        {"type": "ContainersReady", "status": "True"},
    ],
}
"""What the control plane makes of a pod whose node does not answer."""


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"phase": "Pending", "containerStatuses": [{**CONTAINER, "state": state}]}


@pytest.mark.parametrize(
    ("status", "state", "words"),
    [
        (waiting("ContainerCreating"), JobState.QUEUED, "Its container is being made."),
        (waiting("ErrImagePull", "not found"), JobState.QUEUED, "cannot pull the image.* says: not found"),
        (waiting("ImagePullBackOff"), JobState.QUEUED, "cannot pull the image"),
        (waiting("CreateContainerConfigError", "secret gone"), JobState.QUEUED, "is missing.*secret gone"),
        (waiting("Unheard"), JobState.QUEUED, "Kubernetes says Unheard."),
        (
            {
                "phase": "Pending",
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/3 nodes",
                    }
                ],
            },
            JobState.QUEUED,
            "No node has room for it.*0/3 nodes",
        ),
        (SILENT, JobState.RUNNING, "The node that it ran on does not answer"),
        (
            {"phase": "Running", "conditions": [{"type": "Ready", "status": "Unknown"}]},
            JobState.RUNNING,
            "The node that it ran on does not answer",
        ),
        (
            {
                "phase": "Running",
                "conditions": [
                    {"type": "Ready", "status": "False", "reason": "ContainersNotReady"},
                    {"type": "ContainersReady", "status": "False"},
                ],
            },
            JobState.RUNNING,
            "^$",
        ),
        ({"phase": "Unknown", "message": "lost"}, JobState.RUNNING, "does not answer.*lost"),
        (
            {"phase": "Failed", "reason": "Evicted", "message": EVICTED},
            JobState.RUNNING,
            f"evicted it.*{EVICTED}",
        ),
    ],
)
def test_what_a_pod_waits_for_or_suffers_is_said(
    place: Place, status: dict[str, Any], state: JobState, words: str
) -> None:
    job = place.train()
    place.turn()
    place.cluster.set_pod(place.cluster.make_pod(), **status)
    told = place.told(job)
    assert told[0] is state
    assert re.search(words, told[1]), told


def ended(reason: str, code: int = 1) -> dict[str, Any]:
    state = {"terminated": {"reason": reason, "exitCode": code}}
    return {"phase": "Failed", "containerStatuses": [{**CONTAINER, "state": state}]}


def disrupted(reason: str) -> dict[str, Any]:
    return {
        "phase": "Failed",
        "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": reason}],
    }


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        (ended("OOMKilled", 137), "BackoffLimitExceeded", "took more memory than its limit"),
        (ended("Error", 3), "BackoffLimitExceeded", "ended with status 3 without a result"),
        ({"phase": "Failed", "reason": "Evicted", "message": EVICTED}, "BackoffLimitExceeded", "evicted it"),
        (disrupted("DeletionByTaintManager"), "PodFailurePolicy", "The node that it ran on was lost"),
        (disrupted("PreemptionByScheduler"), "BackoffLimitExceeded", "A more important pod"),
        ({"phase": "Failed"}, "DeadlineExceeded", "longer than activeDeadlineSeconds"),
    ],
)
def test_how_it_failed_is_said(place: Place, status: dict[str, Any], reason: str, words: str) -> None:
    job = place.train()
    place.turn()
    place.cluster.set_pod(place.cluster.make_pod(), **status)
    place.cluster.end_job("Failed", reason=reason)
    state, told = place.told(job)
    assert state is JobState.FAILED
    assert words in told
    assert not place.jobs.alive(job)


def test_the_childs_own_words_count_more_than_the_clusters(place: Place) -> None:
    job = place.train()
    place.turn()
    pod = place.cluster.make_pod(phase="Running")
    JobReporter(place.jobs.folder(job), clock=now).fail(ValueError("no pairs"))
    place.cluster.set_pod(pod, **ended("Error"))
    place.cluster.end_job("Failed", reason="BackoffLimitExceeded")
    assert place.told(job) == (JobState.FAILED, "ValueError: no pairs")


def test_a_drained_pod_goes_on_in_another_one(place: Place) -> None:
    """Told to end, the child writes that it was cancelled; nobody wanted that."""
    job = place.train()
    place.turn()
    first = place.cluster.make_pod(phase="Running")
    place.cluster.say(first, "one")
    place.turn()
    JobReporter(place.jobs.folder(job), clock=now).cancel()
    place.cluster.set_pod(first, **disrupted("EvictionByEvictionAPI"))
    assert place.told(job)[0] is JobState.RUNNING
    second = place.cluster.make_pod(phase="Running")
    place.cluster.say(second, "two")
    assert place.told(job) == (JobState.RUNNING, "")
    place.succeed(job, second)
    assert place.told(job)[0] is JobState.SUCCEEDED
    assert place.jobs.logs(job) == "one\ntwo"


def test_what_is_forbidden_is_said_and_tried_again(place: Place) -> None:
    denied = 'jobs.batch is forbidden: User "ui" cannot create resource "jobs"'
    place.cluster.denied["create", "jobs"] = (403, denied)
    job = place.train()
    state, words = place.told(job)
    assert state is JobState.QUEUED
    assert denied in words
    assert "docs/replicas.md" in words
    place.cluster.denied.clear()
    place.turn()
    assert place.cluster.job()


def test_a_full_quota_is_said_and_tried_again(place: Place) -> None:
    place.cluster.denied["create", "jobs"] = (403, "exceeded quota: compute, requested: count/jobs.batch=1")
    job = place.train()
    state, words = place.told(job)
    assert (state, "quota is used up" in words) == (JobState.QUEUED, True)
    place.cluster.denied.clear()
    place.turn()
    place.cluster.warn("FailedCreate", "pods is forbidden: exceeded quota: compute")
    state, words = place.told(job)
    assert state is JobState.QUEUED
    assert "Raise the quota" in words


def test_a_template_that_the_server_refuses_fails_the_job_and_the_next_goes_on(place: Place) -> None:
    place.cluster.denied["create", "jobs"] = (422, "spec.template.spec.restartPolicy: Required value")
    job = place.train()
    state, words = place.told(job)
    assert state is JobState.FAILED
    assert "restartPolicy: Required value" in words
    assert "Mend the job template" in words
    place.cluster.denied.clear()
    place.train()
    place.turn()
    assert place.cluster.job()


def test_a_template_that_is_no_job_fails_it_with_the_reason(place: Place) -> None:
    (place.templates / "train.yaml").write_text(TEMPLATE.replace("- name: train", "- nam: train"))
    job = place.train()
    state, words = place.told(job)
    assert state is JobState.FAILED
    assert "name" in words and "template" in words


def test_an_answer_that_is_not_understood_is_said(place: Place) -> None:
    job = place.train()
    place.turn()
    place.cluster.set_pod(place.cluster.make_pod(), phase=7)
    assert "not understood" in place.told(job)[1]


@pytest.mark.parametrize("text", ["", "a: [", "kind: Pod", "kind: Job"])
def test_a_template_that_is_none_is_named_and_read_again(place: Place, text: str) -> None:
    (place.templates / "train.yaml").write_text(text)
    job = place.train()
    state, words = place.told(job)
    assert state is JobState.QUEUED
    assert "train.yaml" in words
    (place.templates / "train.yaml").write_text(TEMPLATE)
    place.turn()
    assert place.cluster.job()


def test_an_api_server_that_is_down_for_a_while_changes_nothing(place: Place) -> None:
    job = place.train()
    place.turn()
    pod = place.cluster.make_pod(phase="Running")
    place.cluster.say(pod, "one")
    place.turn()
    place.cluster.stop()
    later = place.train()
    for _ in range(3):
        state, words = place.told(job)
        assert state is JobState.RUNNING
        assert "The Kubernetes API does not answer" in words
    assert "does not answer" in place.told(later)[1]
    place.cluster.say(pod, "two")
    place.time += 60.0
    place.cluster.start()
    assert place.told(job) == (JobState.RUNNING, "")
    assert place.jobs.logs(job) == "one\ntwo"
    place.succeed(job, pod)
    assert place.told(job)[0] is JobState.SUCCEEDED


NO_NODE = 'Get "https://10.0.0.5:10250/containerLogs/xview/train": dial tcp 10.0.0.5:10250: i/o timeout'


def test_a_node_that_is_lost_keeps_its_log_and_nothing_else(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    job = place.train()
    place.turn()
    pod = place.cluster.make_pod(phase="Running")
    place.cluster.denied["get", "pods/log"] = (500, NO_NODE)
    assert place.told(job) == (JobState.RUNNING, "")
    place.cluster.set_pod(pod, **SILENT)
    state, words = place.told(job)
    assert (state, "does not answer" in words) == (JobState.RUNNING, True), words
    assert caplog.text.count("is not to be had") == 1, "once, not with each look"
    place.cluster.set_pod(pod, **disrupted("DeletionByTaintManager"))
    place.cluster.end_job("Failed", reason="PodFailurePolicy")
    state, words = place.told(job)
    assert (state, "was lost" in words) == (JobState.RUNNING, True), "the end of its log may still come"
    place.wall += 61.0
    assert place.told(job)[0] is JobState.FAILED
    assert not place.jobs.alive(job)


def test_what_a_node_says_of_a_log_is_no_line_of_it(place: Place) -> None:
    job = place.train()
    place.turn()
    pod = place.cluster.make_pod(phase="Running")
    place.cluster.say(pod, "one")
    place.turn()
    with place.cluster.lock:  # the kubelet's answer, with status 200, in place of lines or behind them
        place.cluster.logs[pod].append("unable to retrieve container logs for containerd://17dcd1b827fe")
    place.turn()
    place.cluster.say(pod, "two")
    place.turn()
    assert place.jobs.logs(job) == "one\ntwo"


def test_a_progress_bar_parts_no_line_of_the_log(place: Place) -> None:
    job = place.train()
    place.turn()
    pod = place.cluster.make_pod(phase="Running")
    place.cluster.say(pod, "10 %\r 20 %\r 30 %")
    place.turn()
    place.cluster.say(pod, "two")
    place.turn()
    assert place.jobs.logs(job).splitlines() == ["10 %", " 20 %", " 30 %", "two"]


def test_the_end_of_a_log_is_waited_for(place: Place) -> None:
    job = place.train()
    place.turn()
    pod = place.cluster.make_pod(phase="Running")
    place.turn()
    place.cluster.say(pod, "done")
    place.succeed(job, pod)
    place.cluster.denied["get", "pods/log"] = (503, "the server is busy")
    place.turn()
    assert place.jobs.alive(job)
    place.cluster.denied.clear()
    place.turn()
    assert place.jobs.logs(job) == "done"
    assert not place.jobs.alive(job)


@pytest.mark.parametrize(("kind", "text"), [("", ""), ("text/html", "<h1>502"), ("application/json", "{")])
def test_what_a_proxy_before_the_server_answers_is_no_accident(place: Place, kind: str, text: str) -> None:
    place.cluster.instead = (502, kind, text)
    job = place.train()
    state, words = place.told(job)
    assert state is JobState.QUEUED
    assert "Kubernetes API" in words
    place.cluster.instead = None
    place.turn()
    assert place.cluster.job()


def test_a_job_that_was_deleted_in_the_cluster_has_failed(place: Place) -> None:
    job = place.train()
    place.turn()
    place.cluster.make_pod(phase="Running")
    place.turn()
    with place.cluster.lock:
        place.cluster.handle("DELETE", "/apis/batch/v1/namespaces/xview/jobs/train", {})
    assert place.told(job) == (
        JobState.FAILED,
        "Its Job was deleted in the cluster before it was over.",
    )


def test_only_what_is_listed_is_asked_for(place: Place) -> None:
    first = place.train()
    place.turn()
    place.cluster.warn("FailedCreate", "no")
    place.turn()
    pod = place.cluster.make_pod(phase="Running")
    place.turn()
    place.succeed(first, pod)
    place.train()
    for _ in range(3):
        place.turn()
    allowed = {(verb, resource) for (_, resource), verbs in VERBS["ui"].items() for verb in verbs}
    assert set(place.cluster.calls) == allowed
