"""The trainer `ultralytics`, by the checks of every trainer, in a Python that has it."""

from pathlib import Path

import msgspec
import pytest

from serinus.core.errors import InvalidInput, Misconfigured
from serinus.data.dataset import Dataset
from serinus.training.discovery import choices, find
from serinus.training.run import train
from serinus.training.ultralytics_trainer import FAMILIES
from tests.training.conftest import SPEC
from tests.training.yolo import in_python


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
def test_only_its_own_checkpoints_are_a_base(ultralytics: Path, tmp_path: Path) -> None:
    plain, attack, missing, executed = in_python(ultralytics, "bases", str(tmp_path), "yolo11n", "6")
    assert "is no checkpoint of Ultralytics" in plain
    assert "calls DetectionModel instead of restoring one" in attack
    assert "cannot be read" in missing
    assert executed == "False"
