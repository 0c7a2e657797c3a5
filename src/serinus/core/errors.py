"""Errors that say what happened, whose fault it is and what to do next.

`serinus.api.errors` holds the one table from these types to HTTP; `serinus.cli` the one to exit codes.
"""

from enum import StrEnum


class Fault(StrEnum):
    """Whose fault an error is."""

    CALLER = "caller"
    MODEL = "model"
    OPERATOR = "operator"
    SYSTEM = "system"


class SerinusError(Exception):
    """Base of all expected errors.

    `message` says what happened, `remedy` what to do next (may be empty).
    """

    fault: Fault = Fault.SYSTEM

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class InvalidInput(SerinusError):
    """The caller's input is wrong: not an image, a bad archive, a bad value.

    `field` names the field of a form that it is about; empty where that is not one.
    """

    fault = Fault.CALLER

    def __init__(self, message: str, *, remedy: str = "", field: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.field = field


class TooLarge(InvalidInput):
    """The caller's input is over a limit; `remedy` names the setting."""


class NotFound(SerinusError):
    """No such version, data set, job, file."""

    fault = Fault.CALLER


class Conflict(SerinusError):
    """The state has moved on, or does not allow this (promote without a canary, two starts)."""

    fault = Fault.CALLER


class Forbidden(SerinusError):
    """A foreign origin or host, or a change with a token that may only look."""

    fault = Fault.CALLER


class ModelFault(SerinusError):
    """A version is broken: it does not load, raises, answers nonsense, misses its contract."""

    fault = Fault.MODEL


class Corrupt(SerinusError):
    """A stored file is not what its hash says; it is named and never used."""


class Unavailable(SerinusError):
    """Not now: a queue is full, nothing is loaded yet. `retry_after` in seconds."""

    def __init__(self, message: str, *, remedy: str = "", retry_after: float = 1.0) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after = retry_after


class Misconfigured(SerinusError):
    """A setting, port, volume or installation is wrong; the operator must act."""

    fault = Fault.OPERATOR


class Unwritable(Misconfigured):
    """A volume cannot be written (read-only, forbidden, a limit); what is there can still be read."""


class VolumeFull(Unwritable):
    """There is no space left on a volume, or the quota is used up."""


class Cancelled(SerinusError):
    """Somebody cancelled the job; nothing half-done was kept."""

    fault = Fault.CALLER
