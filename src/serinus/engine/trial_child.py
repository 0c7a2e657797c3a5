"""The child of a trial run: limits itself, then runs the model. Its current folder is the scratch folder.

Started by `serinus.engine.trial` as `python -m serinus.engine.trial_child`; of no use by hand.
"""

import sys
from pathlib import Path

import msgspec
import numpy as np

from serinus.core.enums import FailureKind
from serinus.core.errors import InvalidInput, ModelFault
from serinus.engine import sandbox
from serinus.engine.output import InvalidOutput
from serinus.engine.session import Model
from serinus.engine.trial import ANSWER, FOUND, PICTURES, REQUEST, Answer, Request

_FILE_BYTES = 1 << 30


def main() -> int:
    request = msgspec.json.decode(Path(REQUEST).read_bytes(), type=Request)
    sandbox.die_with(request.parent)
    sandbox.confine(
        memory_bytes=request.memory_bytes, cpu_seconds=request.cpu_seconds, file_bytes=_FILE_BYTES
    )
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
    if any(sign in message for sign in sandbox.OUT_OF_MEMORY):
        megabytes = request.memory_bytes >> 20
        return Answer(failed=f"the model needs more than its {megabytes} MB of memory: {message}")
    return Answer(failed=message)


if __name__ == "__main__":
    sys.exit(main())
