"""Real child processes: they report, fail, vanish, are cancelled, outlive the runner, wait for their turn."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from serinus.bootstrap.edge import new_id, now
from serinus.core.enums import JobKind, JobState
from serinus.core.errors import Conflict, Corrupt, NotFound
from serinus.jobs import JobRecord, LocalJobs, Needs, PrepareJob, TrainJob, TrainOutput
from serinus.jobs.folder import CancelMark, Folder, Launched, lines_from
from serinus.jobs.memory import free_mb
from serinus.jobs.remains import processes_of

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


BROOD = """
import os, signal, subprocess, sys, time
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(120)"
subprocess.Popen([sys.executable, "-c", deaf])
subprocess.Popen([sys.executable, "-c", deaf], start_new_session=True)
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(120)
    os._exit(0)
time.sleep(0.5)
print("asleep", flush=True)
time.sleep(120)
"""


class Runners:
    """Makes runners over one root, as several processes would, and ends what they left running."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(self, script: str = GOOD, *, grace: float = 30.0, **options: Any) -> LocalJobs:
        command = (sys.executable, "-c", script)
        return LocalJobs(
            self.root, command, env=os.environ, clock=now, new_id=new_id, grace_seconds=grace, **options
        )

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


def test_who_is_told_that_a_job_is_over_is_told_how_it_ended(runners: Runners) -> None:
    jobs = runners(SLEEPS)
    job = jobs.submit(TRAIN)
    asleep(jobs, job)
    os.kill(pid_of(jobs, runners, job), signal.SIGKILL)
    until = time.monotonic() + 30
    while (record := jobs.describe(job)).active:  # nobody calls `advance`
        assert time.monotonic() < until
    assert "SIGKILL" in record.reason
    assert record.ended is not None


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


@pytest.mark.parametrize("died", ["before the signal", "before it knew the process"])
def test_a_cancelled_job_ends_although_the_runner_died_on_its_way(runners: Runners, died: str) -> None:
    first = runners(STUBBORN)
    job = first.submit(TRAIN)
    asleep(first, job)
    folder = Folder(runners.root / job)
    launched = folder.launched()
    assert launched is not None
    if died == "before the signal":
        folder.put_cancel_mark(CancelMark(time=now(), killed=True))
    else:
        folder.put_launched(Launched(started=launched.started))
        folder.put_cancel_mark(CancelMark(time=now()))
    jobs = runners(STUBBORN, grace=0.0)
    assert over(jobs, job).state is JobState.CANCELLED
    assert processes_of(job) == ()


def test_the_number_of_a_process_that_is_no_more_is_not_signalled(runners: Runners) -> None:
    """A process that the job forked lives, and the number of the first one was given to somebody else."""
    jobs = runners(BROOD)
    job = jobs.submit(TRAIN)
    asleep(jobs, job)
    folder = Folder(runners.root / job)
    launched = folder.launched()
    assert launched is not None and launched.pid is not None
    with subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(120)"], start_new_session=True
    ) as other:
        folder.put_launched(Launched(started=launched.started, pid=other.pid))
        jobs.cancel(job)
        assert over(jobs, job).state is JobState.CANCELLED
        assert other.poll() is None
        other.kill()


def test_a_damaged_job_stops_no_other(runners: Runners, caplog: pytest.LogCaptureFixture) -> None:
    """Damaged, or written by a newer version of this program."""
    jobs = runners()
    runners.open_gate()
    bad, odd = (over(jobs, jobs.submit(TRAIN)).id for _ in range(2))
    (runners.root / bad / "spec.json").write_text('{"spec":{"kind":"of-tomorrow"},"time":1.0}')
    (runners.root / odd / "progress.json").write_bytes(b"")
    later = runners()
    good = later.submit(TRAIN)
    assert over(later, good).state is JobState.SUCCEEDED
    assert [record.id for record in later.list()] == [good]
    assert later.describe("train").id == good
    with pytest.raises(Corrupt, match=r"spec\.json is not a file that Serinus wrote"):
        later.describe(bad)
    told = [one for one in caplog.messages if "is passed over" in one]
    assert len(told) == 2, "each once"


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


def test_nothing_of_a_cancelled_job_goes_on_wherever_it_went(runners: Runners) -> None:
    jobs = runners(BROOD)
    job = jobs.submit(TRAIN)
    asleep(jobs, job)
    assert len(processes_of(job)) == 4
    jobs.cancel(job)
    assert over(jobs, job).state is JobState.CANCELLED
    assert processes_of(job) == ()


@pytest.mark.parametrize("restarted", [False, True])
def test_what_a_killed_job_leaves_is_ended_and_the_queue_goes_on(runners: Runners, restarted: bool) -> None:
    first = runners(BROOD)
    job = first.submit(TRAIN)
    asleep(first, job)
    os.kill(pid_of(first, runners, job), signal.SIGKILL)
    jobs = runners(BROOD) if restarted else first
    record = over(jobs, job)
    assert record.state is JobState.FAILED, "although a process that it forked holds its lock"
    assert processes_of(job) == ()


def test_other_processes_are_left_alone(runners: Runners) -> None:
    jobs = runners(BROOD)
    one = jobs.submit(TRAIN)
    other = jobs.submit(PrepareJob(upload="/data/x.zip"))
    asleep(jobs, one)
    asleep(jobs, other)
    jobs.cancel(one)
    over(jobs, one)
    assert len(processes_of(other)) == 4
    assert jobs.describe(other).state is JobState.RUNNING


