"""A training told to MLflow as a run: settings, a row after each epoch, and what became of it.

A server that is away, and a library that is broken, end the telling, never the training.
"""

import logging
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from serinus.core.ids import Clock
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

    def __init__(
        self,
        uri: str,
        experiment: str,
        name: str,
        params: Mapping[str, object],
        *,
        artifacts: Path,
        clock: Clock,
    ) -> None:
        """`artifacts`: where the files of runs go when `uri` is a database, which keeps none.

        Raises InvalidInput for an address that is none.
        """
        check_uri(uri)
        self._uri = uri
        self._artifacts = artifacts
        self._clock = clock
        self._client: Any = None
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
        self._metrics(values, epoch)

    def published(self, version: int, digest: str, metrics: Mapping[str, float], files: list[Path]) -> None:
        """The version that came of it: its number and digest as tags, its figures, and some of its files."""
        self._try("set_tag", "serinus.version", str(version))
        self._try("set_tag", "serinus.sha256", digest)
        self._metrics({f"final/{name}": value for name, value in metrics.items()})
        for path in files:
            self._try("log_artifact", str(path))

    def end(self, status: RunStatus) -> None:
        self._try("set_terminated", status.value)

    def _begin(self, experiment: str, name: str, params: Mapping[str, object]) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)
        found = self._client.get_experiment_by_name(experiment)
        number = found.experiment_id if found else self._client.create_experiment(experiment, self._place())
        self._run = self._client.create_run(number, run_name=name).info.run_id
        told = [Param(key, str(value)[:_LONGEST]) for key, value in params.items()]
        self._client.log_batch(self._run, params=told)

    def _place(self) -> str | None:
        """Address of a new experiment's files. A server and a folder know one; with a database MLflow's own
        choice is the working directory of whoever trains.
        """
        scheme = urlsplit(self._uri).scheme.partition("+")[0]
        return None if scheme in ("http", "https", "file") else self._artifacts.absolute().as_uri()

    def _metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """In one call: a slow server is waited for once an epoch, not for every figure."""
        if self._client is None:
            return
        from mlflow.entities import Metric

        now = int(self._clock() * 1000)
        self._try("log_batch", metrics=[Metric(name, value, now, step) for name, value in values.items()])

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
