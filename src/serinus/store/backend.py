"""Where a store lies: what the protocol needs from a disk or a bucket, and nothing else.

A store is made of *documents* (small files by key, `journal/0000000042.json`) and of *trees* (folders that
appear whole and never change, `artifacts/<digest>`). Whatever keeps these promises can hold one:

- `put_if_absent` has exactly one winner, for ever, and True means durable;
- a document is the old or the new one for every reader, never a half;
- a tree is there with all its files or it is not there;
- who reads after a write has returned sees that write.

`folder.Folder` keeps them with `link(2)`, `rename(2)` and `fsync(2)`; `bucket.Bucket` with `If-None-Match: *`
and an index document that is written last.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

Moved: TypeAlias = Callable[[str, int, int], None]
"""Told how a transfer goes: the file, bytes done, bytes in all."""
_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


def ignore(_name: str, _done: int, _total: int) -> None:
    """Shows nothing."""


class Backend(Protocol):
    """Keys are relative POSIX paths. Thread-safe; any number of processes may share one.

    All raise OSError (a disk), Unavailable (a server that does not answer) or Misconfigured (what only an
    operator can mend); then nothing half was kept.
    """

    remote: bool
    """Whether trees lie elsewhere and `tree` fetches them."""

    @property
    def away_since(self) -> float | None:
        """Since when the place does not answer, UTC seconds; None while it does."""
        ...

    def name(self, key: str) -> str:
        """What people call it: a path or an address."""
        ...

    def each(self, ask: Callable[[_Item], _Answer], items: Sequence[_Item]) -> list[_Answer]:
        """`ask` of each of `items`, in their order; several at a time where each waits for a server.

        Raises what the first of them raised.
        """
        ...

    # -- documents -------------------------------------------------------------------------------------------

    def read(self, key: str) -> bytes | None:
        """The bytes, None when there is no such document. Raises Corrupt when something else lies there."""
        ...

    def exists(self, key: str) -> bool:
        """Whether there is such a document."""
        ...

    def names(self, folder: str, *, after: str = "") -> list[str]:
        """What is in `folder` with a name above `after`, in no order; nothing when it does not exist."""
        ...

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Creates a document, durably. True: it holds exactly `data`. False: it holds something else.

        A failure may be the lost answer of a success, so what counts is what lies there. Writers that compete
        must therefore write different bytes (a random id).
        """
        ...

    def settle(self, folder: str) -> None:
        """Makes durable what is in `folder`: who put it may have been killed between showing it and that.

        To be called before anything rests on somebody else's document.
        """
        ...

    def replace(self, key: str, data: bytes, *, durable: bool) -> None:
        """Puts `data` there whether or not there is something."""
        ...

    def remove(self, key: str) -> None:
        """Removes a document; one that is not there is fine."""
        ...

    def touched(self, key: str) -> float:
        """When anything in a folder or document last changed, UTC seconds; infinity when it is gone."""
        ...

    # -- trees -----------------------------------------------------------------------------------------------

    def new_tree(self, key: str) -> AbstractContextManager[Path]:
        """A local folder to be filled for the tree `key`, removed at the end unless it was published."""
        ...

    def publish_tree(self, folder: Path, key: str, *, index: str, moved: Moved = ignore) -> bool:
        """Makes the filled folder the tree `key`, durably. False: that tree is there already.

        `index`: the file whose presence makes the tree complete.
        """
        ...

    def has_tree(self, key: str, *, index: str) -> bool:
        """Whether the tree is there, complete."""
        ...

    def tree(self, key: str, *, index: str, check: Callable[[Path], None], moved: Moved = ignore) -> Path:
        """A local, read-only folder that holds the tree. Raises NotFound.

        What had to be fetched is given to `check` first, which raises when it is not what it should be.
        """
        ...

    def local(self, key: str) -> Path | None:
        """The tree's local folder, if it is here; asks nobody."""
        ...

    def forget_local(self, key: str) -> bool:
        """Drops a local copy, where trees lie elsewhere: the next `tree` fetches it anew. True: it did."""
        ...

    def trim_local(self, keep: frozenset[str]) -> None:
        """Drops local copies that were not asked for lately, down to the limit, but none in `keep`."""
        ...

    def discard(self, key: str) -> None:
        """Takes a whole folder or tree away; nobody sees it half-removed. Gone already is fine."""
        ...

    # -- all of it, for who checks or copies -----------------------------------------------------------------

    def files(self, folder: str) -> dict[str, int]:
        """Every file below `folder` by its name relative to it, with its size; temporary ones are left out.

        Raises InvalidInput, naming it, for a link or a special file.
        """
        ...

    def chunks(self, key: str) -> Iterator[bytes]:
        """The bytes of a file, in pieces. Raises NotFound, and Corrupt when it is no file."""
        ...
