"""The edge of the program: the only place that reads the clock and tosses coins."""

import os
import random
import time
import uuid


def now() -> float:
    """Seconds since 1970-01-01 UTC."""
    return time.time()


def new_id() -> str:
    """A fresh random id, 32 hex characters."""
    return uuid.uuid4().hex


def secret() -> bytes:
    """32 bytes that nobody can guess, for a key."""
    return os.urandom(32)


_RANDOM = random.SystemRandom()


def coin() -> float:
    """Uniform in [0, 1), from the operating system's generator (workers that fork share no seed)."""
    return _RANDOM.random()
