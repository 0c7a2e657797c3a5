"""MLflow's model registry as this room needs it: the one module that calls mlflow.

Errors are translated here: who is at fault, what to do next, and no credentials in the words.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from serinus.core.errors import Forbidden, InvalidInput, Misconfigured, NotFound, SerinusError, Unavailable
from serinus.tracking.source import Source, Wanted, check_uri, scrubbed, without_credentials

CREDENTIALS = (
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_AUTH",
    "MLFLOW_TRACKING_AWS_SIGV4",
    "MLFLOW_TRACKING_CLIENT_CERT_PATH",
)
MANNERS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""What mlflow must find in its environment when it is imported: it sends telemetry unless told not to, and
prints the server's address with the password in it.
"""
PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
"""Its own defaults try for minutes before they say that a server is down."""

_MOST_FILES = 2_000
_DEEPEST = 8
_GONE = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "ENDPOINT_NOT_FOUND")
_SHUT = ("UNAUTHENTICATED", "PERMISSION_DENIED")


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What the run that made a model version recorded."""

    metrics: dict[str, float] = {}
    params: dict[str, str] = {}
    tags: dict[str, str] = {}


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A model version as the registry has it now."""

    source: Source
    tags: dict[str, str]
    ready: bool
    artifacts: str
    """Address of its artifacts, as mlflow resolves it."""


