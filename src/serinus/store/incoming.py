"""Models from elsewhere on their way in: folders that somebody else's trainer wrote into MODEL_DIR.

    canary/, current/           a real folder here is foreign: our own are links
    views/<seq>-<role>/         a view of ours; what a trainer wrote into it through such a link is foreign
    incoming/<id>/              moved here whole, by one rename; waits for its import
    incoming/rejected/<id>/     was not imported; the newest are kept

A trainer that still writes must not have its folder taken away: nobody but `take` moves one, and who calls it
has watched the folder's `Contents` come to rest. Until then the view of that name is held back. Every step is
one rename, so a kill leaves a folder in exactly one of these places; what lies in `incoming/` at a start is
taken up again. A view is moved with all that is in it, and then our part is removed. Nothing here follows a
link.
"""

import contextlib
import os
import shutil
from pathlib import Path
from typing import NamedTuple

from serinus.core.enums import Arm
from serinus.core.ids import NewId
from serinus.store.local import Disk
from serinus.store.view import VERSION_JSON, VIEW, strays, strip

INCOMING = "incoming"
REJECTED = "rejected"
KEPT = 20
"""Rejected folders that are kept, the newest."""
_MOST_ENTRIES = 10_000
_FROM_VIEW = "-view"
"""Ends the id of what was a view: our own links and `version.json` may still be in it."""


class Contents(NamedTuple):
    """What is in a folder, so that two looks can be compared."""

    entries: tuple[tuple[str, int, int], ...]
    """Relative path, size in bytes, time of the last change in ns, sorted."""

    @property
    def missing(self) -> str:
        """The file without which it is not complete; empty when it is."""
        names = {name for name, _, _ in self.entries}
        if VERSION_JSON not in names:
            return VERSION_JSON
        model = "best.pt" in names or any(n.endswith(".onnx") and "/" not in n for n in names)
        return "" if model else "best.pt (or an .onnx)"


