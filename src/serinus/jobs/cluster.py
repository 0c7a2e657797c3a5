"""Jobs in a Kubernetes cluster: what is queued in the job folders is started there, followed and ended.

Nothing is known only to the process that does it: the Job carries the id of its job, the folder the Job's uid
and what was last heard of it. Whoever comes next, after a restart or beside, goes on from there. The folder
lies on the volume that the Job's pod writes progress and result to; the pod's log is copied into it, so that
the record outlives the pod.
"""

import logging
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from serinus.core.enums import JobKind, JobState
from serinus.core.errors import Conflict, InvalidInput, NotFound, SerinusError, Unavailable
from serinus.core.ids import Clock
from serinus.jobs.folder import Folder, Launched, Remote, Waiting, exclusive
from serinus.jobs.local import LocalJobs
from serinus.jobs.manifest import JOB_LABEL, NAMES, Document, manifest, template_of
from serinus.jobs.model import JobSpec, kind_of
from serinus.jobs.phases import GONE, Said, said
from serinus.jobs.seen import ClusterJob, Happening, Pod

log = logging.getLogger(__name__)

KINDS = frozenset(NAMES)
"""What runs in the cluster, where there is one."""
_MARGIN_SECONDS = 5.0
"""Asked for again of a log, since the last look: what comes twice is left out by its time."""
_RESULT_SECONDS = 60.0
"""How long the result of a pod that ended well may take to be seen on a shared volume, and the end of a log
to be had of its node."""


_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT")


class Cluster(Protocol):
    """What is asked of the cluster (`jobs.cluster_api.ClusterApi`)."""

    def job(self, name: str) -> ClusterJob | None: ...
    def jobs(self) -> list[ClusterJob]: ...
    def create_job(self, manifest: Document) -> ClusterJob: ...
    def delete_job(self, job: ClusterJob) -> None: ...
    def pods(self) -> list[Pod]: ...
    def events(self, uid: str) -> list[Happening]: ...
    def log(self, pod: str, since_seconds: int | None) -> list[str]: ...


