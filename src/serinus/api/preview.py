"""What a policy would do, before anybody obeys it: a small simulation in a child process.

One at a time, with a deadline; whoever asked and went away takes it along. The child is `serinus simulate`.
"""

import asyncio
import contextlib
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from serinus.core.errors import InvalidInput, Misconfigured, Unavailable

ROLLOUTS = 100
"""Simulated for each truth: enough to tell 0 from 5 %, and done in seconds."""
SCENARIOS = ("good", "bad-6", "bad-10", "bad-20", "slower-2")
_SECONDS = 120.0
_LOOK_SECONDS = 0.25
_OURS = "Serinus"


class Foreseen(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the simulated rollouts of one truth."""

    scenario: str
    words: str
    rolled_back: float
    """Share of the rollouts, as the next two."""
    promoted: float
    undecided: float
    requests: float | None
    """Canary requests until the rollback, the median; None where none was rolled back."""


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy would do."""

    policy: str
    rollouts: int
    """Simulated for each truth."""
    truths: tuple[Foreseen, ...]


class _Figures(msgspec.Struct):
    rolled_back: float
    promoted: float
    undecided: float
    median: float | None


class _Result(msgspec.Struct):
    name: str
    words: str
    rules: dict[str, _Figures]


class Previewer:
    """Runs one simulation at a time. `command`: what starts `serinus simulate`."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self._command = command
        self._lock = asyncio.Lock()

    async def preview(self, name: str, text: str, gone: Callable[[], Awaitable[bool]]) -> Preview:
        """Simulates the policy `text`; `gone` says whether whoever asked has left.

        Raises InvalidInput for a policy that cannot be simulated, Unavailable while another one is, and
        Misconfigured where the simulation is not installed.
        """
        if not self._command:
            raise Misconfigured(
                "This server cannot simulate.", remedy="Use `serinus simulate --policy FILE`."
            )
        if self._lock.locked():
            raise Unavailable("Somebody else's preview is being simulated.", retry_after=10.0)
        async with self._lock:
            output = await self._run(text.encode(), gone)
        results = msgspec.json.decode(output, type=list[_Result])
        return Preview(policy=name, rollouts=ROLLOUTS, truths=tuple(map(_foreseen, results)))

    async def _run(self, document: bytes, gone: Callable[[], Awaitable[bool]]) -> bytes:
        asked = [part for name in SCENARIOS for part in ("--scenario", name)]
        child = await asyncio.create_subprocess_exec(
            *self._command,
            *("--policy", str(Path("/dev/stdin")), "--rollouts", str(ROLLOUTS), *asked, "--output", "json"),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
        )
        try:
            async with asyncio.timeout(_SECONDS):
                output, said = await _unless_gone(child, document, gone)
        except TimeoutError as error:
            raise Unavailable(f"The preview took longer than {_SECONDS:.0f} s.", retry_after=30.0) from error
        finally:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
        if child.returncode:
            words = said.decode(errors="replace").strip().splitlines() or ["it said nothing"]
            raise InvalidInput(f"It cannot be simulated: {words[0].removeprefix('serinus: ')}")
        return output


async def _unless_gone(
    child: Process, document: bytes, gone: Callable[[], Awaitable[bool]]
) -> tuple[bytes, bytes]:
    """What the child writes. Raises Unavailable when nobody waits for it any more."""
    talk = asyncio.create_task(child.communicate(document))
    try:
        while not talk.done():
            await asyncio.wait({talk}, timeout=_LOOK_SECONDS)
            if not talk.done() and await gone():
                raise Unavailable("Whoever asked for the preview has left.")
        return talk.result()
    finally:
        talk.cancel()


def _foreseen(result: _Result) -> Foreseen:
    ours = result.rules[_OURS]
    return Foreseen(
        scenario=result.name,
        words=result.words,
        rolled_back=ours.rolled_back,
        promoted=ours.promoted,
        undecided=ours.undecided,
        requests=ours.median,
    )
