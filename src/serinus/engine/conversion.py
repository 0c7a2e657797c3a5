"""From a foreign folder to a draft: the parent's side of the child that reads what nobody knows.

The child (`serinus.training.conversion_child`, the only one that may import torch) gets a scratch folder,
limits, and no environment of ours. It never publishes: it leaves `draft/` and an answer. What it leaves is
not trusted either: the draft's graph has its trial run before anybody is given the draft.
"""

import math
import os
import signal
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from serinus.artifact.card import write_card
from serinus.artifact.files import regular_files
from serinus.artifact.validate import read_draft
from serinus.core.enums import ImportRefusal
from serinus.core.errors import Fault, InvalidInput, ModelFault, SerinusError, Unavailable
from serinus.engine import sandbox, trial
from serinus.engine.limits import Limits

REQUEST, ANSWER, DRAFT = "request.json", "answer.json", "draft"
_CHILD = "serinus.training.conversion_child"
_LARGEST_ANSWER = 1 << 16
_LARGEST_DOCUMENT = 1 << 24
_LONGEST_WORDS = 1000
_TRIAL_SIDE = 256
_BY_HAND = "Is it a model at all? Export it to ONNX by hand, as docs/importing.md says."


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What the parent asks of the child."""

    source: str
    size: int
    """Longest side fed to the network when nothing says another, pixels."""
    described: bool
    """Whether version.json must be there."""
    memory_bytes: int
    cpu_seconds: int
    parent: int


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the child came to: a draft, a refusal (`code`), or that it cannot be done here (`code` None)."""

    made: bool = False
    note: str = ""
    code: ImportRefusal | None = None
    words: str = ""
    remedy: str = ""


class Refused(SerinusError):
    """This model is not imported; `code` says why in one word."""

    fault = Fault.CALLER

    def __init__(self, code: ImportRefusal, message: str, *, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.code = code


class CannotHere(SerinusError):
    """This installation lacks what the import needs; nothing is said about the model."""

    fault = Fault.OPERATOR


class Killed(Unavailable):
    """Somebody killed the child, or the kernel did for want of memory: perhaps the model's fault."""


class Converted(msgspec.Struct, frozen=True, kw_only=True):
    """A draft that `Store.publish` takes, in the scratch folder."""

    draft: Path
    note: str


def _never() -> bool:
    return False


def convert(
    source: Path,
    scratch: Path,
    limits: Limits,
    *,
    size: int,
    described: bool = True,
    cancelled: Callable[[], bool] = _never,
) -> Converted:
    """Makes a draft of the folder `source` in `scratch` (an empty folder) and gives it its trial run.

    Raises Refused; CannotHere (torch is not installed); Unavailable (the child did not start, or was killed);
    Cancelled.
    """
    request = Request(
        source=str(source.absolute()),
        size=size,
        described=described,
        memory_bytes=limits.memory_mb << 20,
        cpu_seconds=math.ceil(limits.seconds) + 1,
        parent=os.getpid(),
    )
    (scratch / REQUEST).write_bytes(msgspec.json.encode(request))
    ending = sandbox.run(_CHILD, scratch, seconds=limits.seconds, cancelled=cancelled)
    answer = _answer(scratch, ending, limits)
    draft = scratch / DRAFT
    _try(draft, limits)
    write_card(draft)
    return Converted(draft=draft, note=answer.note)


def _answer(scratch: Path, ending: sandbox.Ending, limits: Limits) -> Answer:
    if ending.timed_out or ending.code == -signal.SIGXCPU:
        raise _over(f"more than {limits.seconds:g} s", "IMPORT_SECONDS")
    if ending.code == -signal.SIGXFSZ:
        raise _over("files of more than 2 GB", "nothing: export a smaller model")
    if ending.code == -signal.SIGKILL:
        raise Killed("The import's process was killed from outside.", retry_after=60.0)
    path = scratch / ANSWER
    try:
        if ending.code == 0 and path.stat().st_size <= _LARGEST_ANSWER:
            return _said(_printable(msgspec.json.decode(path.read_bytes(), type=Answer)))
    except (OSError, msgspec.MsgspecError):
        pass  # it was brought down while it wrote, or by what it read: the same as no answer
    if any(sign in ending.talk for sign in sandbox.OUT_OF_MEMORY):
        raise _over(f"more than {limits.memory_mb} MB of memory", "IMPORT_MEMORY_MB")
    how = f"({ending.signal})" if ending.code < 0 else f"with code {ending.code}: {ending.talk[-200:]}"
    raise Refused(
        ImportRefusal.UNREADABLE, f"Reading it brought the import's process down {how}.", remedy=_BY_HAND
    )


def _printable(answer: Answer) -> Answer:
    """Names and notes come from files that anybody wrote: they must not steer a terminal, nor be endless."""

    def clean(text: str) -> str:
        return "".join(character for character in text if character.isprintable())[:_LONGEST_WORDS]

    return msgspec.structs.replace(
        answer, note=clean(answer.note), words=clean(answer.words), remedy=clean(answer.remedy)
    )


def _over(what: str, setting: str) -> Refused:
    return Refused(
        ImportRefusal.LIMITS,
        f"The import took {what} and was stopped.",
        remedy=f"What may be raised: {setting}.",
    )


def _said(answer: Answer) -> Answer:
    if answer.made:
        return answer
    if answer.code is None:
        raise CannotHere(answer.words, remedy=answer.remedy)
    raise Refused(answer.code, answer.words, remedy=answer.remedy)


def _try(draft: Path, limits: Limits) -> None:
    """Two noisy pictures of different shapes: what raises, hangs or answers nonsense is no version."""
    try:
        for name, path in regular_files(draft).items():
            if name.endswith(".json") and path.stat().st_size > _LARGEST_DOCUMENT:
                raise InvalidInput(f"{name} is too large.", remedy="16 MB are the most.")
        contract = read_draft(draft).contract
    except InvalidInput as error:
        raise Refused(ImportRefusal.CONTRACT, error.message, remedy=error.remedy) from error
    side = max(min(contract.size, _TRIAL_SIDE) // contract.stride, 1) * contract.stride
    random = np.random.default_rng(0)
    shapes = {(side, side), (side, max(side - contract.stride, contract.stride))}
    pictures = [
        random.integers(0, 256, (*shape, len(contract.channels)), dtype=np.uint8) for shape in sorted(shapes)
    ]
    try:
        trial.run(draft, contract, pictures, seconds=limits.trial_seconds, memory_mb=limits.trial_memory_mb)
    except ModelFault as error:
        raise Refused(
            ImportRefusal.BROKEN,
            f"In its trial run {error.message}",
            remedy="Train or export it again; docs/importing.md says what the graph must take and give.",
        ) from error
