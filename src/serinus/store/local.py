"""Primitives on a local disk: put-if-absent, replace, publish a tree, point a link.

Everything becomes visible by one `link(2)` or `rename(2)` of something complete, and what is durable is
synced before it is visible (file, then folder), so a kill or a power cut leaves the old or the new and never
a half.
"""

import contextlib
import errno
import logging
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from serinus.core.errors import Corrupt, Unwritable, VolumeFull
from serinus.core.ids import NewId
from serinus.store.alive import buried, sign_of_life

_LOG = logging.getLogger(__name__)
_SCRATCH = ".tmp"
TEMPORARY = ".tmp-"
_NOTHING_HALF = "nothing half-written was kept."


class _Refusal(NamedTuple):
    """Why a volume takes no write, in words for its operator."""

    words: str
    remedy: str
    kind: type[Unwritable] = Unwritable


_ROOM = _Refusal(
    "The volume is full.",
    "Free space (`serinus versions gc` removes old versions, also on a full volume), then try again",
    VolumeFull,
)
_REFUSALS = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM._replace(words="The quota of the volume is used up."),
    errno.EROFS: _Refusal(
        "The volume is mounted read-only.", "Mount it writable, then try again; what only reads works"
    ),
    errno.EACCES: _Refusal(
        "The files may not be written by this user.", "Correct the rights, then try again"
    ),
    errno.EPERM: _Refusal("The files may not be changed by this user.", "Correct the rights, then try again"),
    errno.EFBIG: _Refusal(
        "A file would be larger than the limit of this process or of the volume.",
        "Raise the file size limit (`ulimit -f`), then try again",
    ),
}


def refusal(error: OSError, doing: str, folder: Path) -> Unwritable | None:
    """What only the operator can mend (full, read-only, forbidden), in words; None for anything else."""
    found = _REFUSALS.get(error.errno or 0)
    if found is None:
        return None
    return found.kind(
        f"Could not {doing} in {folder}. {found.words}", remedy=f"{found.remedy}; {_NOTHING_HALF}"
    )


@contextlib.contextmanager
def volume_errors(doing: str, folder: Path) -> Iterator[None]:
    """Turns what only the operator can mend into Unwritable."""
    try:
        yield
    except OSError as error:
        refused = refusal(error, doing, folder)
        if refused is None:
            raise
        raise refused from error


