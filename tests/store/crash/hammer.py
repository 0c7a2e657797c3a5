"""Many threads at once under the shim: what it counts and writes down must not depend on luck.

python -m tests.store.crash.hammer FOLDER     under LD_PRELOAD of the shim; prints JSON
"""

import contextlib
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from tests.store.crash.shim import MODES, Shim

_THREADS, _ROUNDS, _TRIES = 8, 500, 5
_CALLS = _THREADS * _ROUNDS * 4


class Seen(msgspec.Struct):
    calls: int
    """What the threads asked for."""
    refused: list[int]
    """How many of them failed when told to fail at the last one, some times, and once at one later."""
    recorded: list[str]
    """The lines of the record."""


def _work(folder: Path, thread: int) -> int:
    """Creates, writes, closes and removes files; gives how many calls were refused."""
    refused = 0

    def ask(call: Callable[[], object]) -> None:
        nonlocal refused
        try:
            call()
        except OSError:
            refused += 1

    for n in range(_ROUNDS):
        path = folder / f"{thread}-{n}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
        ask(lambda: os.write(descriptor, b"ab"))  # noqa: B023 - called at once
        ask(lambda: os.close(descriptor))  # noqa: B023
        ask(path.unlink)
    return refused


def _all(folder: Path) -> int:
    with ThreadPoolExecutor(_THREADS) as pool:
        return sum(pool.map(lambda thread: _work(folder, thread), range(_THREADS)))


def main(folder: Path) -> None:
    shim, watched, record = Shim(), folder / "watched", folder / "record"
    watched.mkdir()
    refused = []
    for n in (*[_CALLS] * _TRIES, _CALLS + 1):
        shim.arm(watched, MODES["EIO"], n)
        refused.append(_all(watched))
        shim.off()
    with contextlib.closing(os.fdopen(os.open(record, os.O_WRONLY | os.O_CREAT), "wb")) as file:
        shim.record(watched, file.fileno())
        _all(watched)
    sys.stdout.write(msgspec.json.encode(Seen(_CALLS, refused, record.read_text().splitlines())).decode())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
