"""A training told to MLflow as a run: settings, a row after each epoch, and what became of it.

A server that is away ends the telling, never the training.
"""

import logging
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from serinus.tracking.source import check_uri, scrubbed, without_credentials

log = logging.getLogger(__name__)

_LONGEST = 500
"""Characters of a parameter's value; servers refuse longer ones."""


class RunStatus(StrEnum):
    """How a run ended, in MLflow's words."""

    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"


class TrackedRun:
    """One run. Its calls raise nothing for what the server does: the first failure is logged, and the end."""

    def __init__(self, uri: str, experiment: str, name: str, params: Mapping[str, object]) -> None:
        """Raises InvalidInput for an address that is none, and ImportError where mlflow is not installed."""
        import mlflow

        check_uri(uri)
        self._uri = uri
        self._client: Any = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        self._run = ""
        try:
            self._begin(experiment, name, params)
        except Exception as error:  # noqa: BLE001 -- see `_lost`
            self._lost(error)

    @property
    def told(self) -> bool:
        """Whether the server still takes what it is told."""
        return self._client is not None

    def row(self, epoch: int, values: Mapping[str, float]) -> None:
        """Metrics after an epoch."""
        for name, value in values.items():
            self._try("log_metric", name, value, step=epoch)

    def published(self, version: int, digest: str, metrics: Mapping[str, float], files: list[Path]) -> None:
        """The version that came of it: its number and digest as tags, its figures, and some of its files."""
        self._try("set_tag", "serinus.version", str(version))
        self._try("set_tag", "serinus.sha256", digest)
        for name, value in metrics.items():
            self._try("log_metric", f"final/{name}", value)
        for path in files:
            self._try("log_artifact", str(path))

    def end(self, status: RunStatus) -> None:
        self._try("set_terminated", status.value)

    def _begin(self, experiment: str, name: str, params: Mapping[str, object]) -> None:
        found = self._client.get_experiment_by_name(experiment)
        number = found.experiment_id if found else self._client.create_experiment(experiment)
        self._run = self._client.create_run(number, run_name=name).info.run_id
        for key, value in params.items():
            self._client.log_param(self._run, key, str(value)[:_LONGEST])

    def _try(self, what: str, *given: object, **named: object) -> None:
        if self._client is None:
            return
        try:
            getattr(self._client, what)(self._run, *given, **named)
        except Exception as error:  # noqa: BLE001 -- see `_lost`
            self._lost(error)

    def _lost(self, error: Exception) -> None:
        """Whatever mlflow, its stores and drivers raise: a training of hours must not end by it."""
        self._client = None
        words = scrubbed(" ".join(str(error).split()))[:300]
        log.warning(
            "MLflow at %s is told no more of this training: %s", without_credentials(self._uri), words
        )
