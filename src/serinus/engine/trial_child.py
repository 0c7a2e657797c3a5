"""The child of a trial run: limits itself, then runs the model. Its current folder is the scratch folder.

Started by `serinus.engine.trial` as `python -m serinus.engine.trial_child`; of no use by hand.
"""

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

import msgspec
import numpy as np

from serinus.core.enums import FailureKind
from serinus.core.errors import InvalidInput, ModelFault
from serinus.engine.output import InvalidOutput
from serinus.engine.session import Model
from serinus.engine.trial import ANSWER, FOUND, PICTURES, REQUEST, STARTED, Answer, Request

_PR_SET_PDEATHSIG = 1
_FILE_BYTES = 1 << 30
_CPU_GRACE = 5
_OUT_OF_MEMORY = ("Failed to allocate memory", "bad_alloc", "bad allocation", "MemoryError")


def main() -> int:
    request = msgspec.json.decode(Path(REQUEST).read_bytes(), type=Request)
    _die_with_parent(request.parent)
    _limit(request)
    Path(STARTED).touch()
    try:
        answer = Answer(shapes=_infer_all(request))
    except InvalidOutput as error:
        answer = Answer(failed=error.message, kind=FailureKind.INVALID_OUTPUT)
    except ModelFault as error:
        answer = _failure(error.message, request)
    except InvalidInput as error:
        answer = Answer(failed=f"the pictures do not fit the contract: {error.message}")
    except MemoryError as error:
        answer = _failure(f"MemoryError {error}", request)
    Path(ANSWER).write_bytes(msgspec.json.encode(answer))
    return 0


def _die_with_parent(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        sys.exit(1)


def _limit(request: Request) -> None:
    """What the process has mapped by now is Python's and the runtime's; the model gets its share on top."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    space = pages * resource.getpagesize() + request.memory_bytes
    for kind, value in (
        (resource.RLIMIT_AS, space),
        (resource.RLIMIT_FSIZE, _FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        _, hard = resource.getrlimit(kind)
        ceiling = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (ceiling, ceiling))
    # Apart, so that SIGXCPU tells the parent why; SIGKILL follows for who ignores it.
    resource.setrlimit(resource.RLIMIT_CPU, (request.cpu_seconds, request.cpu_seconds + _CPU_GRACE))


def _infer_all(request: Request) -> tuple[tuple[int, int, int], ...]:
    model = Model.load(Path(request.model), request.contract, threads=request.threads)
    shapes = []
    with Path(PICTURES).open("rb") as pictures, Path(FOUND).open("wb") as out:
        for shape in request.shapes:
            image = np.fromfile(pictures, dtype=np.uint8, count=int(np.prod(shape))).reshape(shape)
            found = model.infer(image)
            n, k, columns = found.shape
            shapes.append((n, k, columns))
            out.write(np.ascontiguousarray(found).data)
    return tuple(shapes)


def _failure(message: str, request: Request) -> Answer:
    if any(sign in message for sign in _OUT_OF_MEMORY):
        megabytes = request.memory_bytes >> 20
        return Answer(failed=f"the model needs more than its {megabytes} MB of memory: {message}")
    return Answer(failed=message)


if __name__ == "__main__":
    sys.exit(main())
