"""A real MLflow for tests: a registry in SQLite, and its tracking server on a free loopback port.

The server is MLflow's own WSGI application with its own handlers and store. `mlflow server` wraps it in a
second application that needs pandas and more, 150 MB for nothing that a registry does.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from serinus.tracking.registry import MANNERS, PATIENCE
from tests.processes.installation import eventually, free_port

os.environ.update(MANNERS | PATIENCE | {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"})
mlflow: Any = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
pytest.importorskip("sqlalchemy", reason="the extra mlflow is not installed")


class Shop:
    """Somebody else's MLflow, with a client to fill it."""

    def __init__(self, uri: str, artifacts: str = "") -> None:
        self.uri = uri
        self.client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        self._experiment = self.client.create_experiment("roofs", artifact_location=artifacts or None)

    def register(
        self,
        model: str,
        folder: Path,
        *,
        metrics: dict[str, float] | None = None,
        params: dict[str, str] | None = None,
    ) -> str:
        """Logs `folder` as the run's artifacts and registers them; gives the version's number."""
        run = self.client.create_run(self._experiment).info.run_id
        self.client.log_artifacts(run, str(folder), "model")
        for name, value in (metrics or {}).items():
            self.client.log_metric(run, name, value)
        for name, text in (params or {}).items():
            self.client.log_param(run, name, text)
        if not any(found.name == model for found in self.client.search_registered_models()):
            self.client.create_registered_model(model)
        source = f"runs:/{run}/model"
        return str(self.client.create_model_version(model, source=source, run_id=run).version)

    def tags(self, model: str, version: str) -> dict[str, str]:
        return dict(self.client.get_model_version(model, version).tags)


def local_shop(folder: Path, empty: Path) -> Shop:
    """A registry in a SQLite file that begins as a copy of `empty`, its artifacts beside it."""
    folder.mkdir(parents=True)
    shutil.copyfile(empty, folder / "mlflow.db")
    return Shop(f"sqlite:///{folder}/mlflow.db", (folder / "artifacts").as_uri())


def empty_database(path: Path) -> Path:
    """MLflow's tables, made once: its dozens of migrations take seconds."""
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


class Server:
    """The tracking server over a folder; may be stopped and started again on the same port."""

    def __init__(self, folder: Path, empty: Path) -> None:
        folder.mkdir(parents=True)
        shutil.copyfile(empty, folder / "server.db")
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        flask = ["-m", "flask", "--app", "mlflow.server:app", "run", "--host", "127.0.0.1"]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *flask, "--port", str(self._port)],
                env={
                    **os.environ,
                    "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{self._folder}/server.db",
                    "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
                    "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(self._folder / "artifacts"),
                    "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
                },
                stdout=log,
                stderr=log,
            )
        eventually(self._answers, "the MLflow server answers", tell=(self._folder / "server.log").read_text)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.uri}/health", timeout=2, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None


@contextmanager
def running(folder: Path, empty: Path) -> Iterator[Server]:
    server = Server(folder, empty)
    try:
        server.start()
        yield server
    finally:
        server.stop()
