"""What happens inside a training by Ultralytics: progress, cancellation, rows of epochs, changes of light."""

import math
import time
from collections.abc import Callable
from typing import Any

import torch

from serinus.core.errors import Cancelled, ModelFault
from serinus.training.trainer import EpochRow, Phase, Progress

_BRIGHTNESS = 0.15


class Watcher:
    """Listens to one of Ultralytics' trainers and tells in our words."""

    def __init__(
        self, epochs: int, progress: Callable[[Progress], None], cancelled: Callable[[], bool]
    ) -> None:
        self.rows: list[EpochRow] = []
        self.best_epoch = 1
        self._epochs, self._progress, self._cancelled = epochs, progress, cancelled
        self._started = time.monotonic()
        self._steps = 0

    def go_on(self, rows: list[EpochRow], best_epoch: int, seconds: float) -> None:
        """Takes up what a killed run had told after so many seconds of work."""
        self.rows, self.best_epoch = rows, best_epoch
        self._started = time.monotonic() - seconds

    def seconds(self) -> float:
        """Worked so far."""
        return time.monotonic() - self._started

    def listen_to(self, trainer: Any) -> None:
        trainer.add_callback("on_train_epoch_start", self._epoch_starts)
        trainer.add_callback("on_train_batch_start", self._step_starts)
        trainer.add_callback("on_train_batch_end", self._step_ends)
        trainer.add_callback("on_fit_epoch_end", self._epoch_ends)

    def _epoch_starts(self, _: Any) -> None:
        self._steps = 0

    def _step_starts(self, _: Any) -> None:
        if self._cancelled():
            raise Cancelled("The training was cancelled; nothing was published.")

    def _step_ends(self, trainer: Any) -> None:
        self._steps += 1
        self._tell(trainer)

    def _epoch_ends(self, trainer: Any) -> None:
        if trainer.best_fitness == trainer.fitness:
            self.best_epoch = trainer.epoch + 1
        parts = {name.rpartition("/")[2]: value for name, value in _losses(trainer).items()}
        self.rows.append(
            EpochRow(
                epoch=trainer.epoch + 1,
                seconds=round(self.seconds(), 3),
                loss=sum(parts.values()),
                parts=parts,
                map50=float(trainer.metrics["metrics/mAP50(B)"]),
                precision=float(trainer.metrics["metrics/precision(B)"]),
                recall=float(trainer.metrics["metrics/recall(B)"]),
            )
        )
        self._tell(trainer, self.rows[-1])

    def _tell(self, trainer: Any, row: EpochRow | None = None) -> None:
        batches = len(trainer.train_loader)
        done = trainer.epoch * batches + self._steps
        loss = sum(_losses(trainer).values())
        if not math.isfinite(loss):
            raise ModelFault(
                f"The loss is {loss} in epoch {trainer.epoch + 1}: the training diverged.",
                remedy="Look at the data set's report, or train with another seed or without a base.",
            )
        self._progress(
            Progress(
                phase=Phase.TRAINING,
                epoch=trainer.epoch + 1,
                epochs=self._epochs,
                batch=self._steps,
                batches=batches,
                loss=loss,
                map50=self.rows[-1].map50 if self.rows else None,
                eta_seconds=self.seconds() / done * (self._epochs * batches - done),
                row=row,
            )
        )


def _losses(trainer: Any) -> dict[str, float]:
    """Means of this epoch so far, by Ultralytics' names."""
    return {name: float(value) for name, value in trainer.tloss.items()}


def shine(batch: dict[str, Any]) -> dict[str, Any]:
    """Another brightness and contrast for each picture of `batch["img"]` [N, C, H, W] in [0, 1], alike in all
    its channels: pre and post stay comparable.
    """
    images = batch["img"]
    shape = (len(images), 1, 1, 1)
    gain = torch.empty(shape).uniform_(1 - _BRIGHTNESS, 1 + _BRIGHTNESS).to(images.device)
    shift = torch.empty(shape).uniform_(-_BRIGHTNESS / 2, _BRIGHTNESS / 2).to(images.device)
    batch["img"] = (images * gain + shift).clamp(0, 1)
    return batch
