"""Publishing what long work made: it waits out a store that is away, and never throws the work away."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from serinus.bootstrap import edge
from serinus.bootstrap.settings import Settings
from serinus.bootstrap.wiring import open_store
from serinus.core.errors import Cancelled, InvalidInput, SerinusError, Unavailable
from serinus.core.ids import Version
from serinus.store import Sign, Store

log = logging.getLogger(__name__)

_PATIENCE_SECONDS = 600.0
"""How long a finished model waits for the store."""
_TOLD_EVERY = 15.0
KEPT = "kept-"
"""Drafts with such names are never swept away."""


class Publication(NamedTuple):
    version: Version
    store: Store
    """As patient as the publication was."""


class Wait:
    """Tells people now and then that a store is waited for, and gives up when they cancel."""

    def __init__(self, cancelled: Callable[[], bool], tell: Callable[[str], None]) -> None:
        self._cancelled = cancelled
        self._tell = tell
        self._told = -_TOLD_EVERY

    def __call__(self, waited: float) -> None:
        """Raises Cancelled."""
        if self._cancelled():
            raise Cancelled("The publication was cancelled while the store was away; nothing was published.")
        if waited < self._told:
            self._told = -_TOLD_EVERY  # another request waits now
        if waited - self._told >= _TOLD_EVERY:
            self._told = waited
            self._tell(f"the model is ready; waiting for the store ({waited:.0f} s)")


def publish(
    settings: Settings,
    draft: Path,
    *,
    note: str,
    actor: str,
    cancelled: Callable[[], bool],
    tell: Callable[[str], None],
    sign: Sign = lambda manifest: manifest,
    patience: float = _PATIENCE_SECONDS,
) -> Publication:
    """Publishes `draft`, waiting up to `patience` seconds for a store in a bucket that is away.

    Raises Cancelled, and InvalidInput for a bad draft. Whatever else goes wrong, the draft is moved to
    DATA_DIR/drafts, and the error says where it is and how to publish it by hand.
    """
    waiting = Wait(cancelled, tell)
    try:
        store = open_store(settings, patience=max(patience, settings.store_patience_seconds), waiting=waiting)
        return Publication(store.publish(draft, note=note, actor=actor, sign=sign), store)
    except (Cancelled, InvalidInput):
        raise
    except (SerinusError, OSError) as error:
        raise _kept(settings, draft, note, error) from error


def _kept(settings: Settings, draft: Path, note: str, error: SerinusError | OSError) -> SerinusError:
    """Moves the draft where it stays; gives the error that says so, of the same kind."""
    folder = settings.data_dir.absolute() / "drafts"
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / f"{KEPT}{edge.new_id()[:12]}"
    shutil.move(draft, kept)
    log.error("The model could not be published; it is kept in %s.", kept)
    message = error.message if isinstance(error, SerinusError) else f"{type(error).__name__}: {error}."
    kind = type(error) if isinstance(error, SerinusError) else Unavailable
    return kind(
        f"The model is trained but could not be published: {message} It is kept in {kept}.",
        remedy="When the store answers again, look whether it was published after all (`serinus versions "
        f"list`); if not: `serinus publish {kept}{f' --note {quote(note)}' if note else ''}`.",
    )
