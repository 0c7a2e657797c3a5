"""A disk that may forget: what a power cut can leave, for all that POSIX promises.

POSIX promises little: the bytes of a file are safe once it was fsynced, and an entry of a folder (a name that
came, went or changed) once that folder was fsynced. Nothing else: an entry is not safe because its file is,
nor a folder's content because the folder is, nor does the order of two changes hold. So each change of a
folder since its last fsync may have survived or not, by itself; and a file that was not fsynced may be empty,
zeros, a half or whole. Only a rename is taken for one change, between two folders too, as file systems with a
journal make it: a store could not move anything if its old name might go without the new one coming.

All combinations are too many; made are those that contradict a wrong order soonest: nothing survives that was
not synced; everything does; everything but one change; only one change. Files that were not synced are in
turn whole and not.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

from tests.store.crash.operations import is_temporary


class File:
    def __init__(self, data: bytes = b"", durable: bytes = b"") -> None:
        self.data = data
        self.durable = durable


class Link(NamedTuple):
    target: str


class Folder:
    def __init__(self) -> None:
        self.entries: dict[str, Node] = {}
        self.durable: dict[str, Node] = {}
        self.pending: list[Change] = []

    def change(self, change: "Change") -> None:
        self.pending.append(change)
        _alter(self.entries, change.here(self))

    def sync(self) -> None:
        self.durable = dict(self.entries)
        for change in self.pending:
            for other in change.folders:
                if other is not self:
                    other.settle(change)
        self.pending = []

    def settle(self, change: "Change") -> None:
        """The other half of a rename is safe; what the same names were before does not matter any more."""
        names = change.here(self)
        _alter(self.durable, names)
        self.pending = [one for one in self.pending if not names.keys() & one.here(self).keys()]


class Change:
    """Names that came (with what they name) or went (None), in one folder or, moved, in two."""

    def __init__(self) -> None:
        self._entries: list[tuple[Folder, Entries]] = []

    def add(self, folder: Folder, name: str, node: "Node | None") -> None:
        self._entries.append((folder, {name: node}))

    @property
    def folders(self) -> "list[Folder]":
        return list({id(folder): folder for folder, _ in self._entries}.values())

    def here(self, folder: Folder) -> "Entries":
        return {name: node for one, names in self._entries if one is folder for name, node in names.items()}


Node: TypeAlias = File | Link | Folder
Entries: TypeAlias = dict[str, Node | None]
Content: TypeAlias = Callable[[File], bytes]
Tree: TypeAlias = dict[str, bytes | str | None]
"""By path: a file's bytes, a link's target, None for a folder."""


def _alter(entries: dict[str, Node], names: Entries) -> None:
    for name, node in names.items():
        if node is None:
            entries.pop(name, None)
        else:
            entries[name] = node


def _lost(file: File) -> bytes:
    return file.durable


def _zeros(file: File) -> bytes:
    return file.data if file.data == file.durable else bytes(len(file.data))


def _half(file: File) -> bytes:
    return file.data if file.data == file.durable else file.data[: len(file.data) // 2]


def _whole(file: File) -> bytes:
    return file.data


class DiskModel:
    """The disk below `top`, all of it durable at first; then `apply` each line of the shim's record."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self._root = _load(top)
        self._open: dict[int, tuple[Node, int]] = {}

    def new_process(self) -> None:
        """Whoever had files open is gone."""
        self._open = {}

    def apply(self, line: str) -> None:
        call, *words = line.split("\t")
        match call:
            case "open":
                self._opened(words[0], int(words[1]), made=words[2] == "1", truncated=words[3] == "1")
            case "write":
                self._write(int(words[0]), int(words[1]), bytes.fromhex(words[2]))
            case "truncate":
                file, _ = self._open[int(words[0])]
                assert isinstance(file, File)
                file.data = file.data[: int(words[1])].ljust(int(words[1]), b"\0")
            case "fsync":
                node, _ = self._open[int(words[0])]
                if isinstance(node, File):
                    node.durable = node.data
                elif isinstance(node, Folder):
                    node.sync()
            case "close":
                self._open.pop(int(words[0]), None)
            case "link":
                self._change({words[1]: self._node(words[0])})
            case "rename":
                self._change({words[0]: None, words[1]: self._node(words[0])})
            case "symlink":
                self._change({words[1]: Link(words[0])})
            case "unlink":
                self._change({words[0]: None})
            case "mkdir":
                self._change({words[0]: Folder()})
            case _:
                raise AssertionError(f"the record says {line!r}")

    def _opened(self, path: str, descriptor: int, *, made: bool, truncated: bool) -> None:
        if made:
            self._change({path: File()})
        node = self._node(path)
        if truncated and isinstance(node, File):
            node.data = b""
        self._open[descriptor] = (node, 0)

    def _write(self, descriptor: int, offset: int, data: bytes) -> None:
        file, at = self._open[descriptor]
        assert isinstance(file, File)
        start = at if offset < 0 else offset
        file.data = file.data[:start].ljust(start, b"\0") + data + file.data[start + len(data) :]
        self._open[descriptor] = (file, start + len(data) if offset < 0 else at)

    def _node(self, path: str) -> Node:
        """What lies there; links are followed on the way, not at the end."""
        found: Node = self._root
        at = Path(self._top)
        for part in Path(path).relative_to(self._top).parts:
            if isinstance(found, Link):
                at = Path(os.path.normpath(at.parent / found.target))
                found = self._node(str(at))
            assert isinstance(found, Folder)
            found, at = found.entries[part], at / part
        return found

    def _change(self, changes: dict[str, Node | None]) -> None:
        change = Change()
        for path, node in changes.items():
            folder = self._node(str(Path(path).parent))
            assert isinstance(folder, Folder)
            change.add(folder, Path(path).name, node)
        for folder in change.folders:
            folder.change(change)

    # -- what a power cut can leave --------------------------------------------------------------------------

    def leftovers(self) -> Iterator[Tree]:
        """Trees that may be there after a power cut now; temporary files are left out."""
        pending = _visible(self._root)
        everything = set(pending)
        choices = [set(), everything] if pending else [everything]
        choices += [everything - {one} for one in pending] + [{one} for one in pending]
        for chosen in choices:
            yield self._survivors(chosen, _lost)
            yield self._survivors(chosen, _whole)
        for content in (_zeros, _half):
            yield self._survivors(everything, content)

    def _survivors(self, chosen: set[int], content: Content) -> Tree:
        tree: Tree = {}
        _render(self._root, Path(), chosen, content, tree)
        return tree


