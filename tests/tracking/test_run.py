"""Trainings told to a real MLflow."""

import logging
from pathlib import Path
from typing import Any

import pytest

from serinus.bootstrap.settings import Settings, load
from serinus.bootstrap.training import Wish, import_archive, train_and_publish
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
    import_archive(settings, folder / "a.zip", confirm=False, seed=0, job=None, progress=lambda *_: None)
    return settings


def _train(settings: Settings, move: Any = lambda *_: None) -> Any:
    return train_and_publish(
        settings, Wish(base="none", seed=5), data="newest", upload=None, job=None, progress=move
    )


def test_settings_epochs_and_the_version_stand_in_the_run(shop: Shop, tmp_path: Path) -> None:
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
        run = TrackedRun(server.uri, "serinus", "one", {"seed": 1})
        run.row(1, {"loss": 2.0})
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
        TrackedRun("ftp://somewhere", "serinus", "one", {})