class Incoming:
    """The folders on their way in. Any number of processes may share it; a lost race changes nothing."""

    def __init__(self, root: Path, disk: Disk, new_id: NewId) -> None:
        self._root = root
        self._disk = disk
        self._new_id = new_id

    def places(self) -> dict[str, Contents]:
        """Where, relative to MODEL_DIR, somebody else wrote in the place of a view or into one, and what."""
        views = [f"views/{name}" for name in sorted(self._disk.names(self._root / "views"))]
        found = {place: self.foreign(place) for place in (*map(str, Arm), *views)}
        return {place: contents for place, contents in found.items() if contents is not None}

    def foreign(self, place: str) -> Contents | None:
        """What is somebody else's in `canary`, `current` or `views/<seq>-<role>`; None when nothing is."""
        path = self._root / place
        if not _is_view_place(place):
            return self.contents(path) if is_foreign(path) else None
        theirs = strays(path)
        if not theirs:
            return None
        moved_in = _only_folder(path, theirs)
        if moved_in is not None:
            return self.contents(moved_in)
        return Contents(tuple(one for one in self.contents(path).entries if one[0].split("/")[0] in theirs))

    def take(self, place: str) -> str | None:
        """Moves such a folder to `incoming/`, whole, and gives its id; None when it is gone.

        Another process may take it first and put our own link in its place; so what was carried is looked at,
        and a link goes back. Raises OSError when this user may not move it (that needs the right to write
        into it).
        """
        if _is_view_place(place):
            return self._take_view(place)
        path = self._root / place
        if not is_foreign(path):
            return None
        carried = self._carry(path, self._new_id())
        if carried is None or not carried.is_symlink():
            return None if carried is None else carried.name
        with contextlib.suppress(FileExistsError):  # a newer link is there by now
            path.symlink_to(carried.readlink())
        carried.unlink(missing_ok=True)
        return None

    def _take_view(self, place: str) -> str | None:
        path = self._root / place
        theirs = strays(path)
        if not theirs:
            return None
        with contextlib.suppress(FileNotFoundError):
            path.chmod(0o755)  # a folder that changes its parent is written to
        moved_in = _only_folder(path, theirs)
        if moved_in is not None:
            carried = self._carry(moved_in, self._new_id())
            return None if carried is None else carried.name
        carried = self._carry(path, self._new_id() + _FROM_VIEW)
        if carried is None:
            return None
        strip(carried)
        with contextlib.suppress(OSError):
            carried.rmdir()  # another process took the strays, and the view was made again
            return None
        return carried.name

    def _carry(self, path: Path, name: str) -> Path | None:
        carried = self._root / INCOMING / name
        self._disk.make_folder(carried.parent)
        try:
            self._disk.rename(path, carried)
        except FileNotFoundError:
            return None
        return carried

    def waiting(self) -> list[str]:
        """Ids of what is in `incoming/`, the oldest first."""
        folder = self._root / INCOMING
        for name in self._disk.names(folder):
            if name.endswith(_FROM_VIEW):  # who took it may have been killed
                with contextlib.suppress(OSError):
                    strip(folder / name)
        names = [
            name
            for name in self._disk.names(folder)
            if name != REJECTED and not name.startswith(".") and not _is_view(folder / name)
        ]
        return sorted(names, key=lambda name: (_changed(folder / name), name))

    def path(self, name: str) -> Path:
        """Where it waits; usually a folder, but anybody may put anything there."""
        return self._root / INCOMING / name

    def contents(self, folder: Path) -> Contents:
        """One look at a folder; of a huge one at a part."""
        found: list[tuple[str, int, int]] = []
        for path, folders, files in os.walk(folder):
            for name in (*folders, *files):
                entry = Path(path) / name
                try:
                    seen = entry.lstat()
                except OSError:
                    continue  # gone by now, or a path too long to be asked for
                found.append((entry.relative_to(folder).as_posix(), seen.st_size, seen.st_mtime_ns))
            if len(found) > _MOST_ENTRIES:
                break
        return Contents(tuple(sorted(found)))

    def refuse(self, name: str) -> None:
        """Moves it to `incoming/rejected/`; of those the newest `KEPT` stay."""
        rejected = self._root / INCOMING / REJECTED
        self._disk.make_folder(rejected)
        target = rejected / name
        if os.path.lexists(target):  # the same name was refused before
            target = rejected / f"{name}-{self._new_id()}"
        try:
            self._disk.rename(self.path(name), target)
        except FileNotFoundError:
            return
        os.utime(target, follow_symlinks=False)  # the order in which they are forgotten
        for old in sorted(self._disk.names(rejected), key=lambda one: _changed(rejected / one))[:-KEPT]:
            _remove(rejected / old)

    def discard(self, name: str) -> None:
        """Removes what was imported: its files are in the artifact."""
        _remove(self.path(name))


def is_foreign(path: Path) -> bool:
    """Whether somebody else's folder lies in the place of one of our links."""
    return path.is_dir() and not path.is_symlink()


def _only_folder(view: Path, theirs: set[str]) -> Path | None:
    """What `mv folder canary` leaves where `canary` is our link: the folder lies in the view."""
    (name, *more) = theirs
    return view / name if not more and is_foreign(view / name) else None


def _is_view_place(place: str) -> bool:
    folder, _, name = place.partition("/")
    return folder == "views" and VIEW.fullmatch(name) is not None


def _is_view(path: Path) -> bool:
    """Whether it is one of our own links, which a killed `take` left here; views are made anew."""
    try:
        return path.readlink().parts[:1] == ("views",)
    except OSError:
        return False


def _remove(path: Path) -> None:
    """As far as this user may: what another one left without rights stays, and hurts nobody."""
    if is_foreign(path):
        for folder, _, _ in os.walk(path):
            with contextlib.suppress(OSError):
                Path(folder).chmod(0o755)
        with contextlib.suppress(RecursionError):
            shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _changed(path: Path) -> int:
    try:
        return path.lstat().st_mtime_ns
    except FileNotFoundError:
        return 0