def _load(path: Path) -> Folder:
    folder = Folder()
    for child in path.iterdir():
        if child.is_symlink():
            folder.entries[child.name] = Link(str(child.readlink()))
        elif child.is_dir():
            folder.entries[child.name] = _load(child)
        else:
            data = child.read_bytes()
            folder.entries[child.name] = File(data, data)
    folder.sync()
    return folder


def _visible(root: Folder) -> list[int]:
    """The changes in all folders that can be reached by what is or was there, without temporary names."""
    changes: list[int] = []
    seen: set[int] = set()
    todo = [(root, Path())]
    while todo:
        folder, path = todo.pop()
        if id(folder) in seen:
            continue
        seen.add(id(folder))
        nodes = list(folder.durable.items())
        for change in folder.pending:
            lasting = [
                (name, node) for name, node in change.here(folder).items() if not is_temporary(path / name)
            ]
            if lasting and id(change) not in changes:
                changes.append(id(change))
            nodes += [(name, node) for name, node in lasting if node is not None]
        todo += [
            (node, path / name)
            for name, node in nodes
            if isinstance(node, Folder) and not is_temporary(path / name)
        ]
    return changes


def _render(folder: Folder, path: Path, chosen: set[int], content: Content, tree: Tree) -> None:
    entries = dict(folder.durable)
    for change in folder.pending:
        if id(change) in chosen:
            _alter(entries, change.here(folder))
    for name, node in entries.items():
        below = path / name
        if is_temporary(below):
            continue
        if isinstance(node, Folder):
            tree[str(below)] = None
            _render(node, below, chosen, content, tree)
        else:
            tree[str(below)] = node.target if isinstance(node, Link) else content(node)


def write(tree: Tree, to: Path) -> None:
    """Makes `tree` real."""
    to.mkdir(parents=True)
    for name, what in sorted(tree.items()):
        path = to / name
        if what is None:
            path.mkdir()
        elif isinstance(what, str):
            path.symlink_to(what)
        else:
            path.write_bytes(what)
