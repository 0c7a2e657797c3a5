"""The list of classes and what is done with it, with torch alone; with Ultralytics itself in `long`."""

import sys
import types
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from serinus.core.enums import ImportRefusal
from serinus.engine.conversion import Refused, convert
from serinus.engine.limits import Limits
from serinus.training.ultralytics_checkpoint import ALLOWED, keep, load
from tests import foreign
from tests.training.yolo import in_python

TORCH = {name: parts for name, parts in ALLOWED.items() if name.startswith("torch.")}


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(6, 4, 3), nn.BatchNorm2d(4), nn.SiLU(), nn.ModuleList([nn.Identity()])[0])


def saved(path: Path, value: Any) -> Path:
    torch.save(value, path)
    return path


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function: Any, *given: Any) -> None:
        self.function, self.given = function, given

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.given


def test_a_listed_network_comes_back_as_what_it_was(tmp_path: Path) -> None:
    net = network().eval()
    found = load(saved(tmp_path / "a.pt", {"model": net, "epoch": 3}), TORCH)
    assert [type(module) for module in found.modules()] == [type(module) for module in net.modules()]
    picture = torch.rand(1, 6, 8, 8)
    torch.testing.assert_close(found(picture), net(picture))


def test_the_average_of_the_weights_is_preferred(tmp_path: Path) -> None:
    nets = network(), network()
    found = load(saved(tmp_path / "a.pt", {"model": nets[0], "ema": nets[1]}), TORCH)
    torch.testing.assert_close(found[0].weight, nets[1][0].weight)  # type: ignore[index]


def test_a_listed_class_is_not_called(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", {"model": Call(nn.Conv2d, 6, 4, 3)})
    with torch.serialization.safe_globals([nn.Conv2d]):
        assert isinstance(torch.load(path, weights_only=True)["model"], nn.Conv2d), "torch itself would"
    with pytest.raises(UnpicklingError, match="calls Conv2d instead of restoring one"):
        load(path, TORCH)


@pytest.mark.parametrize("value", [nn.Bilinear(1, 1, 1), Call(eval, "1"), Call(print, "x"), Path("x")])
def test_what_is_not_listed_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(UnpicklingError):
        load(saved(tmp_path / "a.pt", {"model": value}), TORCH)


def test_the_list_is_given_back_afterwards(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", {"model": network()})
    load(path, TORCH)
    with pytest.raises(UnpicklingError):
        torch.load(path, weights_only=True)


def test_without_the_extra_a_checkpoint_is_refused_and_the_licence_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class DetectionModel:
        pass

    DetectionModel.__module__ = "ultralytics.nn.tasks"
    DetectionModel.__qualname__ = "DetectionModel"
    module = types.ModuleType("ultralytics.nn.tasks")
    module.DetectionModel = DetectionModel  # type: ignore[attr-defined]
    for name in ("ultralytics", "ultralytics.nn"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "ultralytics.nn.tasks", module)
    source = foreign.checkpoint(tmp_path / "in", {"model": DetectionModel()})
    (tmp_path / "scratch").mkdir()
    with pytest.raises(Refused) as error:
        convert(source, tmp_path / "scratch", Limits(), size=64)
    assert error.value.code is ImportRefusal.FOREIGN_CLASSES
    assert "Ultralytics, which is not installed" in error.value.message
    assert "AGPL-3.0" in error.value.remedy


def greedy(rows: npt.NDArray[np.float32], limit: float = 0.7) -> list[int]:
    """Plain non-maximum suppression: the definition."""
    stays: list[int] = []
    for i, (x1, y1, x2, y2, confidence, kind) in enumerate(rows):
        free = confidence > 0
        for j in stays:
            a1, b1, a2, b2, _, other = rows[j]
            common = max(0.0, min(x2, a2) - max(x1, a1)) * max(0.0, min(y2, b2) - max(y1, b1))
            union = (x2 - x1) * (y2 - y1) + (a2 - a1) * (b2 - b1) - common
            free = free and not (other == kind and common > limit * union)
        if free:
            stays.append(i)
    return stays


@pytest.mark.parametrize("seed", range(8))
def test_suppression_is_what_the_greedy_procedure_gives(seed: int) -> None:
    random = np.random.default_rng(seed)
    corner = random.uniform(0, 40 if seed % 2 else 400, (200, 2))
    rows = np.concatenate(
        [
            corner,
            corner + random.uniform(20, 40, (200, 2)),
            np.sort(random.uniform(0, 1, (200, 1)), axis=0)[::-1],
            random.integers(0, 2, (200, 1)),
        ],
        axis=1,
    ).astype(np.float32)
    rows[-20:, 4] = 0
    found = torch.from_numpy(rows)[None]
    stays = keep(found[..., :4], found[..., 5], found[..., 4])[0].numpy() * (rows[:, 4] > 0)
    assert np.flatnonzero(stays).tolist() == greedy(rows)


FAMILIES = ("yolov5n", "yolov8n", "yolov9t", "yolov10n", "yolo11n", "yolo12n", "yolo26n")


@pytest.mark.long
@pytest.mark.parametrize("channels", [6, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_of_each_family_keeps_our_contract(
    ultralytics: Path, tmp_path: Path, family: str, channels: int
) -> None:
    told = in_python(ultralytics, "convert", str(tmp_path), family, str(channels))
    assert told["classes"] == ["a", "b", "c", "d"]
    assert told["input"] == ("pre and post" if channels == 6 else "post only")
    assert told["detections"] > 10, "a comparison of nothing says nothing"
    assert told["difference"] == ""
    assert told["runs"] == [[1, 300, 6], [2, 300, 6]]


@pytest.mark.long
def test_a_checkpoint_that_calls_its_class_is_refused(ultralytics: Path, tmp_path: Path) -> None:
    told = in_python(ultralytics, "attack", str(tmp_path), "yolo11n", "6")
    assert told["executed_plainly"] is True, "the constructor evaluates text: the attack is a real one"
    assert told["executed_by_us"] is False
    assert "calls DetectionModel instead of restoring one" in told["words"]
