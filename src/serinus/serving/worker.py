"""The child process of one loaded version, which `worker_entry` starts.

It loads `model.onnx`, runs it once (the first run allocates), says that it is ready, then answers one request
after the other until its parent is gone. What the model does to this process (crash, leak, hang) it does to
nobody else.
"""

import contextlib
import ctypes
import os
import resource
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from serinus.artifact.manifest import Contract
from serinus.core.enums import Device
from serinus.core.errors import InvalidInput, Misconfigured, ModelFault
from serinus.engine.pace import Pace, measure
from serinus.engine.sandbox import OUT_OF_MEMORY
from serinus.serving import wire

if TYPE_CHECKING:
    from serinus.engine.session import Model

_PR_SET_PDEATHSIG = 1


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What the parent tells a worker at its start, as JSON in its only argument."""

    channel: int
    """Descriptor of the worker's end of the socket pair."""
    parent: int
    """Process id of the parent."""
    model: str
    """Path of model.onnx."""
    contract: Contract
    threads: int
    """Threads that one picture may use."""
    nice: int
    """Added to the niceness while loading, so that a load does not slow down who serves."""
    background: bool = False
    """Nobody waits for this worker: it stays as nice as it is while loading."""
    memory_bytes: int
    """What the model may allocate; an allocation over it fails as the model's exception."""
    measures: bool = False
    """Whether it measures how long batches take, before it is ready."""
    device: Device = Device.CPU


def main(arguments: list[str]) -> int:
    """Serves until the parent hangs up; 1 when the version does not load."""
    orders = msgspec.json.decode(arguments[0], type=Orders)
    _live_and_die_with_parent(orders.parent)
    if orders.background:
        os.nice(orders.nice)  # of this thread, and of all that it starts
    channel = socket.socket(fileno=orders.channel)
    loading = _Loading(orders)
    loading.start()
    loading.join()
    with contextlib.suppress(wire.Hangup):
        if loading.model is None:
            wire.send_reply(channel, wire.Status.NOT_LOADED, wire.words(loading.failure))
            return 1
        wire.send_reply(channel, wire.Status.READY, msgspec.json.encode(loading.pace))
        while True:
            _answer(channel, loading.model, loading.most_mapped)
    return 0


def _live_and_die_with_parent(parent: int) -> None:
    # The parent alone decides when it is over: on SIGTERM to the group it still drains its requests.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        sys.exit(1)
    with contextlib.suppress(OSError):
        # When memory runs out the kernel takes the worker, not the server.
        Path("/proc/self/oom_score_adj").write_text("1000")


def _mapped() -> int:
    """The process's address space, bytes."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _limit_memory(allowance: int) -> None:
    """What is mapped by now is Python's and the runtime's; the model gets its share on top."""
    for kind, value in ((resource.RLIMIT_AS, _mapped() + allowance), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(kind)
        ceiling = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (ceiling, hard))


class _Loading(threading.Thread):
    """Loads in a thread of its own: on Linux niceness is a thread's, and only root may take it back."""

    def __init__(self, orders: Orders) -> None:
        super().__init__(name="loading", daemon=True)
        self._orders = orders
        self.model: Model | None = None
        self.failure = "The loading of the model broke off."
        self.pace = Pace()
        self.most_mapped = sys.maxsize
        """A model that holds on to more than this has used half of its memory up, bytes."""

    def run(self) -> None:
        orders = self._orders
        if not orders.background:  # else it is as nice as the thread that made it
            os.nice(orders.nice)
        from serinus.engine.session import Model

        if orders.device is Device.CPU:
            self.most_mapped = _mapped() + orders.memory_bytes // 2
            _limit_memory(orders.memory_bytes)
        # else the GPU's arena has the limit: CUDA maps far more addresses than it uses
        try:
            model = Model.load(
                Path(orders.model),
                orders.contract,
                threads=orders.threads,
                device=orders.device,
                device_bytes=orders.memory_bytes,
            )
        except (ModelFault, OSError, MemoryError) as error:
            self.failure = str(error) or type(error).__name__
            return
        except Misconfigured as error:
            sys.stderr.write(f"{error}\n")
            os._exit(1)  # without a word to the parent: this machine is to blame, and it is tried again
        _warm_up(model, orders.contract)
        if orders.measures:
            self.pace = measure(model, device=orders.device)
        self.model = model


def _warm_up(model: "Model", contract: Contract) -> None:
    """A first run on a black pair. It is no evidence: whether the model answers well, requests will show."""
    import numpy as np

    side = max(contract.stride, contract.size // contract.stride * contract.stride)
    with contextlib.suppress(ModelFault, MemoryError):
        model.infer(np.zeros((1, side, side, len(contract.channels)), np.uint8))


def _answer(channel: socket.socket, model: "Model", most_mapped: int) -> None:
    image = wire.receive_request(channel)
    try:
        found = model.infer(image)
    except ModelFault as error:
        # The engine chains what the runtime raised; without a cause it refused the answer's shape or type.
        status = wire.Status.INVALID if error.__cause__ is None else wire.Status.RAISED
        _complain(channel, status, error.message, most_mapped)
    except (InvalidInput, MemoryError) as error:
        _complain(channel, wire.Status.RAISED, f"{type(error).__name__}: {error}", most_mapped)
    else:
        wire.send_reply(channel, wire.Status.OK, found.tobytes())


def _complain(channel: socket.socket, status: wire.Status, words: str, most_mapped: int) -> None:
    """Says what failed. One picture may need too much and give it back; who keeps it would fail for ever."""
    if any(sign in words for sign in OUT_OF_MEMORY) and _mapped() > most_mapped:
        status = wire.Status.EXHAUSTED
    wire.send_reply(channel, status, wire.words(words))
