"""From a specification to the command that does the job. Pure: submitting is another module's affair."""

from pathlib import Path
from typing import NamedTuple

from serinus.jobs.model import (
    BatchJob,
    BrokenJob,
    CompareJob,
    DemoJob,
    EvaluateJob,
    JobSpec,
    PrepareJob,
    TrainJob,
)


class Command(NamedTuple):
    argv: tuple[str, ...]
    """Arguments of the `serinus` command, without the program itself."""
    env: dict[str, str]
    """Added to the environment of the child."""


_ENV = {"PYTHONUNBUFFERED": "1"}  # a log that people follow must not wait in a buffer
RESULT = "result.zip"
"""What a batch brings back, in the job's folder."""
EVALUATION = "evaluation"
"""Folder in the job's folder for the page and pictures of an evaluation or a comparison."""
NEWEST = "newest"
"""Stands for the newest data set in `--data`."""


def render(spec: JobSpec, job: Path) -> Command:
    """The command for `spec`; `job` is the folder the child reports to.

    Text that people typed goes behind `=`, so that a note that starts with a dash stays a note.
    """
    match spec:
        case PrepareJob():
            argv = _prepare(spec, job)
        case TrainJob():
            argv = _train(spec, job)
        case EvaluateJob():
            argv = _measure(spec, job, "evaluate", spec.version)
        case CompareJob():
            argv = _measure(spec, job, "compare", spec.a, spec.b)
        case BatchJob():
            argv = ("batch", spec.archive, "--out", str(job / RESULT), "--job", str(job))
        case DemoJob():
            argv = ("data", "demo", "--pairs", str(spec.pairs), "--seed", str(spec.seed), "--job", str(job))
        case BrokenJob():
            argv = ("publish-broken", f"--actor={spec.actor}", "--job", str(job))
    return Command(argv, dict(_ENV))


def _train(spec: TrainJob, job: Path) -> tuple[str, ...]:
    argv = ["train", "--data", spec.dataset or NEWEST]
    if spec.upload:
        argv += ["--upload", spec.upload]
    if spec.confirm:
        argv.append("--confirm")
    if spec.baseline:
        argv.append("--baseline")
    if spec.trainer:
        argv.append(f"--trainer={spec.trainer}")
    if spec.size:
        argv.append(f"--size={spec.size}")
    if spec.base:
        argv += ["--base", spec.base]
    argv += ["--epochs", str(spec.epochs), "--batch", str(spec.batch)]
    argv += ["--img-size", str(spec.img_size), "--seed", str(spec.seed)]
    return (*argv, f"--note={spec.note}", "--job", str(job))


def _prepare(spec: PrepareJob, job: Path) -> tuple[str, ...]:
    argv = ["data", "prepare", spec.upload or spec.dataset]
    if spec.name:
        argv.append(f"--name={spec.name}")
    if spec.leave_out:
        argv.append(f"--leave-out={spec.leave_out}")
    if spec.confirm:
        argv.append("--confirm")
    return (*argv, "--seed", str(spec.seed), "--job", str(job))


def _measure(spec: EvaluateJob | CompareJob, job: Path, command: str, *versions: int) -> tuple[str, ...]:
    argv = (command, *map(str, versions), f"--data={spec.dataset}", f"--split={spec.split}")
    return (*argv, "--out", str(job / EVALUATION), "--job", str(job))
