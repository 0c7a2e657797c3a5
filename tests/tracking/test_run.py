"""Trainings told to a real MLflow."""

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from serinus.bootstrap import edge
from serinus.bootstrap.datasets import prepare
from serinus.bootstrap.settings import Settings, load
from serinus.bootstrap.training import Wish, train_and_publish
from serinus.core.errors import Cancelled, InvalidInput
from serinus.data.synth.write import write_zip
from serinus.tracking.run import RunStatus, TrackedRun
from tests.tracking.shop import Shop, free_port, running


def _runs(shop: Shop) -> list[Any]:
    found = shop.client.get_experiment_by_name("serinus")
    return list(shop.client.search_runs([found.experiment_id]))


def _settings(folder: Path, uri: str) -> Settings:
    settings = load(
        model_dir=folder / "models",
        data_dir=folder / "data",
        mlflow_tracking_uri=uri,
        epochs=2,
        batch=4,
        img_size=64,
        train_threads=1,
    )
    write_zip(folder / "a.zip", "synth-hurricane", 14, 128, 1)
    prepare(settings, str(folder / "a.zip"), job=None, progress=lambda *_: None)
    return settings


def _train(settings: Settings, move: Any = lambda *_: None, base: str = "none") -> Any:
    return train_and_publish(
        settings, Wish(base=base, seed=5), data="newest", upload=None, job=None, progress=move
    )


def _run(uri: str, folder: Path) -> TrackedRun:
    return TrackedRun(uri, "serinus", "one", {"seed": 1}, artifacts=folder / "mlruns", clock=edge.now)


def test_settings_epochs_and_the_version_stand_in_the_run(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    settings = _settings(tmp_path, shop.uri)
    published = _train(settings)
    (run,) = _runs(shop)
    assert run.info.status == "FINISHED"
    assert run.data.params["seed"] == "5"
    assert run.data.params["trainer"] == "compact"
    assert run.data.params["dataset"] == published.dataset
    assert run.data.tags["serinus.version"] == str(published.version)
    assert len(run.data.tags["serinus.sha256"]) == 64
    history = shop.client.get_metric_history(run.info.run_id, "class_loss")
    assert [point.step for point in history] == [1, 2]
    assert run.data.metrics["final/map50"] == pytest.approx(published.metrics["map50"])
    names = [file.path for file in shop.client.list_artifacts(run.info.run_id)]
    assert {"MODEL_CARD.md", "results.csv", "loss.png"} <= set(names)
    assert (settings.data_dir / "mlruns").as_uri() in run.info.artifact_uri
    assert list(elsewhere.iterdir()) == [], "MLflow's own choice is the working directory"


def test_a_training_that_starts_from_a_version_says_so(shop: Shop, tmp_path: Path) -> None:
    _train(_settings(tmp_path, shop.uri), base="current")
    (run,) = _runs(shop)
    assert run.info.status == "FINISHED"
    assert len(run.data.params["base"]) == 64, "the digest of the version"
    assert (run.data.params["size"], run.data.params["precision"]) == ("n", "auto")


def test_a_cancelled_training_is_a_killed_run(shop: Shop, tmp_path: Path) -> None:
    def cancel(done: float, total: float, words: str) -> None:
        if words.startswith("epoch 2"):
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, Cancelled)):
        _train(_settings(tmp_path, shop.uri), cancel)
    (run,) = _runs(shop)
    assert run.info.status == "KILLED"
    assert "serinus.version" not in run.data.tags


def test_a_server_that_is_away_ends_the_telling_not_the_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = _settings(tmp_path, f"http://user:secret@127.0.0.1:{free_port()}")
    with caplog.at_level(logging.WARNING):
        assert _train(settings).version == 2
    told = [record.getMessage() for record in caplog.records if "is told no more" in record.getMessage()]
    assert len(told) == 1
    assert "secret" not in caplog.text


def test_a_server_that_goes_away_in_the_middle(tmp_path: Path, empty: Path) -> None:
    with running(tmp_path / "server", empty) as server:
        run = _run(server.uri.replace("//", "//alice:s3cret@"), tmp_path)
        run.row(1, {"loss": 2.0, "map50": 0.5})
        assert run.told
        shop = Shop(server.uri)
        (begun,) = _runs(shop)
        assert [p.step for p in shop.client.get_metric_history(begun.info.run_id, "loss")] == [1]
        server.stop()
        run.row(2, {"loss": 1.0})
        assert not run.told
        run.end(RunStatus.FINISHED)


def test_an_address_that_is_none_is_refused_before_the_training(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        _run("ftp://somewhere", tmp_path)


def test_what_it_prints_holds_no_password(
    tmp_path: Path, empty: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The job's log is shown to everybody who may look."""
    with running(tmp_path / "server", empty) as server:
        run = _run(server.uri.replace("//", "//alice:s3cret@"), tmp_path)
        run.end(RunStatus.FINISHED)
        assert run.told
    said = capfd.readouterr()
    assert "s3cret" not in said.out + said.err


def test_a_broken_mlflow_ends_the_telling_not_the_training(tmp_path: Path) -> None:
    """One that is there and cannot be imported."""
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "__init__.py").write_text("raise RuntimeError('protobuf of another century')")
    words = (
        "import logging; logging.basicConfig()\n"
        "from pathlib import Path\n"
        "from serinus.tracking.run import TrackedRun\n"
        "run = TrackedRun('http://127.0.0.1:1', 'e', 'n', {}, artifacts=Path('x'), clock=lambda: 0.0)\n"
        "run.row(1, {'loss': 1.0})\n"
        "print(run.told)"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{words}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"
    assert done.stderr.count("protobuf of another century") == 1