class Disk:
    """The primitives. Small files are made in `<root>/.tmp`, trees beside their final name (`.tmp-<id>`)."""

    def __init__(self, root: Path, new_id: NewId) -> None:
        self._root = root
        self._scratch = root / _SCRATCH
        self._new_id = new_id
        self._durable: set[Path] = set()
        """Folders that are synced into their parent for certain."""

    # -- small files -----------------------------------------------------------------------------------------

    def read(self, path: Path) -> bytes | None:
        """The bytes at `path`, None when there is no such file. Raises Corrupt when it is none."""
        try:
            with open_file(path) as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def names(self, folder: Path) -> list[str]:
        """What is in `folder`, in no order; nothing when there is no such folder."""
        try:
            with os.scandir(folder) as entries:
                return [entry.name for entry in entries]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def put_if_absent(self, path: Path, data: bytes) -> bool:
        """Creates `path` with `data`, durably. True: `path` holds exactly `data`. False: it holds something
        else.

        A failed link may be the lost answer of one that succeeded; so what counts is what lies there. Writers
        that compete must therefore write different bytes (a random id).
        """
        self.make_folder(path.parent)
        temporary = self._write(data, durable=True)
        try:
            self.link(temporary, path)
        except OSError:
            existing = self.read(path)
            if existing is None:
                raise
            if existing != data:
                return False
        finally:
            with contextlib.suppress(OSError):  # what counts is what lies at `path`; the rest is swept
                temporary.unlink()
        self.sync(path.parent)
        return True

    def replace(self, path: Path, data: bytes, *, durable: bool) -> None:
        """Puts `data` at `path` whether or not there is something; readers see the old or the new bytes.

        Raises Corrupt when a folder is in the way.
        """
        self.make_folder(path.parent)
        temporary = self._write(data, durable=durable)
        try:
            self._move(temporary, path)
        except BaseException as error:
            temporary.unlink(missing_ok=True)
            if isinstance(error, IsADirectoryError):
                raise _no_file(path, stat.S_IFDIR) from error
            raise
        if durable:
            self.sync(path.parent)

    def _write(self, data: bytes, *, durable: bool) -> Path:
        temporary = self._scratch / self._new_id()
        try:
            temporary.write_bytes(data)
            _readable(temporary)
            if durable:
                self.sync(temporary)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return temporary

    def open_to_append(self, path: Path) -> BinaryIO:
        """A temporary file that goes on from what it holds; its folder is made."""
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("ab")

    # -- folders and trees -----------------------------------------------------------------------------------

    def make_folder(self, folder: Path) -> None:
        """Makes `folder` and its parents, each synced into its parent, whoever made it."""
        if folder.is_dir():
            self._settle_folder(folder)
            return
        self.make_folder(folder.parent)
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            if self._root in (folder, *folder.parents):  # what holds the root is the operator's
                _readable(folder)
        self.sync(folder.parent)
        self._durable.add(folder)

    def _settle_folder(self, folder: Path) -> None:
        """Who made it may have been killed before syncing it: from the root down, each process syncs each
        once.
        """
        if folder in self._durable or self._root not in (folder, *folder.parents):
            return
        self._settle_folder(folder.parent)
        with contextlib.suppress(PermissionError):  # what holds the root is the operator's
            self.sync(folder.parent)
        self._durable.add(folder)

    @contextlib.contextmanager
    def temporary_tree(self, final: Path) -> Iterator[Path]:
        """A new folder beside `final`, removed at the end unless it was published.

        Nobody sweeps it meanwhile, however long that takes.
        """
        self.make_folder(final.parent)
        self.make_folder(self._scratch)
        name = self._new_id()
        temporary = final.parent / f"{TEMPORARY}{name}"
        with sign_of_life(self._scratch / name):
            temporary.mkdir()
            try:
                yield temporary
            finally:
                if temporary.is_dir():
                    self.remove_tree(temporary)

    def publish_tree(self, temporary: Path, final: Path, *, durable: bool = True) -> bool:
        """Makes the tree read-only (0555/0444) and renames it to `final`, synced when `durable`.

        False: `final` is there already (with content), and `temporary` is left to the caller.
        """
        self._seal_tree(temporary, durable=durable)
        published = True
        try:
            self._move(temporary, final)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            published = False
        if durable:
            self.sync(final.parent)  # whoever published it may have been killed before this
        return published

    def _seal_tree(self, folder: Path, *, durable: bool) -> None:
        with os.scandir(folder) as entries:
            for entry in entries:
                mode = entry.stat(follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode):
                    self._seal_tree(Path(entry.path), durable=durable)
                elif stat.S_ISREG(mode):
                    if durable:
                        self.sync(Path(entry.path))
                    Path(entry.path).chmod(0o444)
        folder.chmod(0o555)
        if durable:
            self.sync(folder)

    def remove_tree(self, folder: Path) -> None:
        """Removes a temporary tree, read-only folders too; it may be gone by then."""
        for path, _, _ in os.walk(folder):
            with contextlib.suppress(FileNotFoundError):
                Path(path).chmod(0o755)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)

    def discard_tree(self, folder: Path) -> None:
        """Takes a tree away by one rename, then removes it: nobody sees it half-removed or fills it again."""
        discarded = folder.parent / f"{TEMPORARY}{self._new_id()}"
        try:
            self.rename(folder, discarded)
        except FileNotFoundError:
            return  # somebody else did
        self.remove_tree(discarded)

    def sweep_all(self, *, before: float) -> None:
        """Removes temporary files and trees untouched since `before` (UTC seconds), wherever we make them."""
        folders = [path for path in self._root.iterdir() if path.is_dir() and not path.is_symlink()]
        sets = [self._root / "golden" / name for name in self.names(self._root / "golden")]
        for folder in (self._root, *folders, *sets):
            try:
                self._sweep(folder, before)
            except PermissionError as error:
                _LOG.warning("Leftovers of another user stay in %s: %s", folder, error)

    def _sweep(self, folder: Path, before: float) -> None:
        for name in self.names(folder):
            path = folder / name
            ours = name.startswith(TEMPORARY) or folder == self._scratch
            if not ours or touched(path) >= before:
                continue
            with buried(self._sign(path)) as dead:
                if dead and path.is_dir() and not path.is_symlink():
                    self.discard_tree(path)
                elif dead:
                    path.unlink(missing_ok=True)

    def abandoned(self, path: Path, *, before: float) -> bool:
        """Whether a temporary file or tree was untouched since `before`, and nobody is at it."""
        if touched(path) >= before:
            return False
        with buried(self._sign(path)) as dead:
            return dead

    def _sign(self, path: Path) -> Path:
        """Whose lock says that somebody is at a temporary file or tree."""
        return self._scratch / path.name.removeprefix(TEMPORARY)

    @property
    def scratch(self) -> Path:
        return self._scratch

    # -- links -----------------------------------------------------------------------------------------------

    def point(self, link: Path, target: str) -> None:
        """Lets the symbolic link `link` point to `target`, relative to its folder; replaces an older link."""
        self.make_folder(link.parent)
        temporary = link.parent / f"{TEMPORARY}{self._new_id()}"
        temporary.symlink_to(target)
        try:
            self._move(temporary, link)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    # -- system calls that make things visible or durable; a simulated disk overrides them -------------------

    def link(self, source: Path, target: Path) -> None:
        """`link(2)`: raises FileExistsError when `target` is there."""
        os.link(source, target)

    def rename(self, source: Path, target: Path) -> None:
        """`rename(2)`."""
        source.rename(target)

    def _move(self, source: Path, target: Path) -> None:
        """Renames what only we know of. When the answer was lost, the repetition found the source gone."""
        try:
            self.rename(source, target)
        except FileNotFoundError:
            if os.path.lexists(source) or not os.path.lexists(target):
                raise

    def sync(self, path: Path) -> None:
        """`fsync(2)` of a file or a folder."""
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


