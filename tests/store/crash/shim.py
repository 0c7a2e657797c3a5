"""The C library between the store and the kernel: built when a test needs it, and spoken to from inside."""

import ctypes
import errno
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).with_name("shim.c")
REPOSITORY = Path(__file__).parents[3]

_KILL, _TORN, _REFUSE, _LOSE = 1, 2, 3, 4
_READ, _CHANGE, _SPACE, _ENTRY, _BYTES = 1, 2, 4, 8, 16


class Mode(NamedTuple):
    """What happens at the n-th call of some kinds."""

    action: int
    kinds: int
    onward: bool = False
    """At every later call of these kinds too."""
    error: int = 0

    @property
    def kills(self) -> bool:
        return self.action in (_KILL, _TORN)

    @property
    def keeps_its_promise_of_space(self) -> bool:
        """Errors after which the store says that nothing half-written was kept."""
        return self.action == _REFUSE and self.error == errno.ENOSPC


MODES: Mapping[str, Mode] = {
    "kill": Mode(_KILL, _CHANGE),
    "torn write": Mode(_TORN, _BYTES),
    "ENOSPC once": Mode(_REFUSE, _SPACE, error=errno.ENOSPC),
    "full disk": Mode(_REFUSE, _SPACE, onward=True, error=errno.ENOSPC),
    "EIO": Mode(_REFUSE, _READ | _CHANGE, error=errno.EIO),
    "lost answer": Mode(_LOSE, _CHANGE, error=errno.EIO),
    "call twice": Mode(_LOSE, _ENTRY),
}
"""`lost answer`: it was done and an error is given. `call twice`: it was done and is answered as NFS
answers a call that it got again (EEXIST, ENOENT)."""
UNCUT = Mode(_REFUSE, 0)
"""Lets everything happen."""


def build(folder: Path) -> Path:
    library = folder / "shim.so"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, SOURCE, "-ldl", "-pthread"],
        check=True,
    )
    return library


def run_under(library: Path, module: str, *arguments: object, timeout: float) -> str:
    """The standard output of `python -m module arguments` with the library in between.

    What it wrote to its standard error goes to ours: there stands why a process died, and where.
    """
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-m", module, *map(str, arguments)],
        cwd=REPOSITORY,
        env=os.environ | {"LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    sys.stderr.write(done.stderr)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Shim:
    """This process's own; only under LD_PRELOAD."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.shim_seen.restype = ctypes.c_long
        self._library.shim_arm.argtypes = [
            ctypes.c_char_p,
            ctypes.c_int,
            ctypes.c_int,
            ctypes.c_int,
            ctypes.c_long,
            ctypes.c_int,
        ]

    def arm(self, folder: Path, mode: Mode, n: int) -> None:
        """Counts from 1."""
        self._library.shim_arm(os.fsencode(folder), mode.action, mode.kinds, mode.onward, n, mode.error)

    def off(self) -> None:
        self._library.shim_off()

    def fired(self) -> bool:
        return bool(self._library.shim_fired())

    def seen(self, mode: Mode) -> int:
        """Calls since `arm` that `mode` would have counted."""
        return int(self._library.shim_seen(mode.kinds))

    def record(self, folder: Path, descriptor: int) -> None:
        self._library.shim_record(os.fsencode(folder), descriptor)

    def say(self, words: object) -> None:
        """Puts a line into the record: what was confirmed up to here."""
        self._library.shim_say(json.dumps(words).encode())
