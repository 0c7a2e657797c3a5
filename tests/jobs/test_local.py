"""Real child processes: they report, fail, vanish, are cancelled, outlive the runner, wait for their turn."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serinus.bootstrap.edge import new_id, now
from serinus.core.enums import JobKind, JobState
from serinus.core.errors import Conflict, NotFound
from serinus.jobs import JobRecord, LocalJobs, PrepareJob, TrainJob, TrainOutput

TRAIN = TrainJob(epochs=5, batch=4, note="--more data")
REPORT = """
import pathlib, sys, time
from serinus.bootstrap.edge import now
from serinus.jobs import JobReporter, TrainOutput
job = pathlib.Path(sys.argv[sys.argv.index("--job") + 1])
reporter = JobReporter(job, clock=now, every_seconds=0)
gate = job.parent.parent / "gate"
"""
GOOD = (
    REPORT
    + """
print("arguments", sys.argv[1:])
reporter.progress(0.4, "epoch 2 of 5", step=2, steps=5, metrics={"map50": 0.3})
while not gate.exists(): time.sleep(0.01)
reporter.succeed(TrainOutput(version=2, epochs_completed=5, total_epochs=5, best_metrics={"map50": 0.7}))
"""
)
FAILS = REPORT + "\nreporter.fail(ValueError('no such data set'))\nsys.exit(1)"
RAISES = "raise RuntimeError('disk on fire')"
SLEEPS = "print('asleep', flush=True)\nimport time\ntime.sleep(120)"
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEPS
NOTICES = (
    REPORT
    + """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("asleep", flush=True)
while not reporter.cancel_requested(): time.sleep(0.01)
reporter.cancel()
"""
)


class Runners:
    """Makes runners over one root, as several processes would, and ends what they left running."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(self, script: str = GOOD, *, grace: float = 30.0) -> LocalJobs:
        command = (sys.executable, "-c", script)
        return LocalJobs(self.root, command, env=os.environ, clock=now, new_id=new_id, grace_seconds=grace)

    def open_gate(self) -> None:
        (self.root.parent / "gate").touch()


@pytest.fixture
def runners(tmp_path: Path) -> Iterator[Runners]:
    made = Runners(tmp_path / "jobs")
    yield made
    last = made(grace=0.0)
    for record in last.list():
        if record.active:
            last.cancel(record.id)
    until(last, lambda: not any(record.active for record in last.list()))


