"""Exit codes that scripts can rely on; docs/cli.md lists them."""

from enum import IntEnum

from serinus.core.enums import RolloutPhase


class Exit(IntEnum):
    """What a command's exit code says."""

    DONE = 0
    """Done; a rollout that was waited for ended with a promotion."""
    FAILED = 1
    """Something failed that is not the caller's fault."""
    USAGE = 2
    """The command or its input is wrong."""
    ROLLED_BACK = 3
    """The rollout that was waited for was rolled back, rejected or superseded."""
    TIMED_OUT = 4
    """`--timeout` seconds passed first."""
    HELD = 5
    """The rollout is held or paused: a person must decide."""
    CANCELLED = 130
    """Ctrl-C."""


OF_PHASE = {
    RolloutPhase.PROMOTED: Exit.DONE,
    RolloutPhase.ROLLED_BACK: Exit.ROLLED_BACK,
    RolloutPhase.REJECTED: Exit.ROLLED_BACK,
    RolloutPhase.SUPERSEDED: Exit.ROLLED_BACK,
    RolloutPhase.HELD: Exit.HELD,
    RolloutPhase.PAUSED: Exit.HELD,
}
"""Phases in which waiting for a rollout ends."""
