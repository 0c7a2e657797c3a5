"""The parent's side of one worker process: start it, ask it with a deadline, kill it when it is late.

A worker dies with the *thread* that started it (that is how Linux defines the parent of PR_SET_PDEATHSIG), so
whoever starts one keeps its thread for as long as the worker is wanted.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from serinus.artifact.manifest import Contract
from serinus.core.enums import Device, FailureKind
from serinus.core.errors import ModelFault
from serinus.engine.pace import Pace
from serinus.serving import wire
from serinus.serving.worker import Orders

_HEAD_ROOM = 4096


class VersionFailed(ModelFault):
    """A version failed a request; `kind` says how, the message why."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class DiedLoading(ModelFault):
    """A worker ended while it loaded, without a word: the version's fault or the machine's."""


class WorkerSpec(NamedTuple):
    """What a worker loads and may use."""

    model: Path
    contract: Contract
    threads: int
    nice: int
    memory_bytes: int
    load_seconds: float
    """How long loading and the first run may take."""
    infer_seconds: float
    """How long one picture may take."""
    background: bool = False
    """Nobody waits for it: it stays as nice as it is while loading."""
    measures: bool = False
    """Whether it measures batches before it is ready."""
    device: Device = Device.CPU


class WorkerProcess:
    """One process that serves one version. Not thread-safe, but `kill` may come from any thread."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._spec = spec
        self._max_reply = spec.contract.max_detections * wire.COLUMNS * 4 + _HEAD_ROOM
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        orders = Orders(
            channel=theirs.fileno(),
            parent=os.getpid(),
            model=str(spec.model),
            contract=spec.contract,
            threads=spec.threads,
            nice=spec.nice,
            background=spec.background,
            memory_bytes=spec.memory_bytes,
            measures=spec.measures,
            device=spec.device,
        )
        command = [sys.executable, "-P", "-m", "serinus.serving.worker_entry", str(spec.nice)]
        command.append(msgspec.json.encode(orders).decode())
        try:
            self._process = subprocess.Popen(  # stdout goes where the log goes
                command, stdin=subprocess.DEVNULL, stdout=sys.__stderr__, pass_fds=[theirs.fileno()]
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._channel = ours
        self.pace = Pace()
        """What it measured while it loaded."""
        self._why = ""
        """Why it was ended from here."""

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process.poll() is None

    @property
    def ended(self) -> str:
        """Why it is no more, as a sentence."""
        return self._why or f"the worker {self._end()}."

    def wait_ready(self) -> None:
        """Blocks until the version is loaded.

        Raises DiedLoading when the process ended meanwhile, ModelFault when the version does not load.
        """
        self._channel.settimeout(self._spec.load_seconds)
        try:
            status, payload = wire.receive_reply(self._channel, max_bytes=self._max_reply)
        except TimeoutError as error:
            self.kill()
            raise ModelFault(f"the model did not load within {self._spec.load_seconds:g} s.") from error
        except (wire.Hangup, OSError) as error:
            raise DiedLoading(f"the worker {self._end()} while it loaded the model.") from error
        if status is not wire.Status.READY:
            self.kill()
            raise ModelFault(payload.decode("utf-8", "replace"))
        with contextlib.suppress(msgspec.MsgspecError):  # else it is as if it had measured nothing
            self.pace = msgspec.json.decode(payload, type=Pace)

    def infer(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Detections float32 [N, K, 6] of uint8 [N, H, W, C], unchecked, within the specified time.

        Raises VersionFailed; after a crash or a time-out the process is gone. When this machine is short of
        something (descriptors, memory) the request is `unavailable` and the process is kept if it has not
        heard of the request.
        """
        self._channel.settimeout(self._spec.infer_seconds)
        try:
            self._send(image)
            status, payload = wire.receive_reply(self._channel, max_bytes=len(image) * self._max_reply)
        except wire.Hangup as error:
            raise VersionFailed(FailureKind.CRASH, f"the worker {self._end()}.") from error
        except TimeoutError as error:
            self._stop(f"the model gave no answer within {self._spec.infer_seconds:g} s.")
            raise VersionFailed(FailureKind.TIMEOUT, self._why) from error
        except (OSError, MemoryError) as error:
            self.kill()  # its reply would be taken for the next request's
            raise _shortage(error) from error
        if status is wire.Status.EXHAUSTED:
            self._stop(f"the model had used up its {self._spec.memory_bytes >> 20} MB of memory.")
            raise VersionFailed(FailureKind.CRASH, self._why)
        if status is wire.Status.OK:
            try:
                return wire.rows(payload, len(image))
            except ValueError as error:
                raise VersionFailed(
                    FailureKind.INVALID_OUTPUT, f"the answer is not rows: {error}."
                ) from error
        kind = FailureKind.INVALID_OUTPUT if status is wire.Status.INVALID else FailureKind.EXCEPTION
        raise VersionFailed(kind, payload.decode("utf-8", "replace"))

    def _send(self, image: npt.NDArray[np.uint8]) -> None:
        try:
            wire.send_request(self._channel, image)
        except TimeoutError:
            raise
        except (OSError, MemoryError) as error:
            raise _shortage(error) from error  # nothing was sent: the worker is as before

    def _stop(self, why: str) -> None:
        self.kill()
        self._why = why

    def kill(self) -> None:
        """Ends the process now and waits for its end."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Ends the process and gives back what it held."""
        self.kill()
        self._channel.close()

    def _end(self) -> str:
        """How it ended, in words. A worker that hung up without ending is ended."""
        try:
            code = self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            self.kill()
            return "hung up"
        if code < 0:
            try:
                return f"was killed by {signal.Signals(-code).name}"
            except ValueError:
                return f"was killed by signal {-code}"
        return f"ended with exit code {code}"


def _shortage(error: BaseException) -> VersionFailed:
    return VersionFailed(
        FailureKind.UNAVAILABLE, f"this machine is short of something: {error or type(error).__name__}."
    )
