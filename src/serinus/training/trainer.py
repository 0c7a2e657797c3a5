"""What every trainer takes, tells on the way, and gives."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

import msgspec

from serinus.core.errors import InvalidInput
from serinus.data.dataset import Dataset
from serinus.evaluation.detection import Metrics


class Size(StrEnum):
    """Of the network: nano, small, medium."""

    N = "n"
    S = "s"
    M = "m"


class Inputs(StrEnum):
    """What the network sees of a pair. Whatever it is, the exported model takes all six channels."""

    PRE_POST = "pre-post"
    POST = "post"
    """The baseline: three channels."""


class Precision(StrEnum):
    """Of the arithmetic in training; what is exported is float32."""

    AUTO = "auto"
    """Mixed on a GPU, float32 on the CPU."""
    FLOAT32 = "float32"
    MIXED = "mixed"


class TrainSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to train."""

    epochs: int = 10
    batch: int = 8
    """Pairs per step."""
    img_size: int = 640
    """Largest side in training, pixels; smaller pictures are not scaled up."""
    seed: int = 0
    """Same seed, same machine, same number of threads: same model."""
    base: Path | None = None
    """What to start from: a directory with best.pt and best.json, or a .pt with its .json beside it."""
    threads: int = 0
    """CPU threads; 0: one per core."""
    size: Size = Size.N
    inputs: Inputs = Inputs.PRE_POST
    precision: Precision = Precision.AUTO
    patience: int = 20
    """Stop after so many epochs without a better mAP50 on the watched split; 0: never."""
    tile: int = 640
    """Pictures whose longest side in training is above this are trained in overlapping tiles of this size."""
    family: str = ""
    """Of networks, for trainers that know several; empty: the trainer's own choice."""
    note: str = ""
    """What changed, for people."""


def check_spec(spec: TrainSpec) -> None:
    """Raises InvalidInput when nothing would be trained."""
    if spec.epochs < 1 or spec.batch < 1:
        raise InvalidInput(
            f"{spec.epochs} epochs of batches of {spec.batch} train nothing.",
            remedy="Give 1 or more of both.",
        )


class Phase(StrEnum):
    LOADING = "loading"
    TRAINING = "training"
    MEASURING = "measuring"
    EXPORTING = "exporting"
    CHECKING = "checking"


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a training is; told after every step."""

    phase: Phase
    epoch: int = 0
    """The one at work, from 1."""
    epochs: int
    batch: int = 0
    """Steps done in this epoch."""
    batches: int = 0
    loss: float | None = None
    """Mean of this epoch so far."""
    map50: float | None = None
    """Of the last epoch that was measured."""
    eta_seconds: float | None = None
    row: "EpochRow | None" = None
    """Of the epoch that has just ended; None after any other step."""
    note: str = ""
    """Something that people should know."""
    part: tuple[float, float] = (0.0, 1.0)
    """Where this training begins and ends in a whole of several."""

    @property
    def fraction(self) -> float:
        """Of the whole training, in [0, 1]."""
        start, end = self.part
        if self.phase is Phase.LOADING:
            return start
        if self.phase is not Phase.TRAINING:
            return end
        begun = self.batch / self.batches if self.batches else 0.0
        return start + (end - start) * (self.epoch - 1 + begun) / self.epochs

    @property
    def words(self) -> str:
        """One line for people."""
        if self.phase is not Phase.TRAINING:
            return self.note or str(self.phase)
        loss = "" if self.loss is None else f", loss {self.loss:.3f}"
        quality = "" if self.map50 is None else f", mAP50 {self.map50:.3f}"
        note = f"{self.note}: " if self.note else ""
        return f"{note}epoch {self.epoch}/{self.epochs}{loss}{quality}"


class EpochRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of results.csv."""

    epoch: int
    seconds: float
    """Since the start."""
    loss: float
    parts: dict[str, float]
    """What `loss` is the sum of, by the names that results.csv gives them: `class_loss`, `box_loss` ..."""
    map50: float
    """On the watched split, as the two below."""
    precision: float
    recall: float


class Trained(msgspec.Struct, frozen=True, kw_only=True):
    """What came out, beside the files."""

    metrics: Metrics
    measured_on: str
    """Split that `metrics` are of: test, or what comes nearest to it in this data set."""
    watched: str
    """Split that the rows of `history` are measured on."""
    history: tuple[EpochRow, ...]
    best_epoch: int
    """Whose weights were kept."""


@runtime_checkable
class Trainer(Protocol):
    """Turns a data set into a draft. docs/trainers.md says how to bring one's own."""

    name: str
    """What `--trainer` says, and the name of its entry point."""
    licence: str
    """SPDX name of the terms of what it runs; shown where one chooses a trainer."""
    summary: str
    """One line for people."""

    def train(
        self,
        spec: TrainSpec,
        dataset: Dataset,
        out: Path,
        *,
        progress: Callable[[Progress], None],
        cancelled: Callable[[], bool],
        checkpoint: Path | None,
    ) -> Trained:
        """Writes model.onnx, contract.json, best.pt and training/golden.npz into `out`.

        `checkpoint`: a folder that outlives a killed training; the next one with an equal `spec` and
        `dataset` gets the same and may go on from what it finds there. None: nothing is to be kept. Raises
        Cancelled soon after `cancelled()` is true; InvalidInput when the data set, the base or something in
        `spec` does not fit; ModelFault when what came out is broken.
        """
        ...
