"""What comes of a pair: the answer, and what is to be asked after it."""

from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from serinus.artifact.manifest import Contract
from serinus.core.enums import Arm
from serinus.imagery.stack import Fitted
from serinus.serving.routing import Shadowing, Target


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Where the time went, milliseconds."""

    decode: float
    model: float
    """From the assignment of an arm to a checked answer: queue, model and fall-back."""


class Prediction(NamedTuple):
    """A checked answer."""

    detections: npt.NDArray[np.float32]
    """[K, 6]: x1, y1, x2, y2 in original pixels, confidence (above the contract's threshold), class id."""
    post: npt.NDArray[np.uint8] | None
    """The post picture, RGB [H, W, 3], if it was to be kept."""
    size: tuple[int, int]
    """(width, height) of the pictures, in pixels."""
    contract: Contract
    target: Target
    """The version that answered."""
    role: Arm
    """Its role."""
    assigned: Arm
    rollout: int | None
    """The rollout in which it was assigned, if there was one."""
    override: bool
    """A tester asked for this arm; the request is no evidence."""
    fallback: bool
    """The assigned version could not, and the other one answered."""
    timing: Timing
    shadow: "Shadow | None" = None
    """What is to be asked of the other version after the answer; None for most."""


class Shadow(NamedTuple):
    """The pair, as the version that did not answer wants it."""

    arm: Arm
    """Who did not answer."""
    target: Target
    contract: Contract
    fitted: Fitted
    rollout: int
    shadowing: Shadowing
