"""Which trainers there are, as a child process tells: entry points are code of others and load torch."""

import asyncio
from asyncio.subprocess import PIPE
from contextlib import suppress
from time import monotonic

import msgspec

from serinus.api.data_documents import TrainerView
from serinus.core.errors import InvalidInput, Unavailable

_SECONDS = 60.0
_FRESH_SECONDS = 600.0
"""Packages are seldom installed beside a running server; then it is found after so long."""


class Trainers:
    """Asks `command` (`serinus trainers list --json`), one at a time, and remembers the answer for a while.

    Used from one event loop.
    """

    def __init__(self, command: tuple[str, ...]) -> None:
        self._command = command
        self._lock = asyncio.Lock()
        self._found: tuple[TrainerView, ...] = ()
        self._asked = 0.0

    async def all(self) -> tuple[TrainerView, ...]:
        """All of them. Raises Unavailable when they cannot be listed."""
        async with self._lock:
            if not self._found or monotonic() - self._asked > _FRESH_SECONDS:
                self._found = await self._ask()
                self._asked = monotonic()
            return self._found

    def check(self, name: str) -> None:
        """Raises InvalidInput for a trainer that is known not to be there, or not to be usable here."""
        if not name or not self._found:
            return  # the training itself finds out
        found = next((one for one in self._found if one.name == name), None)
        if found is None:
            names = ", ".join(one.name for one in self._found)
            raise InvalidInput(f"There is no trainer {name!r}; there are {names}.", field="trainer")
        if found.problem:
            raise InvalidInput(
                f"{name} cannot be used here: {found.problem}.",
                remedy="docs/trainers.md says what it needs.",
                field="trainer",
            )

    async def _ask(self) -> tuple[TrainerView, ...]:
        if not self._command:
            raise Unavailable(
                "Which trainers there are is not known here.",
                remedy="`serinus trainers list` says so where trainings run; the usual one can be used.",
            )
        child = await asyncio.create_subprocess_exec(*self._command, stdout=PIPE, stderr=PIPE)
        try:
            async with asyncio.timeout(_SECONDS):
                output, said = await child.communicate()
            return msgspec.json.decode(output, type=tuple[TrainerView, ...])
        except TimeoutError as error:
            raise Unavailable("Listing the trainers took too long.", retry_after=30.0) from error
        except msgspec.MsgspecError as error:
            last = said.decode(errors="replace").strip().splitlines()[-1:]
            words = " ".join(["The trainers cannot be listed.", *last])
            raise Unavailable(words, remedy="`serinus trainers list` says more.") from error
        finally:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()
