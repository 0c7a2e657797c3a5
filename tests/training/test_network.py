import numpy as np
import pytest
import torch

from serinus.engine.output import check
from serinus.training.network import CELL, STRIDE, Architecture, CompactNet, Detector, Maps

CLASSES = ("a", "b", "c", "d")


class Drawn(torch.nn.Module):
    """Stands where the network is, and gives maps that are drawn by hand."""

    def __init__(self, maps: Maps) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, pixels: torch.Tensor) -> Maps:
        return self.maps


def _maps(h: int, w: int) -> Maps:
    return Maps(torch.full((1, 1, h, w), -20.0), torch.zeros(1, 4, h, w), torch.ones(1, 4, h, w))


def test_about_half_a_million_parameters() -> None:
    net = CompactNet(Architecture(classes=CLASSES))
    assert 0.3e6 < sum(p.numel() for p in net.parameters()) < 0.6e6


@pytest.mark.parametrize(("height", "width"), [(16, 16), (32, 80), (96, 64)])
def test_every_multiple_of_the_stride_gives_an_answer_that_passes(height: int, width: int) -> None:
    torch.manual_seed(0)
    detector = Detector(CompactNet(Architecture(classes=CLASSES)), 100).eval()
    images = torch.randint(0, 256, (2, height, width, 6), dtype=torch.uint8)
    with torch.inference_mode():
        found = detector(images).numpy()
    assert found.shape == (2, 100, 6)
    assert (np.diff(found[:, :, 4]) <= 0).all()
    check(found, width=width, height=height, classes=4, max_detections=100)


def test_a_peak_becomes_a_box_in_pixels() -> None:
    maps = _maps(8, 12)
    maps.heat[0, 0, 3, 5] = 4.0
    maps.heat[0, 0, 3, 6] = 3.0  # cooler neighbour: the same building
    maps.kind[0, 2, 3, 5] = 20.0
    maps.sides[0, :, 3, 5] = torch.tensor([2.0, 1.0, 3.0, 1.5])
    found = Detector(Drawn(maps), 10)(torch.zeros(1, 32, 48, 6, dtype=torch.uint8))[0]  # type: ignore[arg-type]
    x, y = 5.5, 3.5
    expected = torch.tensor([x - 2, y - 1, x + 3, y + 1.5]) * CELL
    torch.testing.assert_close(found[0, :4], expected)
    assert found[0, 4].item() == pytest.approx(torch.sigmoid(torch.tensor(4.0)).item(), abs=1e-4)
    assert found[0, 5] == 2
    assert (found[1:, 4] == 0).all()


def test_boxes_end_at_the_picture() -> None:
    maps = _maps(8, 8)
    maps.heat[0, 0, 0, 0] = 4.0
    maps.sides[0, :, 0, 0] = 50.0
    found = Detector(Drawn(maps), 5)(torch.zeros(1, 32, 32, 6, dtype=torch.uint8))[0]  # type: ignore[arg-type]
    assert found[0, :4].tolist() == [0, 0, 32, 32]


def test_the_stride_is_what_the_pyramid_needs() -> None:
    net = CompactNet(Architecture(classes=CLASSES)).eval()
    maps = net(torch.zeros(1, 6, STRIDE * 3, STRIDE * 2))
    assert maps.heat.shape == (1, 1, STRIDE * 3 // CELL, STRIDE * 2 // CELL)
    assert (maps.sides > 0).all()
