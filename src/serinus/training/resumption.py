"""Which checkpoint belongs to which training: the one that the same command would make again."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from serinus.artifact.files import sha256_file
from serinus.data.dataset import Dataset
from serinus.training.provenance import code_sha256
from serinus.training.trainer import Trainer, TrainSpec

_WEIGHTS = "best.pt"
_LOCK = "lock"


def edition(trainer: Trainer) -> str:
    """Its name, and the versions of the packages that it says it `needs`."""
    needs = [f"{name} {version(name)}" for name in getattr(trainer, "needs", ()) if _installed(name)]
    return ", ".join((trainer.name, *needs))


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def key(spec: TrainSpec, dataset: Dataset, trainer: str) -> str:
    """Equal for trainings that come to the same: data, settings, start, threads and versions.

    `trainer`: its edition.
    """
    base = spec.base
    start = "" if base is None else sha256_file(base / _WEIGHTS if base.is_dir() else base)
    same = msgspec.structs.replace(
        spec, base=None, note="", threads=spec.threads or len(os.sched_getaffinity(0))
    )
    versions = (version("serinus"), code_sha256(), version("torch"))
    what = (trainer, dataset.manifest.sha256, start, same, *versions)
    return hashlib.sha256(msgspec.json.encode(what)).hexdigest()[:24]


@contextmanager
def kept(checkpoints: Path | None, name: str, *, fresh: bool) -> Iterator[Path | None]:
    """The folder of the training `name` below `checkpoints`, for the block alone; removed when it ends well.

    After a kill or an error it stays. `fresh`: what an earlier try left is removed first. None when nothing
    is to be kept, or another process is at the same training at this moment.
    """
    if checkpoints is None:
        yield None
        return
    folder = checkpoints / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        if fresh:
            for old in folder.iterdir():
                if old.name != _LOCK:
                    shutil.rmtree(old) if old.is_dir() else old.unlink()
        yield folder
        shutil.rmtree(folder, ignore_errors=True)
