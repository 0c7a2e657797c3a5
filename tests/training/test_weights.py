from pathlib import Path

import msgspec
import pytest
import torch

from serinus.core.errors import InvalidInput
from serinus.data.dataset import Dataset
from serinus.training import weights
from serinus.training.network import Architecture, CompactNet
from serinus.training.run import train
from serinus.training.trainer import TrainSpec

ARCHITECTURE = Architecture(classes=("a", "b"), widths=(4, 4, 8, 8))


def _saved(folder: Path, architecture: Architecture = ARCHITECTURE) -> CompactNet:
    net = CompactNet(architecture)
    weights.save(net, folder)
    return net


def test_weights_come_back(tmp_path: Path) -> None:
    saved = _saved(tmp_path)
    loaded = CompactNet(ARCHITECTURE)
    weights.load_into(loaded, tmp_path)
    for name, value in saved.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value)


def test_a_pt_file_with_its_json_beside_it_is_a_base_too(tmp_path: Path) -> None:
    saved = _saved(tmp_path)
    (tmp_path / "best.pt").rename(tmp_path / "mine.pt")
    (tmp_path / "best.json").rename(tmp_path / "mine.json")
    loaded = CompactNet(ARCHITECTURE)
    weights.load_into(loaded, tmp_path / "mine.pt")
    torch.testing.assert_close(loaded.heat.weight, saved.heat.weight)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"widths": (4, 4, 8, 16)}, "widths"),
        ({"classes": ("a", "c")}, "classes"),
        ({"name": "other"}, "name"),
    ],
)
def test_another_architecture_is_refused_in_words(tmp_path: Path, change: dict, words: str) -> None:
    _saved(tmp_path)
    net = CompactNet(msgspec.structs.replace(ARCHITECTURE, **change))
    with pytest.raises(InvalidInput, match=f"is another network: {words} is"):
        weights.load_into(net, tmp_path)


class Mischief:
    """What `torch.load` without weights_only would run."""

    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("mischief-was-here"),))


def test_a_pickled_object_is_never_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _saved(tmp_path)
    torch.save({"heat.weight": Mischief()}, tmp_path / "best.pt")
    with pytest.raises(InvalidInput, match="no state dict of this network") as refused:
        weights.load_into(CompactNet(ARCHITECTURE), tmp_path)
    assert "Re-running" not in str(refused.value), "torch's advice is to run what is in the file"
    assert not (tmp_path / "mischief-was-here").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"not a model"])
def test_broken_weights_are_refused(tmp_path: Path, content: bytes) -> None:
    _saved(tmp_path)
    (tmp_path / "best.pt").write_bytes(content)
    with pytest.raises(InvalidInput, match="no state dict"):
        weights.load_into(CompactNet(ARCHITECTURE), tmp_path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"best\.json is missing"):
        weights.load_into(CompactNet(ARCHITECTURE), tmp_path)
    _saved(tmp_path)
    (tmp_path / "best.pt").unlink()
    with pytest.raises(InvalidInput, match=r"best\.pt is missing"):
        weights.load_into(CompactNet(ARCHITECTURE), tmp_path)


def test_training_refuses_a_base_of_another_architecture(dataset: Dataset, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    _saved(base)
    with pytest.raises(InvalidInput, match="is another network"):
        train(TrainSpec(epochs=1, base=base, img_size=64), dataset, tmp_path / "draft")
    assert list(tmp_path.iterdir()) == [base]
