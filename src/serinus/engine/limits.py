"""What an import may use, as a value that settings can hold without the runtime."""

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Of one import."""

    seconds: float = 300.0
    memory_mb: int = 4096
    """On top of what the libraries use."""
    trial_seconds: float = 120.0
    trial_memory_mb: int = 2048