def open_file(path: Path) -> BinaryIO:
    """Opens a regular file to be read. Raises Corrupt, at once, for anything else that lies there.

    A pipe would otherwise keep its reader waiting for ever, and a device do whatever it does.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.ENXIO:  # a socket, or a device that is not there
            raise
        raise _no_file(path, path.stat().st_mode) from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise _no_file(path, mode)
    return os.fdopen(descriptor, "rb")


def _no_file(path: Path, mode: int) -> Corrupt:
    kind = _KINDS.get(stat.S_IFMT(mode), "a device")
    return Corrupt(
        f"{path} is {kind}, not a file: the store did not make it. Move it away.",
        remedy="If a file of the store lay there before, restore it from a backup.",
    )


def _readable(path: Path) -> None:
    """Lets everybody read what the umask would hide: the store's processes may be those of several users.

    Who must not read it is kept out by the rights of MODEL_DIR itself.
    """
    mode = path.stat().st_mode
    wanted = 0o555 if stat.S_ISDIR(mode) else 0o444
    if mode & wanted != wanted:
        path.chmod(stat.S_IMODE(mode) | wanted)


def touched(path: Path) -> float:
    """When anything in `path` last changed; infinity when it is gone."""
    try:
        newest = path.lstat().st_mtime
        if path.is_dir() and not path.is_symlink():
            newest = max([newest, *(touched(child) for child in path.iterdir())])
    except FileNotFoundError:
        return float("inf")
    return newest
