"""What training minimises: heat, class and sides, each averaged over buildings."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from serinus.training.network import Maps

_SIDES = 2.0


class Wanted(NamedTuple):
    """`targets.Targets` of a batch, as tensors."""

    heat: Tensor
    """[N, h, w]"""
    kind: Tensor
    """[N, h, w]"""
    sides: Tensor
    """[N, 4, h, w]"""
    weight: Tensor
    """[N, h, w]"""


class Loss(NamedTuple):
    """Scalars, already weighted: their sum is what is minimised."""

    heat: Tensor
    kind: Tensor
    sides: Tensor

    @property
    def total(self) -> Tensor:
        return self.heat + self.kind + self.sides


def loss(maps: Maps, wanted: Wanted, class_weights: Tensor) -> Loss:
    """`class_weights` [C]: what a building of each class counts (rare classes more)."""
    near = wanted.weight.sum().clamp(min=1.0)
    return Loss(
        heat=_heat_loss(maps.heat[:, 0], wanted.heat),
        kind=_kind_loss(maps.kind, wanted, class_weights),
        sides=_SIDES * (_overlap_loss(maps.sides, wanted.sides) * wanted.weight).sum() / near,
    )


def _heat_loss(logits: Tensor, heat: Tensor) -> Tensor:
    """The focal loss of CenterNet (eq. 1, alpha 2, beta 4): cells near a centre are punished less."""
    p = logits.sigmoid()
    centre = heat == 1.0
    hit = functional.logsigmoid(logits) * (1 - p) ** 2 * centre
    quiet = functional.logsigmoid(-logits) * p**2 * (1 - heat) ** 4 * ~centre
    return -(hit + quiet).sum() / centre.sum().clamp(min=1)


def _kind_loss(logits: Tensor, wanted: Wanted, class_weights: Tensor) -> Tensor:
    each = functional.cross_entropy(logits, wanted.kind, reduction="none")
    weight = wanted.weight * class_weights[wanted.kind]
    return (each * weight).sum() / weight.sum().clamp(min=1.0)


def _overlap_loss(found: Tensor, wanted: Tensor) -> Tensor:
    """1 - GIoU of two boxes around one cell (Rezatofighi et al. 2019). [N, 4, h, w] twice -> [N, h, w]."""
    left, top, right, bottom = torch.minimum(found, wanted).unbind(1)
    overlap = (left + right) * (top + bottom)
    union = _area(found) + _area(wanted) - overlap
    left, top, right, bottom = torch.maximum(found, wanted).unbind(1)
    hull = (left + right) * (top + bottom)
    return 1 - overlap / union + (hull - union) / hull


def _area(sides: Tensor) -> Tensor:
    left, top, right, bottom = sides.unbind(1)
    return (left + right) * (top + bottom)
