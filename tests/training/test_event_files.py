from pathlib import Path

import pytest

from serinus.core.errors import InvalidInput
from serinus.training.event_files import EventFiles
from serinus.training.trainer import EpochRow


def _row(epoch: int) -> EpochRow:
    parts = {"class_loss": 0.5 / epoch}
    return EpochRow(
        epoch=epoch, seconds=1.0 * epoch, loss=2.0 / epoch, parts=parts, map50=0.3, precision=0.2, recall=0.1
    )


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    loader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="the extra tensorboard is not installed",
    )
    files = EventFiles(tmp_path / "run")
    files.row(_row(1))
    files.row(_row(2))
    files.close()
    found = loader.EventAccumulator(str(tmp_path / "run"))
    found.Reload()
    assert set(found.Tags()["scalars"]) == {"seconds", "loss", "class_loss", "map50", "precision", "recall"}
    assert [(event.step, event.value) for event in found.Scalars("loss")] == [(1, 2.0), (2, 1.0)]


def test_without_the_package_it_is_said(tmp_path: Path) -> None:
    try:
        import tensorboard
    except ImportError:
        with pytest.raises(InvalidInput, match=r"serinus\[tensorboard\]"):
            EventFiles(tmp_path / "run")
        assert not (tmp_path / "run").exists()
    else:
        pytest.skip(f"tensorboard {tensorboard.__version__} is installed")
