"""The trainer `ultralytics`, by the checks of every trainer, in a Python that has it."""

import math
import signal
from pathlib import Path

import msgspec
import pytest

from serinus.core.errors import InvalidInput, Misconfigured
from serinus.data.dataset import Dataset
from serinus.training.discovery import choices, find
from serinus.training.run import train
from serinus.training.ultralytics_trainer import FAMILIES
from tests.training.conftest import SPEC
from tests.training.test_resume import alike
from tests.training.yolo import in_python, start


def test_its_licence_is_said_where_one_chooses(dataset: Dataset, tmp_path: Path) -> None:
    """Here Ultralytics is not installed."""
    (row,) = [one for one in choices() if one.name == "ultralytics"]
    assert row.licence == "AGPL-3.0"
    assert "AGPL-3.0" in row.summary
    assert row.problem == "ultralytics, torchvision is not installed"
    with pytest.raises(Misconfigured, match=r"AGPL-3\.0: read its terms first"):
        train(SPEC, dataset, tmp_path / "draft", trainer=find("ultralytics"))
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_family_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    spec = msgspec.structs.replace(SPEC, family="yolo99")
    with pytest.raises(InvalidInput, match="Say yolo11 or yolo26"):
        train(spec, dataset, tmp_path / "draft", trainer=find("ultralytics"))


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("family", FAMILIES)
def test_it_keeps_the_contract(ultralytics: Path, tmp_path: Path, family: str) -> None:
    told = in_python(ultralytics, "contract", str(tmp_path), family, "6")
    assert [one for one in told if one["problem"]] == []
    assert len(told) == 9


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "moment", [("training", 2, 3), ("measuring", 0, 0)], ids=["epoch 2", "after the last"]
)
def test_kill_9_and_it_goes_on_with_the_next_epoch(
    ultralytics: Path, tmp_path: Path, family: str, moment: tuple[str, int, int]
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    in_python(ultralytics, "killed", str(whole), family, "6")
    child = start(ultralytics, "killed", str(cut), family, "6")
    assert child.stdout is not None
    for line in child.stdout:
        phase, epoch, batch, *_ = line.split()
        if (phase, int(epoch), int(batch)) == moment:
            break
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert not (cut / "draft").exists()
    again = start(ultralytics, "killed", str(cut), family, "6")
    said, complained = again.communicate()
    assert again.returncode == 0, complained[-3000:]
    assert ("going on with epoch 2" if moment[1] else "all epochs were done before") in said
    assert "training 1 1" not in said, "it began anew"
    alike(whole / "draft", cut / "draft")


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("family", ["yolo11n", "yolo26n"])
def test_ultralytics_trains_from_an_export(ultralytics: Path, tmp_path: Path, family: str) -> None:
    told = in_python(ultralytics, "exported", str(tmp_path), family, "6")
    assert told["channels"] == 6
    assert told["pictures"][0] == told["pictures"][1] > 0
    assert told["buildings"][0] == told["buildings"][1] > 0
    assert told["names"]
    assert all(math.isfinite(loss) and loss > 0 for loss in told["losses"])


@pytest.mark.long
def test_only_its_own_checkpoints_are_a_base(ultralytics: Path, tmp_path: Path) -> None:
    plain, attack, missing, executed = in_python(ultralytics, "bases", str(tmp_path), "yolo11n", "6")
    assert "is no checkpoint of Ultralytics" in plain
    assert "calls DetectionModel instead of restoring one" in attack
    assert "cannot be read" in missing
    assert executed == "False"
