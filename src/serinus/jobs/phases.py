"""What a job in the cluster is in our terms: one table from the reasons that Kubernetes gives to a state and
words. Pure.

Of all that is said the most telling thing counts: the pod's own reasons, then the Job's events, then its
conditions. A reason that the table does not know keeps Kubernetes' words.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from serinus.core.enums import JobState
from serinus.jobs.seen import ClusterJob, Happening, Pod, Terminated


class Said(NamedTuple):
    """A state, and in words why it is not simply running or over."""

    state: JobState
    words: str = ""


_QUEUED, _RUNNING, _FAILED = JobState.QUEUED, JobState.RUNNING, JobState.FAILED
_PULL = (
    "Kubernetes cannot pull the image. It goes on trying: mend the image's name or the pull secret in the "
    "job template, or cancel the job."
)
_NODE = "The node that it ran on does not answer. Kubernetes waits some minutes for it, then gives it up."

_MADE_NOW = "Its container is being made."
_AGAIN = "Start it again: it goes on from its last checkpoint."
_LOST = f"The node that it ran on was lost. {_AGAIN}"
_PREEMPTED = f"A more important pod took its place. {_AGAIN}"
_TEMPLATE = "Mend the job template and cancel the job."

PHASES: Mapping[str, Said] = {
    # why a pod waits
    "Unschedulable": Said(_QUEUED, "No node has room for it. Free some, add a node, or lower its requests."),
    "ContainerCreating": Said(_QUEUED, _MADE_NOW),
    "PodInitializing": Said(_QUEUED, _MADE_NOW),
    "ErrImagePull": Said(_QUEUED, _PULL),
    "ImagePullBackOff": Said(_QUEUED, _PULL),
    "ErrImageNeverPull": Said(_QUEUED, _PULL),
    "InvalidImageName": Said(_QUEUED, f"The job template's image is no name of one. {_TEMPLATE}"),
    "CreateContainerConfigError": Said(
        _QUEUED, "A ConfigMap or Secret that the job template names is missing. Make it, or cancel the job."
    ),
    "CreateContainerError": Said(_QUEUED, f"Its container cannot be made. {_TEMPLATE}"),
    "RunContainerError": Said(_QUEUED, f"Its container cannot be started. {_TEMPLATE}"),
    "CrashLoopBackOff": Said(_QUEUED, "It ended and is started again after a pause."),
    # why no pod is made (events of the Job)
    "FailedCreate": Said(
        _QUEUED, "Kubernetes makes no pod for it. Raise the quota, or mend the job template."
    ),
    # what disturbs one that runs
    "NodeStatusUnknown": Said(_RUNNING, _NODE),
    "NodeLost": Said(_RUNNING, _NODE),
    # how a pod ended
    "OOMKilled": Said(
        _FAILED,
        "It took more memory than its limit. Raise the limit in the job template, or train with a smaller "
        "batch.",
    ),
    "Evicted": Said(
        _FAILED, f"Its node ran short and evicted it. Raise its requests in the job template. {_AGAIN}"
    ),
    "Preempted": Said(_FAILED, _PREEMPTED),
    "PreemptionByScheduler": Said(_FAILED, _PREEMPTED),
    "TerminationByKubelet": Said(_FAILED, f"Its node was shut down or ran short. {_AGAIN}"),
    "EvictionByEvictionAPI": Said(_FAILED, f"Its node was drained. {_AGAIN}"),
    "DeletionByTaintManager": Said(_FAILED, _LOST),
    "DeletionByPodGC": Said(_FAILED, _LOST),
    "NodeShutdown": Said(_FAILED, _LOST),
    "Terminated": Said(_FAILED, _LOST),
    "ContainerCannotRun": Said(_FAILED, "Its container cannot be run. Mend the job template."),
    "StartError": Said(_FAILED, "Its container cannot be started. Mend the job template."),
    # conditions of the Job
    "DeadlineExceeded": Said(
        _FAILED, "It took longer than activeDeadlineSeconds in the job template allows."
    ),
    "BackoffLimitExceeded": Said(_FAILED, "It ended without a result."),
    "PodFailurePolicy": Said(
        _FAILED, "It ended without a result, and the job template says that it is not tried again."
    ),
    "Suspended": Said(_QUEUED, "Somebody suspended it. `kubectl patch job` with suspend: false goes on."),
}
"""Reason -> state and words."""

GONE = Said(_FAILED, "Its Job was deleted in the cluster before it was over.")
MADE = Said(_QUEUED, "Kubernetes has the job and makes a pod for it.")


def said(job: ClusterJob, pods: Sequence[Pod], events: Sequence[Happening]) -> Said:
    """State and words of a Job. `pods`: its own, the oldest first; `events`: of the Job, the oldest first."""
    pod = pods[-1] if pods else None
    for condition in job.status.conditions:
        if condition.type == "Complete" and condition.holds:
            return Said(JobState.SUCCEEDED)
        if condition.type == "Failed" and condition.holds:
            return _ended(pod) or _known(condition.reason, condition.message, _FAILED)
        if condition.type == "Suspended" and condition.holds:
            return PHASES["Suspended"]
    if pod is None:
        return _not_made(events)
    return _of_pod(pod)


def _of_pod(pod: Pod) -> Said:
    if pod.status.phase == "Running":
        told = {condition.type: condition.status for condition in pod.status.conditions}
        # Of a node that is silent the control plane says that its pods are not ready; that their containers
        # are is what the node said last.
        ready, containers = told.get("Ready"), told.get("ContainersReady")
        if ready == "Unknown" or (ready, containers) == ("False", "True"):
            return _known("NodeStatusUnknown", "", _RUNNING)
        return Said(_RUNNING)
    if pod.status.phase == "Unknown":
        return _known("NodeLost", pod.status.message, _RUNNING)
    if pod.over:
        # The Job will say what follows: another pod, or the end.
        ended = _ended(pod)
        return Said(_RUNNING, "" if ended is None else ended.words)
    return _waiting(pod)


def _waiting(pod: Pod) -> Said:
    for condition in pod.status.conditions:
        if condition.type == "PodScheduled" and condition.reason == "Unschedulable":
            return _known("Unschedulable", condition.message, _QUEUED)
    for status in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        if status.state.waiting is not None:
            return _known(status.state.waiting.reason, status.state.waiting.message, _QUEUED)
    return MADE


def _ended(pod: Pod | None) -> Said | None:
    """Why a pod ended badly; None when nothing is known of it."""
    if pod is None:
        return None
    for condition in pod.status.conditions:
        if condition.type == "DisruptionTarget" and condition.holds:
            return _known(condition.reason, condition.message, _FAILED)
    if pod.status.reason:
        return _known(pod.status.reason, pod.status.message, _FAILED)
    for status in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        ended = status.state.terminated
        if ended is not None and (ended.exit_code != 0 or ended.reason not in ("Completed", "")):
            return _exited(ended)
    return None


def _exited(ended: Terminated) -> Said:
    if ended.reason in PHASES:
        return _known(ended.reason, ended.message, _FAILED)
    how = f"was ended by signal {ended.signal}" if ended.signal else f"ended with status {ended.exit_code}"
    return Said(_FAILED, f"The process {how} without a result.")


def _not_made(events: Sequence[Happening]) -> Said:
    """Before there is a pod the Job's warnings tell why."""
    warnings = [event for event in events if event.type == "Warning"]
    if not warnings:
        return MADE
    return _known(warnings[-1].reason, warnings[-1].message, _QUEUED)


def _known(reason: str, message: str, otherwise: JobState) -> Said:
    """The table's words, and what Kubernetes adds to them."""
    found = PHASES.get(reason)
    if found is None:
        return Said(otherwise, f"Kubernetes says {reason}{f': {message}' if message else '.'}")
    quoted = f" Kubernetes says: {message.strip()[:300]}" if message else ""
    return Said(found.state, found.words + quoted)
