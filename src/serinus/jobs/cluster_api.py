"""The calls that Serinus makes to the Kubernetes API, all of them, and what its refusals mean.

`VERBS` is the single source of what a ServiceAccount has to be allowed.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, cast

import httpx2
import msgspec
from lightkube import ApiError, Client, ConfigError, KubeConfig
from lightkube.resources.batch_v1 import Job
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import Event
from lightkube.resources.core_v1 import Pod as PodResource
from lightkube.types import CascadeType

from serinus.core.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    Misconfigured,
    NotFound,
    SerinusError,
    Unavailable,
)
from serinus.jobs.manifest import MANAGED, Document
from serinus.jobs.seen import ClusterJob, Happening, Pod, without_nulls

Process = Literal["ui", "controller"]
VERBS: Mapping[Process, Mapping[tuple[str, str], tuple[str, ...]]] = {
    "ui": {
        ("batch", "jobs"): ("get", "list", "create", "delete"),
        ("", "pods"): ("list",),
        ("", "pods/log"): ("get",),
        ("", "events"): ("list",),
    },
    "controller": {("coordination.k8s.io", "leases"): ("get", "create", "update")},
}
"""Process -> (API group, resource) -> verbs. What a Role must allow, and no more."""

_TIMEOUT_SECONDS = 5.0
_ALLOWED = "docs/replicas.md lists what its ServiceAccount must be allowed."
_T = TypeVar("_T")


class ClusterApi:
    """One namespace of a cluster. Each call gives up after seconds and raises a SerinusError:

    Forbidden when a permission is missing, OverQuota when a quota is full, NotFound, Conflict (it is there,
    or somebody else changed it), InvalidInput when a document is refused, Unavailable when the server does
    not answer.
    """

    def __init__(self, config: KubeConfig | None = None, namespace: str | None = None) -> None:
        """`config`: as the process is placed when None (service account, KUBECONFIG, ~/.kube/config). Raises
        Misconfigured when there is none.
        """
        timeout = httpx2.Timeout(_TIMEOUT_SECONDS)
        try:
            self._client = Client(config=config, namespace=namespace, timeout=timeout)
        except (ConfigError, OSError, ValueError, KeyError) as error:
            raise Misconfigured(
                f"There is no cluster to be asked: {error}.",
                remedy="Inside one give the pod a ServiceAccount; outside let KUBECONFIG name a file.",
            ) from error

    # -- jobs ------------------------------------------------------------------------------------------------

    def job(self, name: str) -> ClusterJob | None:
        """None when there is none of that name."""
        try:
            return _ask(lambda: _convert(self._client.get(Job, name), ClusterJob))
        except NotFound:
            return None

    def jobs(self) -> list[ClusterJob]:
        """Those that Serinus made."""
        return _ask(
            lambda: [_convert(each, ClusterJob) for each in self._client.list(Job, labels=dict(MANAGED))]
        )

    def create_job(self, manifest: Document) -> ClusterJob:
        try:
            wanted = cast("Job", Job.from_dict(manifest))
        except msgspec.ValidationError as error:
            raise InvalidInput(f"The job template is no Job: {error}.", remedy="Mend it.") from error
        return _ask(lambda: _convert(self._client.create(wanted), ClusterJob))

    def delete_job(self, job: ClusterJob) -> None:
        """Deletes this very Job and its pods, and never another one of its name; one that is gone is fine."""
        try:
            _ask(lambda: self._delete(job))
        except (NotFound, Conflict):
            return

    def _delete(self, job: ClusterJob) -> None:
        # The client's own `delete` cannot say which one of that name is meant.
        generic = self._client._client
        request = generic.prepare_request("delete", res=Job, name=job.metadata.name)
        # All in the body: with one, a server passes over what the address says, and by itself it leaves the
        # pods of a Job running.
        request.data = {
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "propagationPolicy": CascadeType.BACKGROUND.value,
            "preconditions": {"uid": job.metadata.uid},
        }
        generic.raise_for_status(  # type: ignore[no-untyped-call]
            generic.send(generic.build_adapter_request(request))
        )

    def pods(self) -> list[Pod]:
        """Those of Jobs that Serinus made, the oldest first."""
        found = _ask(
            lambda: [_convert(each, Pod) for each in self._client.list(PodResource, labels=dict(MANAGED))]
        )
        return sorted(
            found, key=lambda pod: (pod.metadata.creation_timestamp, not pod.over, pod.metadata.name)
        )

    def events(self, uid: str) -> list[Happening]:
        """What was told of one object, the oldest first."""
        listed = _ask(
            lambda: [
                without_nulls(each.to_dict())
                for each in self._client.list(Event, fields={"involvedObject.uid": uid})
            ]
        )
        listed.sort(key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
        return [msgspec.convert(event, Happening) for event in listed]

    def log(self, pod: str, since_seconds: int | None) -> list[str]:
        """Lines that a pod printed, each behind its time (RFC 3339): all, or of the last seconds."""
        return _ask(lambda: list(self._client.log(pod, since=since_seconds, timestamps=True, newlines=False)))

    # -- the lease -------------------------------------------------------------------------------------------

    def lease(self, name: str) -> Document | None:
        try:
            return _ask(lambda: dict(without_nulls(self._client.get(Lease, name).to_dict())))
        except NotFound:
            return None

    def create_lease(self, document: Document) -> None:
        """Raises Conflict when somebody else made it."""
        _ask(lambda: self._client.create(cast("Lease", Lease.from_dict(document))))

    def update_lease(self, document: Document) -> None:
        """Raises Conflict when it is not as it was read any more."""
        _ask(lambda: self._client.replace(cast("Lease", Lease.from_dict(document))))


class OverQuota(Forbidden):
    """The namespace's quota is used up."""


def _convert(found: Any, kind: type[_T]) -> _T:
    return msgspec.convert(without_nulls(found.to_dict()), kind)


def _ask(call: Callable[[], _T]) -> _T:
    try:
        return call()
    except ApiError as error:
        raise _refused(error) from error
    except httpx2.HTTPStatusError as error:
        raise _by_status(error.response.status_code, str(error)) from error
    except (msgspec.MsgspecError, KeyError, ValueError) as error:  # also a proxy's own answer
        raise Unavailable(f"What the Kubernetes API answers is not understood: {error}.") from error
    except ConfigError as error:  # the account's token is not there
        raise Unavailable(f"The Kubernetes API cannot be asked: {error}.") from error
    except (httpx2.HTTPError, OSError) as error:
        raise Unavailable(f"The Kubernetes API does not answer ({type(error).__name__}: {error}).") from error


def _refused(error: ApiError) -> SerinusError:
    message = error.status.message or error.status.reason or "no reason given"
    return _by_status(error.status.code or error.response.status_code, message)


def _by_status(code: int, message: str) -> SerinusError:
    match code:
        case 401 | 403 if "exceeded quota" in message:
            return OverQuota(
                f"The namespace's quota is used up: {message}.", remedy="Raise it, or free some."
            )
        case 401 | 403:
            return Forbidden(f"Kubernetes forbids it: {message}.", remedy=_ALLOWED)
        case 404:
            return NotFound(f"Kubernetes has no such thing: {message}.")
        case 409:
            return Conflict(f"Kubernetes says that it has changed: {message}.")
        case 400 | 422:
            return InvalidInput(f"Kubernetes refuses the job: {message}.", remedy="Mend the job template.")
        case _:
            return Unavailable(f"The Kubernetes API cannot do it now ({code}): {message}.")
