"""Whether a version finds room beside those that are loaded: estimated from what a loaded one was measured
to take, before anything is loaded.
"""

import msgspec

_WEIGHTS = 2
"""A runtime holds a model's weights at most so many times while it loads them."""


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What one replica says of its memory. Sizes in bytes."""

    worker: int
    """What one worker of the loaded version takes (proportional set size); of several the largest."""
    workers: int
    """Worker processes of each version."""
    model: int
    """Size of that version's model.onnx."""
    free: int
    """What may still be taken."""
    limit: str
    """What sets that bound, in words."""
    load_seconds: float
    """How long the loaded version took to load."""


def need(memory: Memory, model: int) -> int:
    """Bytes that a version whose model.onnx has `model` bytes is expected to take here."""
    return memory.workers * (memory.worker + _WEIGHTS * max(0, model - memory.model))


def shortage(memory: Memory | None, model: int) -> str:
    """Why such a version finds no room beside what is loaded, in words; empty when it does, or nothing is
    known."""
    if memory is None or (wanted := need(memory, model)) <= memory.free:
        return ""
    return (
        f"it would take about {_mb(wanted)} MB beside what is loaded, and {_mb(max(0, memory.free))} MB "
        f"are free ({memory.limit})"
    )


def _mb(size: int) -> int:
    return round(size / 1e6)
