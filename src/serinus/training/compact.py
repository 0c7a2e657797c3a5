"""The built-in trainer: a small network that learns fast, on the CPU or on a GPU when there is one."""

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from serinus.artifact.manifest import Contract
from serinus.core.errors import Cancelled, InvalidInput, ModelFault
from serinus.data.dataset import Dataset, Pair, Split
from serinus.evaluation.detection import Metrics, evaluate
from serinus.imagery.stack import to_original
from serinus.training import export, weights
from serinus.training.loss import Wanted, loss
from serinus.training.network import STRIDE, Architecture, CompactNet, Detector
from serinus.training.samples import Sample, Samples, batch, class_weights, view
from serinus.training.trainer import EpochRow, Phase, Progress, Trained, TrainSpec

_RATE, _FINE_RATE = 4e-3, 2e-3
_DECAY = 0.02
_WARM_UP = 0.2
_LONGEST_GRADIENT = 10.0
_WATCHED = 200
"""Pairs measured after each epoch, at most."""
_GOLDEN = 4
_THRESHOLDS = (0.1, 0.8)
_LIMIT_STEP, _HIGHEST_LIMIT = 100, 600

Say = Callable[[Progress], None]


class Compact:
    """See `trainer.Trainer`."""

    name = "compact"

    def train(
        self,
        spec: TrainSpec,
        dataset: Dataset,
        out: Path,
        *,
        progress: Say,
        cancelled: Callable[[], bool],
    ) -> Trained:
        """Trains on `train`, watches `val` after each epoch, keeps the best weights, measures on `test`."""
        if spec.epochs < 1 or spec.batch < 1:
            raise InvalidInput(
                f"{spec.epochs} epochs of batches of {spec.batch} train nothing.",
                remedy="Give 1 or more of both.",
            )
        progress(Progress(phase=Phase.LOADING, epochs=spec.epochs))
        with _torch_set_up(spec):
            return _Training(spec, dataset, progress, cancelled).run(out)


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
    """One run: the parts that its steps share."""

    def __init__(
        self, spec: TrainSpec, dataset: Dataset, progress: Say, cancelled: Callable[[], bool]
    ) -> None:
        self.spec = spec
        self.progress = progress
        self.cancelled = cancelled
        self.classes = dataset.manifest.classes
        pairs = dataset.pairs(Split.TRAIN)
        if not any(pair.boxes for pair in pairs):
            raise InvalidInput(
                f"The training split of {dataset.id} shows no labelled building.", remedy="Upload more pairs."
            )
        self.size = training_size(dataset.pairs(), spec.img_size)
        self.limit = _limit(dataset.pairs())
        self.samples = Samples(dataset, pairs, self.size)
        self.watched, watched_pairs = _first_with_buildings(dataset, (Split.VAL, Split.TRAIN))
        step = -(-len(watched_pairs) // _WATCHED)
        self.watch = Samples(dataset, watched_pairs[::step], self.size)
        self.measured, measured_pairs = _first_with_buildings(dataset, (Split.TEST, Split.VAL, Split.TRAIN))
        self.measure = Samples(dataset, measured_pairs, self.size)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.net = CompactNet(Architecture(classes=self.classes))
        if spec.base is not None:
            weights.load_into(self.net, spec.base)
        self.net.to(self.device)
        self.class_weights = torch.from_numpy(class_weights(pairs, len(self.classes))).to(self.device)
        self.rng = np.random.default_rng(spec.seed)
        self.batches = -(-len(pairs) // spec.batch)
        rate = _RATE if spec.base is None else _FINE_RATE
        self.optimiser = torch.optim.AdamW(self.net.parameters(), lr=rate, weight_decay=_DECAY)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser,
            rate,
            total_steps=self.batches * spec.epochs,
            pct_start=_WARM_UP,
            div_factor=10,
            final_div_factor=100,
        )
        self.started = time.monotonic()

    def run(self, out: Path) -> Trained:
        history: list[EpochRow] = []
        best = 0
        kept: dict[str, Tensor] = {}
        for epoch in range(1, self.spec.epochs + 1):
            history.append(self._epoch(epoch, history[-1].map50 if history else None))
            if history[-1].map50 >= history[best].map50:
                best = epoch - 1
                kept = {name: value.clone() for name, value in self.net.state_dict().items()}
        self.net.load_state_dict(kept)
        return self._finish(out, tuple(history), history[best].epoch)

    def _epoch(self, epoch: int, map50: float | None) -> EpochRow:
        self.net.train()
        sums = np.zeros(3)
        seen = 0
        order = self.rng.permutation(len(self.samples))
        for number in range(self.batches):
            if self.cancelled():
                raise Cancelled("The training was cancelled; nothing was kept.")
            chosen = order[number * self.spec.batch : (number + 1) * self.spec.batch]
            sums += self._step([self.samples.sample(int(i)) for i in chosen]) * len(chosen)
            seen += len(chosen)
            mean = float(sums.sum() / seen)
            if not math.isfinite(mean):
                raise ModelFault(
                    f"The loss is {mean} in epoch {epoch}: the training diverged.",
                    remedy="Look at the data set's report, or train with another seed or without a base.",
                )
            self._tell(epoch, number + 1, mean, map50)
        measured = self._measure(self.watch)
        heat, kind, sides = (sums / seen).tolist()
        return EpochRow(
            epoch=epoch,
            seconds=round(time.monotonic() - self.started, 3),
            loss=mean,
            heat_loss=heat,
            class_loss=kind,
            box_loss=sides,
            map50=measured.map50,
            precision=measured.precision,
            recall=measured.recall,
        )

    def _step(self, samples: Sequence[Sample]) -> npt.NDArray[np.float64]:
        """One step of the optimiser; gives the three losses."""
        images, wanted = batch([view(sample) for sample in samples], self.rng)
        maps = self.net(images.to(self.device))
        losses = loss(maps, Wanted(*(part.to(self.device) for part in wanted)), self.class_weights)
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(losses.total)
        nn.utils.clip_grad_norm_(self.net.parameters(), _LONGEST_GRADIENT)
        self.optimiser.step()
        self.schedule.step()
        return np.array([float(part.detach()) for part in losses])

    def _tell(self, epoch: int, number: int, mean: float, map50: float | None) -> None:
        done = (epoch - 1) * self.batches + number
        rest = self.spec.epochs * self.batches - done
        self.progress(
            Progress(
                phase=Phase.TRAINING,
                epoch=epoch,
                epochs=self.spec.epochs,
                batch=number,
                batches=self.batches,
                loss=mean,
                map50=map50,
                eta_seconds=(time.monotonic() - self.started) / done * rest,
            )
        )

    def _measure(self, samples: Samples, threshold: float | None = None) -> Metrics:
        """In original pixels, with the whole detector, as the quality gate will measure."""
        detector = Detector(self.net, self.limit).eval()
        truth, found = [], []
        for index in range(len(samples)):
            if self.cancelled():
                raise Cancelled("The training was cancelled; nothing was kept.")
            sample = samples.sample(index)
            with torch.inference_mode():
                answer = detector(torch.from_numpy(sample.fitted.image).to(self.device))[0].cpu().numpy()
            found.append(to_original(answer, sample.fitted))
            truth.append((sample.boxes, sample.labels))
        return evaluate(truth, found, self.classes, threshold=threshold)

    def _finish(self, out: Path, history: tuple[EpochRow, ...], best_epoch: int) -> Trained:
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
            history=history,
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


def _first_with_buildings(dataset: Dataset, splits: Sequence[Split]) -> tuple[Split, tuple[Pair, ...]]:
    """The first of `splits` that has a labelled building: without one there is nothing to measure."""
    for split in splits:
        pairs = dataset.pairs(split)
        if any(pair.boxes for pair in pairs):
            return split, pairs
    raise InvalidInput(f"{dataset.id} shows no labelled building.", remedy="Upload more pairs.")
