"""The built-in trainer: a small network that learns fast, on the CPU or on a GPU when there is one."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import torch

from serinus.artifact.manifest import Contract
from serinus.core.errors import InvalidInput
from serinus.data.dataset import Dataset, Pair, Split
from serinus.evaluation.detection import Metrics
from serinus.training import export, weights
from serinus.training.epochs import Epochs, Say
from serinus.training.measuring import first_with_buildings, measured
from serinus.training.network import POST_ONLY, STRIDE, WIDTHS, Architecture, CompactNet, Detector
from serinus.training.samples import Samples
from serinus.training.trainer import EpochRow, Inputs, Phase, Progress, Trained, TrainSpec

_WATCHED = 200
"""Pairs measured after each epoch, at most."""
_GOLDEN = 4
_THRESHOLDS = (0.1, 0.8)
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
    if spec.epochs < 1 or spec.batch < 1:
        raise InvalidInput(
            f"{spec.epochs} epochs of batches of {spec.batch} train nothing.",
            remedy="Give 1 or more of both.",
        )
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
        self.pairs = dataset.pairs(Split.TRAIN)
        if not any(pair.boxes for pair in self.pairs):
            raise InvalidInput(
                f"The training split of {dataset.id} shows no labelled building.", remedy="Upload more pairs."
            )
        self.size = training_size(dataset.pairs(), spec.img_size)
        self.limit = _limit(dataset.pairs())
        self.samples = Samples(dataset, self.pairs, self.size)
        self.watched, watched_pairs = first_with_buildings(dataset, (Split.VAL, Split.TRAIN))
        step = -(-len(watched_pairs) // _WATCHED)
        self.watch = Samples(dataset, watched_pairs[::step], self.size)
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
            watch=lambda: self._measure(self.watch),
            progress=self.progress,
            cancelled=self.cancelled,
        )
        if checkpoint is not None:
            epochs.go_on_from(checkpoint, every)
        history, best_epoch = epochs.run()
        return self._finish(out, history, best_epoch)

    def _measure(self, samples: Samples, threshold: float | None = None) -> Metrics:
        detector = Detector(self.net, self.limit).eval()
        return measured(
            detector, samples, self.classes, self.device, threshold=threshold, cancelled=self.cancelled
        )

    def _finish(self, out: Path, history: Sequence[EpochRow], best_epoch: int) -> Trained:
        self.progress(Progress(phase=Phase.MEASURING, epochs=self.spec.epochs))
        best = self._measure(self.watch)
        # Where users see detections from: the best F1 on the watched split, not on the measured one.
        threshold = round(min(max(best.threshold, _THRESHOLDS[0]), _THRESHOLDS[1]), 2)
        metrics = self._measure(self.measure, threshold)
        self.progress(Progress(phase=Phase.EXPORTING, epochs=self.spec.epochs))
        contract = Contract(
            size=self.size,
            stride=STRIDE,
            classes=self.classes,
            score_threshold=threshold,
            max_detections=self.limit,
        )
        (out / "contract.json").write_bytes(msgspec.json.encode(contract))
        weights.save(self.net, out)
        detector = Detector(self.net, self.limit)
        export.export(detector, contract, out)
        chosen = [self.measure.sample(i).fitted.image[0] for i in range(min(_GOLDEN, len(self.measure)))]
        export.golden(detector, chosen, out)
        return Trained(
            metrics=metrics,
            measured_on=str(self.measured),
            watched=str(self.watched),
            history=tuple(history),
            best_epoch=best_epoch,
        )


def training_size(pairs: Sequence[Pair], img_size: int) -> int:
    """min(`img_size`, longest side of the pictures), rounded up to the stride."""
    longest = max(max(pair.width, pair.height) for pair in pairs)
    return -(-min(img_size, longest) // STRIDE) * STRIDE


def _limit(pairs: Sequence[Pair]) -> int:
    """Detections per picture: half as many again as the fullest picture has, in steps of 100."""
    most = max(len(pair.boxes) for pair in pairs)
    return min(max(1, -(-3 * most // (2 * _LIMIT_STEP))) * _LIMIT_STEP, _HIGHEST_LIMIT)
