"""What the cluster says about a job, read from the documents of its API: only the fields that count here."""

from typing import Any

import msgspec


class _Seen(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Fields that are null or missing have their defaults; unknown ones are passed over."""


class Owner(_Seen, frozen=True, kw_only=True):
    uid: str = ""


class Meta(_Seen, frozen=True, kw_only=True):
    name: str = ""
    uid: str = ""
    labels: dict[str, str] = {}
    owner_references: tuple[Owner, ...] = ()
    creation_timestamp: str = ""


class Condition(_Seen, frozen=True, kw_only=True):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""

    @property
    def holds(self) -> bool:
        return self.status == "True"


class JobStatus(_Seen, frozen=True, kw_only=True):
    conditions: tuple[Condition, ...] = ()


class ClusterJob(_Seen, frozen=True, kw_only=True):
    """A Job of batch/v1."""

    metadata: Meta = Meta()
    status: JobStatus = JobStatus()

    @property
    def over(self) -> bool:
        """Whether nothing of it will run any more."""
        return any(each.type in ("Complete", "Failed") and each.holds for each in self.status.conditions)


class Waiting(_Seen, frozen=True, kw_only=True):
    reason: str = ""
    message: str = ""


class Terminated(_Seen, frozen=True, kw_only=True):
    reason: str = ""
    message: str = ""
    exit_code: int = 0
    signal: int = 0


class ContainerState(_Seen, frozen=True, kw_only=True):
    waiting: Waiting | None = None
    terminated: Terminated | None = None


class ContainerStatus(_Seen, frozen=True, kw_only=True):
    state: ContainerState = ContainerState()


class PodStatus(_Seen, frozen=True, kw_only=True):
    phase: str = ""
    reason: str = ""
    message: str = ""
    conditions: tuple[Condition, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()


class Pod(_Seen, frozen=True, kw_only=True):
    metadata: Meta = Meta()
    status: PodStatus = PodStatus()

    @property
    def over(self) -> bool:
        return self.status.phase in ("Succeeded", "Failed")


class Happening(_Seen, frozen=True, kw_only=True):
    """An Event."""

    type: str = ""
    reason: str = ""
    message: str = ""


def without_nulls(document: Any) -> Any:
    """The same; what is null is left out, as if it had not been said."""
    if isinstance(document, dict):
        return {key: without_nulls(value) for key, value in document.items() if value is not None}
    if isinstance(document, list):
        return [without_nulls(value) for value in document]
    return document
