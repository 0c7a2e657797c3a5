"""The built-in trainer: a small network that learns fast, on the CPU or on a GPU when there is one."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from serinus.artifact.manifest import Contract
from serinus.core.errors import InvalidInput
from serinus.data.dataset import Dataset, Pair, Split
from serinus.evaluation.detection import Metrics
from serinus.training import weights
from serinus.training.epochs import Epochs, Say
from serinus.training.finishing import Looks, finish
from serinus.training.measuring import first_with_buildings, learned, measured, thinned
from serinus.training.network import POST_ONLY, STRIDE, WIDTHS, Architecture, CompactNet, Detector
from serinus.training.samples import Samples
from serinus.training.trainer import EpochRow, Inputs, Phase, Progress, Trained, TrainSpec, check_spec

_LIMIT_STEP, _HIGHEST_LIMIT = 100, 600
_CHECKPOINT_SECONDS = 60.0


class Compact:
    """See `trainer.Trainer`."""

    name = "compact"
    licence = "Apache-2.0"
    summary = "Ours: a centre-point detector, quick on a CPU; sizes n, s, m."

    def __init__(self, *, checkpoint_seconds: float = _CHECKPOINT_SECONDS) -> None:
        """A checkpoint is written after each epoch, and within one when the last is so old."""
        self._checkpoint_seconds = checkpoint_seconds

    def train(
        self,
        spec: TrainSpec,
        dataset: Dataset,
        out: Path,
        *,
        progress: Say,
        cancelled: Callable[[], bool],
        checkpoint: Path | None,
    ) -> Trained:
        """Trains on `train`, watches `val` after each epoch, keeps the best weights, measures on `test`.

        From a checkpoint it goes on with the very next step: the outcome is that of a training that nobody
        killed, to the last bit on the same machine.
        """
        _check(spec)
        progress(Progress(phase=Phase.LOADING, epochs=spec.epochs))
        with _torch_set_up(spec):
            run = _Training(spec, dataset, progress, cancelled)
            return run.run(out, checkpoint, self._checkpoint_seconds)


def _check(spec: TrainSpec) -> None:
    check_spec(spec)
    if spec.tile < STRIDE * 2:
        raise InvalidInput(
            f"Tiles of {spec.tile} pixels show no building whole.", remedy=f"Give {STRIDE * 2} or more."
        )
    if spec.family:
        raise InvalidInput(
            f"The trainer compact knows no family {spec.family!r}.", remedy="Leave --family out."
        )


@contextmanager
def _torch_set_up(spec: TrainSpec) -> Iterator[None]:
    """Threads, seed and determinism for one training; what was set before comes back."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(spec.threads or len(os.sched_getaffinity(0)))
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.manual_seed(spec.seed)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)


class _Training:
    """One run: what is read before it and written after it."""

    def __init__(
        self, spec: TrainSpec, dataset: Dataset, progress: Say, cancelled: Callable[[], bool]
    ) -> None:
        self.spec = spec
        self.progress = progress
        self.cancelled = cancelled
        self.classes = dataset.manifest.classes
        self.pairs = learned(dataset, spec.inputs)
        self.size = training_size(dataset.pairs(), spec.img_size)
        self.limit = _limit(dataset.pairs())
        self.samples = Samples(dataset, self.pairs, self.size)
        self.watched, watched_pairs = first_with_buildings(dataset, (Split.VAL, Split.TRAIN))
        self.watch = Samples(dataset, thinned(watched_pairs), self.size)
        self.measured, measured_pairs = first_with_buildings(dataset, (Split.TEST, Split.VAL, Split.TRAIN))
        self.measure = Samples(dataset, measured_pairs, self.size)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.net = CompactNet(
            Architecture(
                classes=self.classes,
                channels=POST_ONLY if spec.inputs is Inputs.POST else Architecture(classes=()).channels,
                widths=WIDTHS[spec.size],
            )
        )
        if spec.base is not None:
            weights.load_into(self.net, spec.base)
        self.net.to(self.device)

    def run(self, out: Path, checkpoint: Path | None, every: float) -> Trained:
        epochs = Epochs(
            self.spec,
            self.net,
            self.samples,
            self.pairs,
            watch=self._watch,
            progress=self.progress,
            cancelled=self.cancelled,
        )
        if checkpoint is not None:
            epochs.go_on_from(checkpoint, every)
        history, best_epoch = epochs.run()
        return self._finish(out, history, best_epoch)

    def _watch(self) -> Metrics:
        detector = Detector(self.net, self.limit).eval()
        return measured(
            detector, self.watch, self.classes, self.device, threshold=None, cancelled=self.cancelled
        )

    def _finish(self, out: Path, history: Sequence[EpochRow], best_epoch: int) -> Trained:
        contract = Contract(size=self.size, stride=STRIDE, classes=self.classes, max_detections=self.limit)
        weights.save(self.net, out)
        looks = Looks(self.watch, self.measure, self.progress, self.cancelled, self.spec.epochs)
        return Trained(
            metrics=finish(Detector(self.net, self.limit).eval(), contract, looks, self.device, out),
            measured_on=str(self.measured),
            watched=str(self.watched),
            history=tuple(history),
            best_epoch=best_epoch,
        )


def training_size(pairs: Sequence[Pair], img_size: int, stride: int = STRIDE) -> int:
    """min(`img_size`, longest side of the pictures), rounded up to the stride."""
    longest = max(max(pair.width, pair.height) for pair in pairs)
    return -(-min(img_size, longest) // stride) * stride


def _limit(pairs: Sequence[Pair]) -> int:
    """Detections per picture: half as many again as the fullest picture has, in steps of 100."""
    most = max(len(pair.boxes) for pair in pairs)
    return min(max(1, -(-3 * most // (2 * _LIMIT_STEP))) * _LIMIT_STEP, _HIGHEST_LIMIT)