def test_a_queued_job_says_what_it_waits_for(runners: Runners) -> None:
    jobs = runners()
    first, second, third = (jobs.submit(TRAIN) for _ in range(3))
    assert jobs.describe(second).reason == f"Waits until {first} is over."
    assert jobs.describe(third).reason == "Waits for its turn; 1 in front of it."
    assert jobs.describe(first).reason == ""
    jobs.cancel(second)
    jobs.advance()
    assert runners().describe(third).reason == f"Waits until {first} is over.", "any process can say it"


def test_as_many_as_the_setting_says_run_at_once(runners: Runners) -> None:
    jobs = runners(needs={JobKind.TRAIN: Needs(at_once=2)})
    states = [jobs.describe(job).state for job in [jobs.submit(TRAIN) for _ in range(3)]]
    assert states == [JobState.RUNNING, JobState.RUNNING, JobState.QUEUED]


def test_a_training_waits_for_memory_and_nobody_overtakes(runners: Runners) -> None:
    free = [900]
    jobs = runners(needs={JobKind.TRAIN: Needs(memory_mb=1500)}, free_memory=lambda: free[0])
    first, second = jobs.submit(TRAIN), jobs.submit(TRAIN)
    reason = jobs.describe(first).reason
    assert "needs 1,500 MB, 900 MB are free" in reason
    assert "TRAIN_MEMORY_MB" in reason
    assert jobs.describe(second).reason == "Waits for its turn; 1 in front of it."
    jobs.submit(PrepareJob(upload="/data/x.zip"))
    assert [record.state for record in jobs.list()].count(JobState.RUNNING) == 1, "another kind may"
    free[0] = 1500
    jobs.advance()
    assert [jobs.describe(job).state for job in (first, second)] == [JobState.RUNNING, JobState.QUEUED]


def test_where_nobody_knows_the_free_memory_it_starts(runners: Runners) -> None:
    jobs = runners(needs={JobKind.TRAIN: Needs(memory_mb=1500)}, free_memory=lambda: None)
    assert jobs.describe(jobs.submit(TRAIN)).state is JobState.RUNNING


CURVES = (
    REPORT
    + """
reporter = JobReporter(job, clock=now, every_seconds=0, point_seconds=3600)
for epoch in range(1, 4):
    for batch in range(5):
        reporter.progress(epoch / 3, "training", step=epoch, steps=3, metrics={"loss": 1 / epoch + batch})
        print("epoch", epoch, "batch", batch, flush=True)
print("no end of line", end="", flush=True)
while not gate.exists(): time.sleep(0.01)
reporter.succeed(TrainOutput(version=2, epochs_completed=3, total_epochs=3))
"""
)


def test_curves_and_log_are_read_while_they_grow(runners: Runners) -> None:
    jobs = runners(CURVES)
    job = jobs.submit(TRAIN)
    until(jobs, lambda: "no end" in jobs.logs(job))
    lines = jobs.log_lines(job, 0)
    assert len(lines.text) == 15, "a line without an end may grow"
    points, offset = jobs.points(job)
    assert [point.step for point in points] == [1, 2, 3], "the first of each epoch; the others came too fast"
    assert points[0].metrics == {"loss": 1.0}
    assert jobs.points(job, offset) == ((), offset)
    runners.open_gate()
    until(jobs, lambda: not jobs.alive(job))
    assert jobs.log_lines(job, lines.next).text == ("no end of line",)


def test_lines_come_whole_and_none_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "log"
    text = "".join(f"line {number} {'ä' * (number % 7)}\n" for number in range(200)) + "x" * 100 + "\nend"
    path.write_text(text)
    for most in (64, 100, 10_000):
        found: list[str] = []
        at = 0
        while (lines := lines_from(path, at, most_bytes=most, rest=True)).next != at:
            found, at = [*found, *lines.text], lines.next
        assert "".join(found).replace("x", "") == text.replace("\n", "").replace("x", "")
        assert found[:200] == text.splitlines()[:200]
        assert at == path.stat().st_size
    assert lines_from(tmp_path / "none", 0).text == ()


def test_free_memory_is_the_least_of_machine_and_group(tmp_path: Path) -> None:
    assert free_mb(tmp_path) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable:    4000000 kB\n")
    assert free_mb(tmp_path) == 4096
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("1000000000\n")
    (group / "memory.stat").write_text("anon 5\ninactive_file 200000000\n")
    assert free_mb(tmp_path) == 4096
    (group / "memory.max").write_text("2000000000\n")
    assert free_mb(tmp_path) == 1200
    assert (free_mb() or 1) > 0


RUNNER = """
import os, pathlib, sys, time
from serinus.bootstrap.edge import new_id, now
from serinus.jobs import LocalJobs, TrainJob
jobs = LocalJobs(pathlib.Path(sys.argv[1]), (sys.executable, "-c", sys.argv[2]), env=os.environ, clock=now,
                 new_id=new_id)
print(jobs.submit(TrainJob()), jobs.submit(TrainJob()), flush=True)
while True:
    jobs.advance()
    time.sleep(0.05)
"""


def test_a_runner_that_is_killed_takes_nothing_with_it(runners: Runners) -> None:
    command = [sys.executable, "-c", RUNNER, str(runners.root), GOOD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first, second = process.stdout.readline().split()
        later = runners()
        until_seen = time.monotonic() + 30
        while later.describe(first).progress.step != 2:
            assert time.monotonic() < until_seen
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert later.describe(first).state is JobState.RUNNING
    assert later.describe(second).state is JobState.QUEUED
    runners.open_gate()
    assert over(later, first).state is JobState.SUCCEEDED
    assert over(later, second).state is JobState.SUCCEEDED