class Registry:
    """One tracking server or store. Raises Misconfigured when the extra is not installed.

    `uri` may carry credentials; what it gives does not. The environment must have `MANNERS`.
    """

    def __init__(self, uri: str) -> None:
        check_uri(uri)
        self.uri = without_credentials(uri)
        self._uri = uri
        _check_exists(uri)
        if any(os.environ.get(name) != value for name, value in MANNERS.items()):
            raise Misconfigured(
                "MLflow would send telemetry, or print addresses.", remedy=f"Set {', '.join(MANNERS)}."
            )
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise Misconfigured(
                f"MLflow is not installed here ({error.name} is missing).",
                remedy="pip install -c constraints.txt '.[mlflow]'",
            ) from error
        with self._faults("reach it"):
            self._client: Any = MlflowClient(tracking_uri=uri, registry_uri=uri)

    def find(self, wanted: Wanted) -> Found:
        """Raises NotFound, Unavailable, Misconfigured."""
        what = f"{wanted.model}/{wanted.version or '@' + wanted.alias}"
        with self._faults(f"find {what}"):
            if wanted.latest:
                self._client.get_registered_model(wanted.model)
                newest = self._client.search_model_versions(
                    f"name={_quoted(wanted.model)}", max_results=1, order_by=["version_number DESC"]
                )
                found = newest[0] if newest else None
            elif wanted.alias:
                model = self._client.get_registered_model(wanted.model)
                number = model.aliases.get(wanted.alias)
                found = self._client.get_model_version(wanted.model, number) if number else None
            else:
                found = self._client.get_model_version(wanted.model, wanted.version)
            if found is None:
                raise NotFound(
                    f"There is no {what} at {self.uri}.", remedy="Its page in MLflow lists what there is."
                )
            artifacts = self._client.get_model_version_download_uri(wanted.model, str(found.version))
        return Found(
            source=Source(
                tracking_uri=self.uri,
                model=wanted.model,
                version=str(found.version),
                run_id=found.run_id or "",
                source=without_credentials(found.source or ""),
                created=int(found.creation_timestamp or 0),
            ),
            tags=dict(found.tags or {}),
            ready=found.status == "READY",
            artifacts=artifacts,
        )

    def again(self, source: Source) -> Found:
        """The model version that was imported. Raises NotFound when another one has its number now."""
        found = self.find(Wanted(source.model, version=source.version))
        now = found.source
        if (now.run_id, now.created) != (source.run_id, source.created):
            raise NotFound(
                f"{source.model}/{source.version} at {self.uri} is not the one that was imported: "
                "another run made it.",
                remedy="Is MLFLOW_TRACKING_URI the right server?",
            )
        return found

    def run(self, run_id: str) -> Run:
        """What the run recorded; nothing when there is no such run (any more)."""
        if not run_id:
            return Run()
        try:
            with self._faults(f"read run {run_id}"):
                data = self._client.get_run(run_id).data
        except NotFound:
            return Run()
        return Run(metrics=dict(data.metrics), params=dict(data.params), tags=dict(data.tags))

    def files(self, found: Found) -> dict[str, int]:
        """Path below the artifacts' address -> declared size in bytes. Raises InvalidInput for too many."""
        files: dict[str, int] = {}
        with self._faults("list the artifacts"):
            folders = [("", 0)]
            while folders:
                folder, depth = folders.pop()
                for entry in self._artifacts(found).list_artifacts(folder or None):
                    if entry.is_dir and depth < _DEEPEST:
                        folders.append((entry.path, depth + 1))
                    elif not entry.is_dir:
                        files[entry.path] = int(entry.file_size or 0)
                    if len(files) + len(folders) > _MOST_FILES:
                        raise InvalidInput(
                            f"The model has more than {_MOST_FILES} artifacts.",
                            remedy="Log the model into a folder of its own.",
                        )
        return files

    def fetch(self, found: Found, path: str, folder: Path) -> None:
        """Copies one artifact to `folder`/`path`."""
        with self._faults(f"download {path}"):
            self._artifacts(found).download_artifacts(path, str(folder))

    def tag(self, source: Source, name: str, value: str) -> None:
        with self._faults(f"tag {source.model}/{source.version}"):
            self._client.set_model_version_tag(source.model, source.version, name, value)

    def untag(self, source: Source, name: str) -> None:
        with self._faults(f"tag {source.model}/{source.version}"):
            self._client.delete_model_version_tag(source.model, source.version, name)

    def alias(self, model: str, name: str) -> str:
        """The version that the alias means; empty when there is no such alias."""
        with self._faults(f"read the aliases of {model}"):
            return str(self._client.get_registered_model(model).aliases.get(name, ""))

    def set_alias(self, model: str, name: str, version: str) -> None:
        """An empty `version` takes the alias away."""
        with self._faults(f"set the alias {name} of {model}"):
            if version:
                self._client.set_registered_model_alias(model, name, version)
            else:
                self._client.delete_registered_model_alias(model, name)

    def _artifacts(self, found: Found) -> Any:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return get_artifact_repository(found.artifacts, tracking_uri=self._uri, registry_uri=self._uri)

    @contextmanager
    def _faults(self, doing: str) -> Iterator[None]:
        try:
            yield
        except SerinusError:
            raise
        except ImportError as error:
            raise Misconfigured(
                f"To {doing}, MLflow needs {error.name}, which is not installed.",
                remedy=f"pip install {error.name}",
            ) from error
        except Exception as error:  # mlflow's own, requests', SQLAlchemy's: they share no base class
            raise self._translated(error, doing) from error

    def _translated(self, error: Exception, doing: str) -> SerinusError:
        words = scrubbed(" ".join(str(error).split()))[:400]
        code = getattr(error, "error_code", "")
        status = getattr(error, "get_http_status_code", int)()
        if code in _GONE:
            return NotFound(f"Could not {doing} at {self.uri}: {words}", remedy="Check the name and number.")
        if code in _SHUT or status in (401, 403):
            return Forbidden(
                f"{self.uri} does not let us {doing}: {words}",
                remedy="Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.",
            )
        return Unavailable(
            f"Could not {doing} at {self.uri}: {words}",
            remedy="Is the server up, and the address right?",
            retry_after=30.0,
        )


def _quoted(name: str) -> str:
    return "'" + name.replace("'", "") + "'"


def _check_exists(uri: str) -> None:
    """A mistyped path would be made anew as an empty store."""
    scheme, _, place = without_credentials(uri).partition(":///")
    if scheme in ("sqlite", "file"):
        path = Path(place if scheme == "sqlite" else urlsplit(uri).path)
        if not path.exists():
            raise NotFound(f"{path} does not exist.", remedy="Check the tracking URI.")
