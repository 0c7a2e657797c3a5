"""How long a loaded model takes over batches: measured, not assumed.

On a processor a batch of convolutions takes as long as its pictures one after the other; on a GPU, and for
models so small that the call costs more than the work, it does not.
"""

import contextlib
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from serinus.core.enums import Device
from serinus.core.errors import ModelFault
from serinus.engine.output import mismatch

if TYPE_CHECKING:
    from serinus.engine.session import (
        Detections,
        Model,
    )  # the runtime, which the service's own process does not load

SIZES = (1, 2, 4, 8)
PAYS = 0.9
"""A picture of a batch must take less than this share of what it takes in the next smaller one."""
_LONGEST_SECONDS = 1.0
_SHORT_SECONDS = 0.005
_FLOOR, _CONFIDENCE, _PIXELS = 0.05, 0.02, 1.0


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured."""

    milliseconds: dict[int, float] = {}
    """Pictures in a batch -> the batch's time; the best of a few."""
    stopped: str = ""
    """Why no larger batch was tried, in words."""


def measure(model: "Model", *, device: Device) -> Pace:
    """Runs batches of black pictures of the contract's size, as often as it needs, until they do not pay.

    On the CPU it is CPU time that counts, so that other work on the machine does not. A model that fails a
    batch, or answers it otherwise than its pictures alone, is not asked for batches.
    """
    pace = _measure(model, device)
    if len(pace.milliseconds) > 1:
        with contextlib.suppress(ModelFault, MemoryError):
            side = _side(model)
            model.infer(np.zeros((1, side, side, len(model.contract.channels)), np.uint8), shrink=True)
    return pace


def _side(model: "Model") -> int:
    """Pixels of a picture of the contract's size."""
    return max(model.contract.stride, model.contract.size // model.contract.stride * model.contract.stride)


def _measure(model: "Model", device: Device) -> Pace:
    if not model.takes_batches:
        return Pace(stopped="the graph takes one picture at a time")
    shape = (SIZES[-1], _side(model), _side(model), len(model.contract.channels))
    images = np.zeros(
        shape, np.uint8
    )  # as for the first run: what the model does with pictures, requests show
    clock = time.process_time if device is Device.CPU else time.perf_counter
    begun = time.perf_counter()
    took: dict[int, float] = {}
    alone = None
    for size in SIZES:
        try:
            seconds, found = _best(partial(model.infer, images[:size]), clock)
        except (ModelFault, MemoryError) as error:
            return Pace(milliseconds=took, stopped=f"a batch of {size} failed: {error}")
        took[size] = 1000 * seconds
        if size == 1:
            alone = found[0]
        elif size == 2 and alone is not None:
            words = mismatch(alone, found[0], floor=_FLOOR, confidence=_CONFIDENCE, pixels=_PIXELS)
            if words:
                return Pace(milliseconds={1: took[1]}, stopped=f"in a batch it answers otherwise: {words}")
        if size > 1 and took[size] / size > PAYS * took[size // 2] / (size // 2):
            return Pace(milliseconds=took, stopped="larger ones do not pay")
        if time.perf_counter() - begun > _LONGEST_SECONDS:
            return Pace(milliseconds=took, stopped="the time for measuring was over")
    return Pace(milliseconds=took)


def _best(run: Callable[[], "Detections"], clock: Callable[[], float]) -> tuple[float, "Detections"]:
    """Seconds of one run, or of the best of three where one is short; and what it gave."""
    times: list[float] = []
    while not times or (len(times) < 3 and times[0] < _SHORT_SECONDS):
        begun = clock()
        found = run()
        times.append(clock() - begun)
    return min(times), found
