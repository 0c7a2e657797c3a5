"""The compact network: a centre-point detector on 6 channels (pre and post), 0.4 M parameters in size n.

A small pyramid (strides 2, 4, 8, 16) is brought back to stride 4. There each cell says whether a building's
centre is in it (one heat map for all classes: where buildings are is learned from all of them), of which
class it is, and how far its four sides are. After CenterNet (Zhou et al. 2019, "Objects as Points") and, for
the sides, FCOS (Tian et al. 2019).
"""

import math
from typing import NamedTuple

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from serinus.training.trainer import Size

CELL = 4
"""Pixels per cell of the maps that the network gives."""
STRIDE = 16
"""Height and width of the input are multiples of this."""
POST_ONLY = 3
"""Channels of the baseline."""
_RARE = 0.1
_LOG_SIDE = (-3.0, 5.5)


class Architecture(msgspec.Struct, frozen=True, kw_only=True):
    """What a state dict fits: `best.json` beside `best.pt`."""

    name: str = "compact-1"
    channels: int = 6
    """6, or 3: only the last three of its input, the post picture, are looked at."""
    classes: tuple[str, ...]
    widths: tuple[int, int, int, int] = (16, 32, 64, 96)
    """Feature channels at strides 2, 4, 8, 16; multiples of 16 suit the vector units of CPUs."""


WIDTHS = {
    Size.N: (16, 32, 64, 96),
    Size.S: (32, 64, 96, 160),
    Size.M: (48, 96, 160, 256),
}
"""`Architecture.widths` of each size."""


class Maps(NamedTuple):
    """What the network gives, at stride `CELL`."""

    heat: Tensor
    """[N, 1, h, w] logits: a building's centre is here."""
    kind: Tensor
    """[N, C, h, w] logits of its class."""
    sides: Tensor
    """[N, 4, h, w] distances to its left, top, right, bottom side, in cells, > 0."""


def _unit(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _start_at(layer: nn.Conv2d, value: float) -> None:
    if layer.bias is not None:
        nn.init.constant_(layer.bias, value)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _unit(width, width)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(self.first(x)))


class CompactNet(nn.Module):
    """float32 [N, 6, H, W] in [0, 1], H and W multiples of STRIDE -> Maps of H / CELL x W / CELL."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        w2, w4, w8, w16 = architecture.widths
        self.stem = _unit(architecture.channels, w2, stride=2)
        self.down4 = nn.Sequential(_unit(w2, w4, stride=2), _Residual(w4))
        self.down8 = nn.Sequential(_unit(w4, w8, stride=2), _Residual(w8))
        self.down16 = nn.Sequential(_unit(w8, w16, stride=2), _Residual(w16))
        self.lateral16 = _unit(w16, w8, kernel=1)
        self.merge8 = _unit(w8, w8)
        self.lateral8 = _unit(w8, w4, kernel=1)
        self.merge4 = _unit(w4, w4)
        self.head = _unit(w4, w8)
        self.heat = nn.Conv2d(w8, 1, 1)
        self.kind = nn.Conv2d(w8, len(architecture.classes), 1)
        self.sides = nn.Conv2d(w8, 4, 1)
        # Start from "a centre is rare" and "a building is some 4 cells wide": no epoch goes into that.
        _start_at(self.heat, math.log(_RARE / (1 - _RARE)))
        _start_at(self.sides, math.log(2.0))

    def forward(self, pixels: Tensor) -> Maps:
        if self.architecture.channels == POST_ONLY:
            pixels = pixels[:, -POST_ONLY:]
        at4 = self.down4(self.stem(pixels * 4.0 - 2.0))
        at8 = self.down8(at4)
        at16 = self.down16(at8)
        at8 = self.merge8(
            at8 + functional.interpolate(self.lateral16(at16), scale_factor=2.0, mode="nearest")
        )
        at4 = self.merge4(at4 + functional.interpolate(self.lateral8(at8), scale_factor=2.0, mode="nearest"))
        features = self.head(at4)
        return Maps(
            heat=self.heat(features),
            kind=self.kind(features),
            sides=self.sides(features).clamp(*_LOG_SIDE).exp(),
        )


class Detector(nn.Module):
    """The network with everything around it that serving must not have to know: this is what is exported.

    uint8 [N, H, W, 6] -> float32 [N, K, 6]: x1, y1, x2, y2 in input pixels, confidence, class id, best
    first. K = `limit`; unused rows are 0 in confidence. A cell counts when no neighbour is hotter; its
    confidence is heat times the probability of its likeliest class.
    """

    def __init__(self, net: CompactNet, limit: int, floor: float = 0.01) -> None:
        super().__init__()
        self.net = net
        self.limit = limit
        self.floor = floor
        """Confidences below this are given as 0: they are noise, and only cost time."""

    def forward(self, images: Tensor) -> Tensor:
        maps: Maps = self.net(images.permute(0, 3, 1, 2).float() / 255.0)
        heat = maps.heat.sigmoid()
        peaks = heat * (functional.max_pool2d(heat, 3, 1, 1) == heat)
        probability, kind = maps.kind.softmax(1).max(1, keepdim=True)
        score = (peaks * probability).flatten(1)
        score = functional.pad(
            score * (score >= self.floor), (0, self.limit)
        )  # small pictures have fewer cells
        confidence, cell = score.topk(self.limit, 1)
        height, width = heat.shape[2], heat.shape[3]
        cell = cell.clamp(max=height * width - 1)
        sides = maps.sides.flatten(2).gather(2, cell.unsqueeze(1).expand(-1, 4, -1))
        x = (cell % width).float() + 0.5
        y = torch.div(cell, width, rounding_mode="floor").float() + 0.5
        left, top, right, bottom = sides.unbind(1)
        across, down = width * CELL, height * CELL
        corners = (
            ((x - left) * CELL).clamp(0, across),
            ((y - top) * CELL).clamp(0, down),
            ((x + right) * CELL).clamp(0, across),
            ((y + bottom) * CELL).clamp(0, down),
        )
        label = kind.flatten(1).gather(1, cell).float()
        return torch.stack((*corners, confidence, label), 2)