def until(jobs: LocalJobs, condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, [(job.id, job.state, jobs.logs(job.id)) for job in jobs.list()]
        jobs.advance()
        time.sleep(0.02)


def over(jobs: LocalJobs, job: str) -> JobRecord:
    until(jobs, lambda: not jobs.describe(job).active)
    jobs.advance()
    return jobs.describe(job)


def asleep(jobs: LocalJobs, job: str) -> None:
    until(jobs, lambda: "asleep" in jobs.logs(job))


def pid_of(jobs: LocalJobs, runners: Runners, job: str) -> int:
    import msgspec

    pid = msgspec.json.decode((runners.root / job / "state.json").read_bytes())["pid"]
    assert isinstance(pid, int)
    return pid


def test_a_training_reports_and_ends(runners: Runners) -> None:
    jobs = runners()
    job = jobs.submit(TRAIN)
    until(jobs, lambda: jobs.describe(job).progress.step == 2)
    running = jobs.describe("train")
    assert running.id == job
    assert running.state is JobState.RUNNING
    assert running.progress.metrics == {"map50": 0.3}
    assert running.started is not None
    assert running.ended is None
    runners.open_gate()
    ended = over(jobs, job)
    assert ended.state is JobState.SUCCEEDED
    assert isinstance(ended.output, TrainOutput)
    assert ended.output.best_metrics == {"map50": 0.7}
    assert ended.ended is not None
    assert ended.ended >= running.started
    assert "'--epochs', '5', '--batch', '4'" in jobs.logs(job)
    assert "'--note=--more data'" in jobs.logs(job)


def test_a_failure_brings_its_own_words(runners: Runners) -> None:
    jobs = runners(FAILS)
    record = over(jobs, jobs.submit(TRAIN))
    assert record.state is JobState.FAILED
    assert "no such data set" in record.reason


def test_an_exception_without_a_result_is_told_from_status_and_log(runners: Runners) -> None:
    jobs = runners(RAISES)
    record = over(jobs, jobs.submit(TRAIN))
    assert record.state is JobState.FAILED
    assert "status 1" in record.reason
    assert "disk on fire" in record.reason


@pytest.mark.parametrize("restarted", [False, True])
def test_a_killed_child_fails_also_for_a_runner_that_did_not_start_it(
    runners: Runners, restarted: bool
) -> None:
    first = runners(SLEEPS)
    job = first.submit(TRAIN)
    asleep(first, job)
    jobs = runners(SLEEPS) if restarted else first
    assert jobs.describe(job).state is JobState.RUNNING
    os.kill(pid_of(jobs, runners, job), signal.SIGKILL)
    record = over(jobs, job)
    assert record.state is JobState.FAILED
    assert "without a result" in record.reason
    assert restarted or "SIGKILL" in record.reason


def test_a_program_that_is_not_there_fails_the_job_and_not_the_runner(runners: Runners) -> None:
    jobs = LocalJobs(runners.root, ("/nonexistent/serinus",), env={}, clock=now, new_id=new_id)
    record = over(jobs, jobs.submit(TRAIN))
    assert record.state is JobState.FAILED
    assert "could not be started" in record.reason


def test_the_job_outlives_its_runner(runners: Runners) -> None:
    job = runners().submit(TRAIN)
    later = runners()
    until(later, lambda: later.describe(job).progress.step == 2)
    runners.open_gate()
    assert over(later, job).state is JobState.SUCCEEDED


def test_one_training_at_a_time_and_the_next_waits_for_its_turn(runners: Runners) -> None:
    jobs = runners()
    first, second, third = (jobs.submit(TRAIN) for _ in range(3))
    prepare = jobs.submit(PrepareJob(upload="/data/x.zip"))
    until(jobs, lambda: jobs.describe(first).progress.step == 2)
    assert jobs.describe(prepare).state is JobState.RUNNING
    assert [jobs.describe(job).state for job in (second, third)] == [JobState.QUEUED] * 2
    jobs.cancel(second)
    assert jobs.describe(second).state is JobState.CANCELLED
    runners.open_gate()
    assert over(jobs, third).state is JobState.SUCCEEDED
    assert jobs.describe(second).started is None
    assert [record.kind for record in jobs.list()].count(JobKind.TRAIN) == 3


def test_two_runners_start_a_queued_job_once(runners: Runners) -> None:
    one, two = runners(), runners()
    jobs = [one.submit(TRAIN), two.submit(TRAIN), one.submit(TRAIN)]
    for _ in range(5):
        one.advance()
        two.advance()
    assert sum(one.describe(job).state is JobState.RUNNING for job in jobs) == 1
    runners.open_gate()
    for job in jobs:
        until(two, lambda job=job: not two.describe(job).active)  # type: ignore[misc]
        assert one.logs(job).count("arguments") == 1


@pytest.mark.parametrize("restarted", [False, True])
def test_cancel_ends_the_whole_group(runners: Runners, restarted: bool) -> None:
    first = runners(SLEEPS)
    job = first.submit(TRAIN)
    asleep(first, job)
    jobs = runners(SLEEPS) if restarted else first
    jobs.cancel(job)
    assert over(jobs, job).state is JobState.CANCELLED
    with pytest.raises(Conflict, match="is over"):
        jobs.cancel(job)


def test_a_child_that_ignores_the_signal_is_killed_after_the_grace(runners: Runners) -> None:
    jobs = runners(STUBBORN, grace=0.1)
    job = jobs.submit(TRAIN)
    asleep(jobs, job)
    jobs.cancel(job)
    assert over(jobs, job).state is JobState.CANCELLED


def test_a_child_that_polls_for_the_mark_stops_by_itself(runners: Runners) -> None:
    jobs = runners(NOTICES)
    job = jobs.submit(TRAIN)
    asleep(jobs, job)
    jobs.cancel(job)
    record = over(jobs, job)
    assert record.state is JobState.CANCELLED
    assert "nothing half-done" in record.reason


@pytest.mark.parametrize("name", ["train", "nobody", "../../etc", "train-0123456789ab", ""])
def test_unknown_names_are_not_found(runners: Runners, name: str) -> None:
    jobs = runners()
    with pytest.raises(NotFound):
        jobs.describe(name)
    with pytest.raises(NotFound):
        jobs.logs(name)
