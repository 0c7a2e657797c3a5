"""Takes an Ultralytics detection checkpoint into a draft, when the extra `ultralytics` (AGPL-3.0) is there.

The checkpoint is a pickled `nn.Module`, so its classes must exist; which ones may is the list below, nothing
else. Being on the list is not enough: a pickle may also *call* what it names, and the constructors of these
classes do more than build (`DetectionModel({...})` evaluates text of its argument, and opens paths and
addresses). torch's restricted reader would allow that for a listed class. So it is given hulls: subclasses
that can be filled with a state, as an unpickled module is, and refuse to be called.

What is exported keeps our contract: uint8 [N, H, W, 6] in, [N, K, 6] in input pixels out, suppression of
doubles inside. Each box gets its likeliest class only: a building is in one state of damage. A network of 3
channels gets the post picture only.
"""

import importlib
import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError  # noqa: TID251 -- what torch's restricted reader raises, too
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from serinus.artifact.manifest import Contract
from serinus.artifact.validate import check_contract
from serinus.core.enums import ImportRefusal
from serinus.engine.conversion import Refused

_TORCH = (
    "torch.nn.modules.activation.SiLU",
    "torch.nn.modules.batchnorm.BatchNorm2d",
    "torch.nn.modules.container.ModuleList",
    "torch.nn.modules.container.Sequential",
    "torch.nn.modules.conv.Conv2d",
    "torch.nn.modules.linear.Identity",
    "torch.nn.modules.pooling.MaxPool2d",
    "torch.nn.modules.upsampling.Upsample",
)
_BLOCKS = (
    *("A2C2f", "AAttn", "ABlock", "AConv", "Attention", "Bottleneck", "C2PSA", "C2f", "C2fCIB", "C3", "C3k"),
    *(
        "C3k2",
        "CIB",
        "DFL",
        "ELAN1",
        "PSA",
        "PSABlock",
        "RepBottleneck",
        "RepCSP",
        "RepNCSPELAN4",
        "RepVGGDW",
    ),
    *("SCDown", "SPPELAN", "SPPF"),
)
_THEIRS = (
    *(f"ultralytics.nn.modules.block.{name}" for name in _BLOCKS),
    *(f"ultralytics.nn.modules.conv.{name}" for name in ("Concat", "Conv", "DWConv", "RepConv")),
    "ultralytics.nn.modules.head.Detect",
    "ultralytics.nn.modules.head.v10Detect",
    "ultralytics.nn.tasks.DetectionModel",
    "ultralytics.utils.IterableSimpleNamespace",
)
ALLOWED = {name: name.rpartition(".") for name in (*_TORCH, *_THEIRS)}
"""The only classes that may be named: those of YOLO v5u, v8, v9, v10, 11, 12 and 26 for detection."""
_MODEL, _HEAD = "DetectionModel", "Detect"
KEPT = 300
"""Detections per picture, as Ultralytics gives."""
_CANDIDATES = 600
"""Cells that may suppress each other, the best; the cost grows with the square."""
_OVERLAP = 0.7
_FLOOR = 0.01
_ROUNDS = 24
_OURS = 6
_POST_ONLY = 3
GUARDS = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}


