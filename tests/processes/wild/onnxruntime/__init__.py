"""ONNX Runtime whose models may misbehave as no graph can: leak, exit, crash, answer garbage, load for ever.

Stands before the real one on PYTHONPATH and is the real one, but for sessions of models that carry the
metadata `misdeed`. They are good until they see a picture of 256 rows that is not black: neither the trial
run before traffic nor the warm-up shows what they do.
"""

import ctypes
import importlib
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

_HERE = str(Path(__file__).parents[1])
sys.path[:] = [path for path in sys.path if path != _HERE]
del sys.modules[__name__]
real = importlib.import_module("onnxruntime")

_ROWS = 256
_LEAK = 50 << 20


class WildSession(real.InferenceSession):  # type: ignore[misc, name-defined]
    """One session; `misdeed` is the name of one of its methods, with an argument after a colon."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        name, _, value = self.get_modelmeta().custom_metadata_map.get("misdeed", "").partition(":")
        self._misdeed = getattr(self, name) if name else None
        self._value = value
        self._kept: list[Any] = []
        if name == "load":
            self.load()

    def run(self, names: Any, feeds: dict[str, Any], *more: Any) -> Any:
        found = super().run(names, feeds, *more)
        (images,) = feeds.values()
        if self._misdeed is None or images.shape[1] != _ROWS or not images.any():
            return found
        return self._misdeed(found)

    def load(self, found: Any = None) -> Any:
        """Computes so long while it loads, seconds of one core; then it is good."""
        until = time.process_time() + float(self._value)
        while found is None and time.process_time() < until:
            sum(range(1000))
        return found

    def throw(self, found: Any) -> Any:
        raise real.capi.onnxruntime_pybind11_state.Fail("wild")

    def hang(self, found: Any) -> Any:
        while True:
            time.sleep(60)

    def leak(self, found: Any) -> Any:
        """Keeps 50 MB of each answer; what the limit refuses is said as the runtime says it."""
        try:
            self._kept.append(np.ones(_LEAK, np.uint8))
        except MemoryError as error:
            words = "Failed to allocate memory for requested buffer"
            raise real.capi.onnxruntime_pybind11_state.RuntimeException(words) from error
        return found

    def leave(self, found: Any) -> Any:
        """Ends at once, without a word."""
        os._exit(int(self._value))

    def leave_politely(self, found: Any) -> Any:
        sys.exit(int(self._value))

    def segfault(self, found: Any) -> Any:
        ctypes.string_at(0)
        return found

    def nan(self, found: Any) -> Any:
        return [found[0] * np.nan]

    def huge(self, found: Any) -> Any:
        """Boxes far outside, and confidences above one."""
        return [found[0] * np.float32(1e30)]

    def many(self, found: Any) -> Any:
        """More rows than the contract allows, 480 MB of them."""
        return [np.zeros((1, 20_000_000, 6), np.float32)]

    def flat(self, found: Any) -> Any:
        return [found[0].ravel()]

    def bytes(self, found: Any) -> Any:
        return [b"\xff" * 100]


real.InferenceSession = WildSession
