"""The trial run: a graph nobody has run before gets a process of its own, with limits.

The runtime and the checker of ONNX accept graphs that never end, that allocate without bound, that answer
NaN, and integer division can take the whole process down. Such a graph must not meet the controller or a
worker first. Pictures and answers travel as raw arrays in files of a scratch folder; nothing is unpickled.
"""

import math
import os
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec
import numpy as np

from serinus.artifact.manifest import Contract
from serinus.core.enums import FailureKind
from serinus.core.errors import ModelFault
from serinus.engine import output, sandbox
from serinus.engine.session import Detections, Images

REQUEST, PICTURES, ANSWER, FOUND = "request.json", "pictures.bin", "answer.json", "found.bin"
_CHILD = "serinus.engine.trial_child"
_ROW_BYTES = output.COLUMNS * 4

Shape: TypeAlias = tuple[int, int, int, int]


class TrialFailed(ModelFault):
    """The trial run of a model failed; `kind` says how."""

    def __init__(self, message: str, kind: FailureKind) -> None:
        super().__init__(message, remedy="The version is broken: train or export it again.")
        self.kind = kind


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What the parent asks of the child."""

    model: str
    contract: Contract
    shapes: tuple[Shape, ...]
    """Of the arrays that follow each other in `pictures.bin`: N, H, W, C."""
    threads: int
    memory_bytes: int
    """Address space on top of what the process uses before the model is loaded."""
    cpu_seconds: int
    parent: int


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the child says at its end; the detections follow each other in `found.bin`."""

    shapes: tuple[tuple[int, int, int], ...] = ()
    failed: str = ""
    kind: FailureKind = FailureKind.EXCEPTION


def run(
    artifact: Path,
    contract: Contract,
    images: Sequence[Images],
    *,
    seconds: float = 60,
    memory_mb: int = 2048,
    threads: int = 1,
) -> list[Detections]:
    """Runs `artifact`/model.onnx on `images` in a child process with limits, and checks every answer.

    `images`: each uint8 [H, W, C] or [N, H, W, C], fitted to the contract; sizes may differ. They are taken
    one at a time, once, so a lazy sequence keeps memory small. `seconds`: wall clock for loading and all
    pictures, from the moment the child is ready. `memory_mb`: what the model may allocate. Gives for each
    item float32 [K, 6], or [N, K, 6]. Raises TrialFailed (a ModelFault) that names the cause; Unavailable
    when the child could not even start, which says nothing about the model.
    """
    with tempfile.TemporaryDirectory(prefix="serinus-trial-") as scratch:
        folder = Path(scratch)
        shapes, single = _write_pictures(folder, images)
        request = Request(
            model=str((artifact / "model.onnx").resolve()),
            contract=contract,
            shapes=shapes,
            threads=threads,
            memory_bytes=memory_mb << 20,
            cpu_seconds=math.ceil(seconds * threads) + 1,
            parent=os.getpid(),
        )
        (folder / REQUEST).write_bytes(msgspec.json.encode(request))
        _run_child(folder, seconds)
        found = _read_answer(folder, contract, shapes)
    return [f[0] if alone else f for f, alone in zip(found, single, strict=True)]


def _write_pictures(folder: Path, images: Sequence[Images]) -> tuple[tuple[Shape, ...], list[bool]]:
    """Shapes as batches, and which items came without a batch dimension."""
    shapes, single = [], []
    with (folder / PICTURES).open("wb") as file:
        for image in images:
            single.append(image.ndim == 3)
            batch = image[None] if single[-1] else image
            n, height, width, channels = batch.shape
            shapes.append((n, height, width, channels))
            file.write(np.ascontiguousarray(batch, dtype=np.uint8).data)
    return tuple(shapes), single


def _run_child(folder: Path, seconds: float) -> None:
    """Runs the child to its end. Raises TrialFailed that says how it failed."""
    ending = sandbox.run(_CHILD, folder, seconds=seconds)
    if ending.timed_out:
        raise TrialFailed(
            f"the model did not answer within {seconds:g} s and was stopped.", FailureKind.TIMEOUT
        )
    if ending.code == -signal.SIGXCPU:
        raise TrialFailed(f"the model used more than {seconds:g} s of CPU.", FailureKind.TIMEOUT)
    if ending.code < 0:
        raise TrialFailed(f"the model took its process down ({ending.signal}).", FailureKind.CRASH)
    if ending.code > 0:
        raise TrialFailed(
            f"the trial process ended with code {ending.code}: {ending.talk}", FailureKind.CRASH
        )


def _read_answer(folder: Path, contract: Contract, asked: tuple[Shape, ...]) -> list[Detections]:
    """The child is not trusted: sizes are checked before reading, values before anything is given."""
    try:
        answer = msgspec.json.decode((folder / ANSWER).read_bytes(), type=Answer)
    except (FileNotFoundError, msgspec.MsgspecError) as error:
        raise TrialFailed("the trial process ended without an answer.", FailureKind.CRASH) from error
    if answer.failed:
        raise TrialFailed(answer.failed, answer.kind)
    expected = sum(n * k * _ROW_BYTES for n, k, _ in answer.shapes)
    if len(answer.shapes) != len(asked) or (folder / FOUND).stat().st_size != expected:
        raise TrialFailed("the trial process answered for other pictures than asked.", FailureKind.CRASH)
    found: list[Detections] = []
    with (folder / FOUND).open("rb") as file:
        for (n, height, width, _), shape in zip(asked, answer.shapes, strict=True):
            data = file.read(math.prod(shape) * 4)
            detections = np.frombuffer(data, dtype=np.float32).reshape(shape).copy()
            _check(detections, contract, n, width, height, picture=len(found))
            found.append(detections)
    return found


def _check(
    detections: Detections, contract: Contract, batch: int, width: int, height: int, *, picture: int
) -> None:
    limit = contract.max_detections
    try:
        output.check_shape(detections, batch=batch, max_detections=limit)
        output.check(
            detections, width=width, height=height, classes=len(contract.classes), max_detections=limit
        )
    except ModelFault as error:
        raise TrialFailed(f"picture {picture}: {error.message}", FailureKind.INVALID_OUTPUT) from error