def take(path: Path, contract: Contract | None, draft: Path, *, size: int) -> dict[str, Any]:
    """Writes the draft's model, contract and golden results; gives more for its lineage. Raises Refused."""
    from serinus.training import elsewhere

    if importlib.util.find_spec("ultralytics") is None:
        raise Refused(
            ImportRefusal.FOREIGN_CLASSES,
            f"{path.name} is a checkpoint of Ultralytics, which is not installed here.",
            remedy="Install serinus[ultralytics] (AGPL-3.0: read its terms first) and put the folder there "
            "again, or export the model to ONNX.",
        )
    os.environ.update(GUARDS)
    try:
        checkpoint = load(path)
    except elsewhere.READ_ERRORS as error:
        raise elsewhere.unreadable(path, error) from error
    model = _model(checkpoint)
    detector = Detections(model)
    stride = int(model.stride.max())
    known = contract or Contract(
        size=-(-size // stride) * stride,
        stride=stride,
        classes=_names(model),
        max_detections=KEPT,
    )
    check_contract(known)
    elsewhere.write(detector, known, draft)
    return {"kind": "ultralytics", "input": "pre and post" if detector.channels == _OURS else "post only"}


def load(path: Path, allowed: Mapping[str, tuple[str, str, str]] = ALLOWED) -> Any:
    """The model in the checkpoint, read with torch's restricted reader and the list.

    Raises what torch raises.
    """
    hulls = {
        name: hull(getattr(importlib.import_module(module), cls))
        for name, (module, _, cls) in allowed.items()
    }
    with torch.serialization.safe_globals([(cls, name) for name, cls in hulls.items()]):
        found = torch.load(path, map_location="cpu", weights_only=True)
    model = found.get("ema") or found.get("model") if isinstance(found, dict) else found
    if isinstance(model, nn.Module):
        for module in model.modules():
            module.__class__ = getattr(type(module), "_serinus_hull_of", type(module))
    return model


def hull(cls: type) -> type:
    """A subclass of `cls` that can be made empty and then filled, and not be called with anything."""

    def refuse(_: object, *given: object, **named: object) -> None:
        if given or named:
            raise UnpicklingError(f"the file calls {cls.__name__} instead of restoring one")

    return type(
        cls.__name__, (cls,), {"__init__": refuse, "__module__": cls.__module__, "_serinus_hull_of": cls}
    )


def _model(found: Any) -> Any:
    layers = getattr(found, "model", None)
    head = layers[-1] if isinstance(layers, nn.Sequential) and len(layers) else None
    if type(found).__name__ != _MODEL or not type(head).__name__.endswith(_HEAD):
        raise Refused(
            ImportRefusal.CONTRACT,
            f"The checkpoint holds {type(found).__name__}, not an Ultralytics model for detection.",
            remedy="Only detection models are taken; export others to ONNX.",
        )
    found.float().eval()
    return found


def _names(model: Any) -> tuple[str, ...]:
    names = model.names
    listed = [names.get(number) for number in range(len(names))] if isinstance(names, dict) else []
    if not listed or not all(isinstance(name, str) for name in listed) or len(listed) != model.model[-1].nc:
        raise Refused(
            ImportRefusal.CONTRACT,
            f"The checkpoint names its classes {str(names)[:200]}.",
            remedy="Its `names` must give one name for each class.",
        )
    return tuple(map(str, listed))


class Detections(nn.Module):
    """uint8 [N, H, W, 6] -> float32 [N, K, 6], best first; unused rows are 0 in confidence."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.net = model
        first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
        self.channels = first.in_channels
        if self.channels not in (_OURS, _POST_ONLY):
            raise Refused(
                ImportRefusal.CONTRACT,
                f"The network takes {self.channels} channels.",
                remedy="Train it on 6 (pre R, G, B, post R, G, B) or on 3 (the post picture).",
            )
        head = model.model[-1]
        self.one_to_one = getattr(head, "one2one_cv2", None) is not None
        """Trained to find each object once: nothing needs to be suppressed."""
        head.export, head.dynamic, head.format = True, True, "onnx"
        head._end2end = self.one_to_one
        # Ours keeps the number of rows when the picture is small. A module set as an attribute would lose
        # against the method of that name.
        head.__dict__["postprocess"] = _as_it_is

    def forward(self, images: Tensor) -> Tensor:
        pixels = images[..., _OURS - self.channels :].permute(0, 3, 1, 2).float() / 255.0
        found = self.net(pixels)
        if not self.one_to_one:
            found = found.permute(0, 2, 1)
        boxes, scores = found[..., :4], found[..., 4:]
        if not self.one_to_one:
            half = boxes[..., 2:] / 2
            boxes = torch.cat((boxes[..., :2] - half, boxes[..., :2] + half), 2)
        confidence, kind = scores.max(2)
        rows = torch.cat((boxes, (confidence * (confidence >= _FLOOR))[..., None], kind[..., None]), 2)
        # Small pictures have fewer cells than rows are given.
        rows = _best(functional.pad(rows, (0, 0, 0, _CANDIDATES)), _CANDIDATES)
        height, width = images.shape[1], images.shape[2]
        x, y = rows[..., 0:4:2].clamp(0, width), rows[..., 1:4:2].clamp(0, height)
        corners = torch.stack((x[..., 0], y[..., 0], x[..., 1], y[..., 1]), 2)
        confidence, kind = rows[..., 4], rows[..., 5]
        if not self.one_to_one:
            confidence = confidence * keep(corners, kind, confidence)
        return _best(torch.cat((corners, confidence[..., None], kind[..., None]), 2), KEPT)


def _as_it_is(found: Tensor) -> Tensor:
    return found


def _best(rows: Tensor, count: int) -> Tensor:
    """The `count` rows of [N, K, 6] with the highest confidence, best first."""
    _, chosen = rows[..., 4].topk(count, 1)
    return rows.gather(1, chosen[..., None].expand(-1, -1, 6))


def keep(boxes: Tensor, kind: Tensor, confidence: Tensor) -> Tensor:
    """Non-maximum suppression of boxes [N, K, 4], best first, as arithmetic that every ONNX runtime knows.

    Cluster-NMS (Zheng et al. 2020): a box goes when one that stays, better and of its class, overlaps it by
    more than the limit. Each round settles at least one more link of a chain of overlaps; after as many
    rounds as the longest chain it is what the greedy procedure gives. Gives 1.0 for those that stay, else 0.
    """
    low = torch.maximum(boxes[:, :, None, :2], boxes[:, None, :, :2])
    high = torch.minimum(boxes[:, :, None, 2:], boxes[:, None, :, 2:])
    common = (high - low).clamp(min=0).prod(3)
    area = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(2)
    overlap = common / (area[:, :, None] + area[:, None, :] - common).clamp(min=1e-6)
    better = torch.ones_like(overlap[0]).triu(1)
    same = (kind[:, :, None] == kind[:, None, :]).float()
    presses = (overlap > _OVERLAP).float() * same * better * (confidence > 0).float()[:, :, None]
    stays = torch.ones_like(confidence)
    for _ in range(_ROUNDS):
        stays = 1.0 - (presses * stays[:, :, None]).amax(1)
    return stays
