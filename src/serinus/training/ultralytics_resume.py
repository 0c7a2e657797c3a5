"""A training by Ultralytics that was killed goes on with its next epoch, exactly.

Its own way back rounds the weights to half precision, forgets where chance was, and unpickles what it finds.
So everything that the next epoch depends on is kept here, as numbers and tensors: weights, their running
mean, optimiser, the state of every source of chance, and which pictures wait to be put into mosaics.
"""

import random  # noqa: TID251 -- Ultralytics draws from it
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from serinus.training import checkpoints
from serinus.training.trainer import EpochRow
from serinus.training.ultralytics_callbacks import Watcher

_SEEDS = 100_003
"""Between two seeds; no training has so many epochs."""


class _At(msgspec.Struct, frozen=True, kw_only=True):
    """What is no tensor. Goes into the checkpoint as JSON."""

    epoch: int
    """Of the next one, from 0."""
    over: bool
    """Whether there is no next one."""
    rows: list[EpochRow]
    best_epoch: int
    seconds: float
    best_fitness: float
    updates: int
    """Of the running mean."""
    stopper: tuple[float, int, bool]
    """Of the early stop: the best fitness, its epoch, and whether the next epoch may be the last."""
    waiting: list[int]
    """Pictures that may go into the next mosaics."""
    chance: tuple[int, list[int], float | None]
    """Of Python's `random`."""
    chance_of_numpy: tuple[str, list[int], int, int, float]


class Keeper:
    """Listens to one of Ultralytics' trainers, keeps what it goes on from, and the best weights so far."""

    def __init__(self, folder: Path | None, watcher: Watcher) -> None:
        """`folder` outlives the process; None: only the best weights are kept, in memory.

        Raises Corrupt when what is there cannot be read.
        """
        self._folder, self._watcher = folder, watcher
        self._found = None if folder is None else checkpoints.load(folder)
        self._at: _At | None = None
        self.best: dict[str, torch.Tensor] = {}
        """Weights of the best epoch: half precision, as Ultralytics keeps them."""
        if self._found is not None:
            self._at = at = msgspec.json.decode(self._found["at"], type=_At)
            self.best = self._found["best"]
            watcher.go_on(at.rows, at.best_epoch, at.seconds)

    @property
    def words(self) -> str:
        """What it goes on from, for people; empty when it starts anew."""
        if self._at is None:
            return ""
        return "all epochs were done before" if self._at.over else f"going on with epoch {self._at.epoch + 1}"

    @property
    def over(self) -> bool:
        """Whether nothing is left to be trained."""
        return self._at is not None and self._at.over

    def listen_to(self, trainer: Any) -> None:
        """After the watcher, who must know of an epoch first."""
        trainer.add_callback("on_train_start", self._starts)
        trainer.add_callback("on_train_epoch_start", _shuffle)
        trainer.add_callback("on_fit_epoch_end", self._epoch_ends)

    def _starts(self, trainer: Any) -> None:
        if self._found is None or self._at is None:
            return
        found, at = self._found, self._at
        trainer.model.load_state_dict(found["net"])
        trainer.ema.ema.load_state_dict(found["mean"])
        trainer.ema.updates = at.updates
        trainer.optimizer.load_state_dict(found["optimiser"])
        trainer.scaler.load_state_dict(found["scaler"])
        trainer.best_fitness = at.best_fitness
        stopper = trainer.stopper
        stopper.best_fitness, stopper.best_epoch, stopper.possible_stop = at.stopper
        trainer.start_epoch = at.epoch
        trainer.scheduler.last_epoch = at.epoch - 1
        if getattr(trainer.model.model[-1], "one2one_cv2", None) is not None:
            # The weights of its two losses change from epoch to epoch.
            trainer.model.criterion = trainer.model.init_criterion()
            trainer.model.criterion.updates = at.epoch - 1
            trainer.model.criterion.update()
        if 0 <= trainer.epochs - trainer.args.close_mosaic < at.epoch:
            trainer._close_dataloader_mosaic()
        for number in at.waiting:
            trainer.train_loader.dataset.load_image(number)
        version, state, rest = at.chance
        random.setstate((version, tuple(state), rest))
        name, keys, place, gauss, cached = at.chance_of_numpy
        np.random.set_state((name, np.array(keys, np.uint32), place, gauss, cached))
        torch.set_rng_state(found["chance_of_torch"])
        if torch.cuda.is_available():
            torch.cuda.set_rng_state_all(found["chance_of_gpus"])
        self._found = None

    def _epoch_ends(self, trainer: Any) -> None:
        mean = trainer.ema.ema.state_dict()
        if self._watcher.best_epoch == trainer.epoch + 1:
            self.best = {
                name: value.half() if value.is_floating_point() else value.clone()
                for name, value in mean.items()
            }
        if self._folder is None:
            return
        stopper = trainer.stopper
        version, state, rest = random.getstate()
        numpys = np.random.get_state(legacy=False)
        at = _At(
            epoch=trainer.epoch + 1,
            over=bool(trainer.stop),
            rows=self._watcher.rows,
            best_epoch=self._watcher.best_epoch,
            seconds=self._watcher.seconds(),
            best_fitness=float(trainer.best_fitness),
            updates=int(trainer.ema.updates),
            stopper=(float(stopper.best_fitness), int(stopper.best_epoch), bool(stopper.possible_stop)),
            waiting=[int(number) for number in trainer.train_loader.dataset.buffer],
            chance=(version, list(state), rest),
            chance_of_numpy=(
                numpys["bit_generator"],
                numpys["state"]["key"].tolist(),
                numpys["state"]["pos"],
                numpys["has_gauss"],
                numpys["gauss"],
            ),
        )
        kept = {
            "at": msgspec.json.encode(at).decode(),
            "net": trainer.model.state_dict(),
            "mean": mean,
            "optimiser": trainer.optimizer.state_dict(),
            "scaler": trainer.scaler.state_dict(),
            "best": self.best,
            "chance_of_torch": torch.get_rng_state(),
            "chance_of_gpus": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }
        checkpoints.save(kept, self._folder)


def _shuffle(trainer: Any) -> None:
    """An order of the pictures that depends on seed and epoch alone, not on where a sampler stopped."""
    trainer.train_loader.generator.manual_seed(trainer.args.seed * _SEEDS + trainer.epoch)
    trainer.train_loader.reset()