class ClusterQueue:
    """Starts queued jobs in the cluster, one of a kind at a time, and tells what becomes of them.

    `templates`: the folder with `train.yaml` and `prepare.yaml`. Call `turn` every second or so.
    """

    def __init__(
        self,
        records: LocalJobs,
        cluster: Cluster,
        templates: Path,
        *,
        lock: Path,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._records = records
        self._cluster = cluster
        self._templates = templates
        self._lock = lock
        self._clock = clock
        self._monotonic = monotonic
        self._asked: dict[str, float] = {}
        """Pod -> when its log was fetched last, monotonic seconds."""
        self._logless: set[str] = set()
        """Pods whose log is not to be had, which was told."""
        self._trouble = ""

    def turn(self) -> None:
        """One look at the cluster, when there is a job that is not over; and what follows from it.

        That the cluster does not answer, or forbids something, is said with each job; it is tried again.
        """
        with exclusive(self._lock):
            folders = self._records.open_elsewhere()
            if not folders:
                return
            try:
                self._turn(folders)
            except SerinusError as error:
                self._tell(folders, str(error))
                return
        if self._trouble:
            log.info("the cluster answers again")
            self._trouble = ""

    def _tell(self, folders: Sequence[Folder], words: str) -> None:
        if words != self._trouble:
            log.warning("jobs in the cluster wait: %s", words)
            self._trouble = words
        for folder in folders:
            remote = folder.remote()
            if remote is None:
                _wait(folder, f"{words} It is tried again.")
            else:
                _put(folder, remote, msgspec.structs.replace(remote, reason=f"{words} It is asked again."))

    def _turn(self, folders: Sequence[Folder]) -> None:
        followed = [(folder, remote) for folder in folders if (remote := folder.remote()) is not None]
        if followed:
            jobs = {job.metadata.uid: job for job in self._cluster.jobs()}
            pods = self._cluster.pods()
            self._logless &= {pod.metadata.name for pod in pods}
            for folder, remote in followed:
                mine = [pod for pod in pods if _owned(pod, remote.uid)]
                self._follow(folder, remote, jobs.get(remote.uid), mine)
        busy: dict[JobKind, str] = {}
        for folder in folders:
            created = folder.created()
            remote = folder.remote()
            if created is None or (remote is None and folder.cancel_mark() is not None):
                continue
            kind = kind_of(created.spec)
            if kind in busy:
                _wait(folder, f"Waits until {busy[kind]} is over.")
            elif remote is None:
                self._start(folder, created.spec)
            if remote is None or not remote.complete:
                busy.setdefault(kind, folder.id)

    # -- start -----------------------------------------------------------------------------------------------

    def _start(self, folder: Folder, spec: JobSpec) -> None:
        name = NAMES[kind_of(spec)]
        try:
            wanted = manifest(template_of(self._templates, kind_of(spec)), spec, folder.path)
            there = self._cluster.job(name)
            if there is not None and there.metadata.labels.get(JOB_LABEL) == folder.id:
                self._started(folder, there)  # made by who was killed before it could note it
                return
            if there is not None and not there.over:
                _wait(folder, f"Waits until the running Job {name} in the cluster is over.")
                return
            if there is not None:
                self._cluster.delete_job(there)  # its record stays in its folder
            self._started(folder, self._cluster.create_job(wanted))
        except Conflict:
            _wait(folder, f"Waits until the finished Job {name} is removed from the cluster.")
        except InvalidInput as error:
            log.exception("the cluster refuses job %s", folder.id)
            now = self._clock()
            folder.put_launched(Launched(started=now, ended=now, reason=str(error)))

    def _started(self, folder: Folder, job: ClusterJob) -> None:
        folder.put_remote(Remote(uid=job.metadata.uid, started=self._clock(), reason=""))
        log.info("job %s is Job %s in the cluster", folder.id, job.metadata.name)

    # -- follow ----------------------------------------------------------------------------------------------

    def _follow(self, folder: Folder, remote: Remote, job: ClusterJob | None, pods: Sequence[Pod]) -> None:
        logged, copied = self._copy_logs(folder, remote, pods)
        if job is not None and folder.cancel_mark() is not None:
            self._cluster.delete_job(job)
        found = self._said(folder, job, pods)
        over = not (found.state in (JobState.QUEUED, JobState.RUNNING) or any(not pod.over for pod in pods))
        now = self._clock()
        ended = (remote.ended or now) if over else None
        waited = now - (ended or now)
        if found.state is JobState.SUCCEEDED and folder.result() is None:
            found, over = _without_result(waited)
        elif waited < _RESULT_SECONDS and any(pod.metadata.name not in copied for pod in pods):
            over = False
        _put(
            folder,
            remote,
            msgspec.structs.replace(
                remote,
                state=found.state if over or found.state is not JobState.FAILED else JobState.RUNNING,
                reason=found.words,
                ended=ended,
                logged=logged,
                copied=copied,
                complete=over,
            ),
        )
        if over:
            log.info("job %s is over in the cluster: %s %s", folder.id, found.state, found.words)

    def _said(self, folder: Folder, job: ClusterJob | None, pods: Sequence[Pod]) -> Said:
        if job is not None:
            return said(job, pods, () if pods else self._cluster.events(job.metadata.uid))
        if any(not pod.over for pod in pods):
            return Said(JobState.RUNNING, "It is being ended.")
        # A finished Job goes when its time is over; what its pod wrote stays.
        return Said(JobState.SUCCEEDED) if folder.result() is not None else GONE

    def _copy_logs(
        self, folder: Folder, remote: Remote, pods: Sequence[Pod]
    ) -> tuple[dict[str, str], tuple[str, ...]]:
        """Appends what pods printed since the last look; gives how far that is, and whose log is whole."""
        logged, copied = dict(remote.logged), list(remote.copied)
        for pod in pods:
            name = pod.metadata.name
            if name in copied or pod.status.phase not in ("Running", "Succeeded", "Failed"):
                continue
            before, now = self._asked.get(name), self._monotonic()
            since = None if before is None else math.ceil(now - before + _MARGIN_SECONDS)
            try:
                lines = self._cluster.log(name, since)
            except (NotFound, InvalidInput):
                lines = []  # it has no container yet, or none any more
            except Unavailable as error:
                # Its node does not answer. What becomes of the job is known without it.
                if name not in self._logless:
                    log.info("the log of pod %s is not to be had: %s", name, error)
                    self._logless.add(name)
                continue
            self._logless.discard(name)
            new = [(at, text) for at, text in _stamped(lines) if at > logged.get(name, "")]
            if new:
                folder.add_log([text for _, text in new])
                logged[name] = new[-1][0]
            self._asked[name] = now
            if pod.over:
                copied.append(name)
                self._asked.pop(name, None)
        return logged, tuple(copied)


def _without_result(waited: float) -> tuple[Said, bool]:
    """What is said of a job that ended well and has no result (yet), and whether that is the end."""
    if waited < _RESULT_SECONDS:
        return Said(JobState.RUNNING, "It has ended; its result is waited for."), False
    words = (
        "It ended, but its result is not to be seen here: DATA_DIR of the job and of the dashboard must be "
        "the same folder of the same volume."
    )
    return Said(JobState.FAILED, words), True


def _owned(pod: Pod, uid: str) -> bool:
    return any(owner.uid == uid for owner in pod.metadata.owner_references)


def _stamped(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The time of each line in a form that sorts, and its text.

    What has no time goes on with the line before it (the carriage return of a progress bar parts lines, too).
    Before the first it is no line of the pod but its node's word, such as that the log is gone: the oldest.
    """
    last = ""
    for line in lines:
        moment, _, text = line.partition(" ")
        if not _MOMENT.match(moment):
            yield last, line
            continue
        whole, _, part = moment.removesuffix("Z").partition(".")
        last = f"{whole}.{part:0<9}"
        yield last, text


def _put(folder: Folder, before: Remote, after: Remote) -> None:
    if after != before:
        folder.put_remote(after)


def _wait(folder: Folder, reason: str) -> None:
    before = folder.waiting()
    if before is None or before.reason != reason:
        folder.put_waiting(Waiting(reason=reason))
