"""The loop of the compact trainer: steps, epochs, early stop, and a checkpoint to go on from exactly."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from serinus.core.errors import Cancelled, ModelFault
from serinus.data.dataset import Pair
from serinus.evaluation.detection import Metrics
from serinus.training import checkpoints
from serinus.training.loss import Wanted, loss
from serinus.training.network import CompactNet, Maps
from serinus.training.samples import Samples, View, Window, batch, class_weights, cut, view, windows
from serinus.training.trainer import EpochRow, Phase, Precision, Progress, TrainSpec

_RATE, _FINE_RATE = 4e-3, 2e-3
_DECAY = 0.02
_WARM_UP = 0.2
_LONGEST_GRADIENT = 10.0
_PARTS = ("heat_loss", "class_loss", "box_loss")

Say = Callable[[Progress], None]


class _Tile(NamedTuple):
    """What one example of an epoch is."""

    sample: int
    window: Window | None


class _At(msgspec.Struct, kw_only=True):
    """Where the loop is: all that is not in torch's objects. Goes into the checkpoint as JSON."""

    epoch: int = 1
    """The one at work."""
    steps: int = 0
    """Done in it."""
    order: list[int] = []
    """Of its examples; empty before its first step."""
    sums: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Of each part of the loss, over the examples seen."""
    seen: int = 0
    history: list[EpochRow] = []
    best: int = 0
    """Index into `history`."""
    seconds: float = 0.0
    """Worked so far."""


class Epochs:
    """One run of the loop over `samples`, whose pairs are `pairs`; `watch` measures after each epoch."""

    def __init__(
        self,
        spec: TrainSpec,
        net: CompactNet,
        samples: Samples,
        pairs: Sequence[Pair],
        *,
        watch: Callable[[], Metrics],
        progress: Say,
        cancelled: Callable[[], bool],
    ) -> None:
        self._spec, self._net, self._samples = spec, net, samples
        self._watch, self._progress, self._cancelled = watch, progress, cancelled
        self._device = next(net.parameters()).device
        self._tiles = [
            _Tile(number, window)
            for number, pair in enumerate(pairs)
            for window in windows(pair, samples.size, spec.tile)
        ]
        weights = class_weights(pairs, len(net.architecture.classes))
        self._class_weights = torch.from_numpy(weights).to(self._device)
        self._rng = np.random.default_rng(spec.seed)
        self._batches = -(-len(self._tiles) // spec.batch)
        rate = _RATE if spec.base is None else _FINE_RATE
        self._optimiser = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=_DECAY)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser,
            rate,
            total_steps=self._batches * spec.epochs,
            pct_start=_WARM_UP,
            div_factor=10,
            final_div_factor=100,
        )
        self._kind = arithmetic(spec.precision, self._device)
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=self._kind is torch.float16)
        self._at = _At()
        self._kept: dict[str, Tensor] = {}
        self._started = time.monotonic()
        self._folder: Path | None = None
        self._every = math.inf
        self._saved = self._started

    def go_on_from(self, folder: Path, every: float) -> None:
        """Takes up what a killed run left in `folder`, and keeps checkpoints there, every so many seconds.

        Raises Corrupt when what is there cannot be read.
        """
        self._folder, self._every = folder, every
        found = checkpoints.load(folder)
        if found is None:
            return
        self._net.load_state_dict(found["net"])
        self._optimiser.load_state_dict(found["optimiser"])
        self._schedule.load_state_dict(found["schedule"])
        self._scaler.load_state_dict(found["scaler"])
        self._kept = {name: value.to(self._device) for name, value in found["kept"].items()}
        self._rng.bit_generator.state = found["chance"]
        self._at = msgspec.json.decode(found["at"], type=_At)
        self._started = time.monotonic() - self._at.seconds
        epoch, step = self._at.epoch, self._at.steps
        note = f"going on with epoch {epoch}, after {step} of {self._batches} steps"
        if epoch > self._spec.epochs:
            note = "all epochs were done before"
        self._progress(Progress(phase=Phase.LOADING, epochs=self._spec.epochs, note=note))

    def run(self) -> tuple[list[EpochRow], int]:
        """Trains; leaves the best weights in the network. Gives the rows and whose weights they are."""
        at = self._at
        while at.epoch <= self._spec.epochs and not self._stuck():
            self._epoch()
            if at.history[-1].map50 >= at.history[at.best].map50:
                at.best = len(at.history) - 1
                self._kept = {name: value.clone() for name, value in self._net.state_dict().items()}
            at.epoch, at.steps, at.order, at.sums, at.seen = at.epoch + 1, 0, [], _At().sums, 0
            self._save()
        self._net.load_state_dict(self._kept)
        return at.history, at.history[at.best].epoch

    def _stuck(self) -> bool:
        at, patience = self._at, self._spec.patience
        return bool(patience and at.history and len(at.history) - 1 - at.best >= patience)

    def _epoch(self) -> None:
        at = self._at
        self._net.train()
        if not at.order:
            at.order = self._rng.permutation(len(self._tiles)).tolist()
        while at.steps < self._batches:
            if self._cancelled():
                raise Cancelled("The training was cancelled; nothing was published.")
            chosen = at.order[at.steps * self._spec.batch : (at.steps + 1) * self._spec.batch]
            losses = self._step([self._view(self._tiles[number]) for number in chosen])
            at.sums = tuple(total + part * len(chosen) for total, part in zip(at.sums, losses, strict=True))
            at.seen += len(chosen)
            at.steps += 1
            self._tell()
            if time.monotonic() - self._saved >= self._every:
                self._save()
        measured = self._watch()
        at.history.append(
            EpochRow(
                epoch=at.epoch,
                seconds=round(time.monotonic() - self._started, 3),
                loss=self._mean(),
                parts={name: total / at.seen for name, total in zip(_PARTS, at.sums, strict=True)},
                map50=measured.map50,
                precision=measured.precision,
                recall=measured.recall,
            )
        )
        self._tell(at.history[-1])

    def _view(self, tile: _Tile) -> View:
        seen = view(self._samples.sample(tile.sample))
        return seen if tile.window is None else cut(seen, tile.window, self._rng)

    def _step(self, views: Sequence[View]) -> list[float]:
        """One step of the optimiser; gives the three losses."""
        images, wanted = batch(views, self._rng)
        with torch.autocast(self._device.type, self._kind, enabled=self._kind is not torch.float32):
            maps = self._net(images.to(self._device))
        maps = Maps(*(part.float() for part in maps))
        losses = loss(maps, Wanted(*(part.to(self._device) for part in wanted)), self._class_weights)
        self._optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(self._scaler.scale(losses.total))
        self._scaler.unscale_(self._optimiser)
        nn.utils.clip_grad_norm_(self._net.parameters(), _LONGEST_GRADIENT)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self._schedule.step()
        return [float(part.detach()) for part in losses]

    def _mean(self) -> float:
        """Loss of this epoch so far. Raises ModelFault when it is no number any more."""
        mean = sum(self._at.sums) / self._at.seen
        if not math.isfinite(mean):
            raise ModelFault(
                f"The loss is {mean} in epoch {self._at.epoch}: the training diverged.",
                remedy="Look at the data set's report, or train with another seed or without a base.",
            )
        return mean

    def _tell(self, row: EpochRow | None = None) -> None:
        at = self._at
        done = (at.epoch - 1) * self._batches + at.steps
        rest = self._spec.epochs * self._batches - done
        self._progress(
            Progress(
                phase=Phase.TRAINING,
                epoch=at.epoch,
                epochs=self._spec.epochs,
                batch=at.steps,
                batches=self._batches,
                loss=self._mean(),
                map50=at.history[-1].map50 if at.history else None,
                eta_seconds=(time.monotonic() - self._started) / done * rest,
                row=row,
            )
        )

    def _save(self) -> None:
        self._saved = time.monotonic()
        if self._folder is None:
            return
        self._at.seconds = self._saved - self._started
        state: dict[str, Any] = {
            "at": msgspec.json.encode(self._at).decode(),
            "chance": self._rng.bit_generator.state,
            "net": self._net.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "scaler": self._scaler.state_dict(),
            "kept": self._kept,
        }
        checkpoints.save(state, self._folder)


def arithmetic(precision: Precision, device: torch.device) -> torch.dtype:
    """The type that `precision` means on `device`. float16 only on GPUs without bfloat16."""
    on_gpu = device.type == "cuda"
    if precision is Precision.FLOAT32 or (precision is Precision.AUTO and not on_gpu):
        return torch.float32
    return torch.float16 if on_gpu and not torch.cuda.is_bf16_supported() else torch.bfloat16
