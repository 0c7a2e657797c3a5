"""What people and old tools see in MODEL_DIR: `versions/`, `current` and `canary`, generated from the state.

A view is a folder `views/<seq>-<role>/` with links to the artifact's files and a projected `version.json`;
the name `current` is a link to it that is swapped by one rename. Views are never changed, only replaced, and
can be made again from the journal at any time, so they are not synced.

Where the store lies in a bucket, MODEL_DIR holds copies of some artifacts only. A version whose files are not
here has no link: what a tool finds, it can open.
"""

import contextlib
import re
from collections.abc import Callable
from pathlib import Path

from serinus.artifact.manifest import Manifest
from serinus.artifact.validate import MANIFEST, MODEL
from serinus.core.enums import Arm, VersionState
from serinus.core.ids import Digest, NewId
from serinus.rollout.state import State, VersionRecord
from serinus.store.incoming import is_foreign
from serinus.store.local import Disk
from serinus.store.view import (
    VERSION_JSON,
    VIEW,
    View,
    being_written,
    card,
    encode_card,
    holds,
    read_link,
    strays,
)

_LINKED = (MODEL, "best.pt", "best.json")
_LINK = re.compile(r"\d{6,}")
_KEPT = 3
_ROUNDS = 20


class Views:
    """Writes the views below `root`. Several processes may do so at once: whoever ends last has read the
    newest state after its last change, so what remains is right."""

    def __init__(
        self,
        root: Path,
        disk: Disk,
        *,
        new_id: NewId,
        manifest: Callable[[Digest], Manifest],
        here: Callable[[Digest], bool],
    ) -> None:
        self._root = root
        self._disk = disk
        self._new_id = new_id
        self._manifest = manifest
        self._here = here

    def refresh(self, read_state: Callable[[], State]) -> None:
        """Makes `versions/`, `current` and `canary` say what the state says; heals what is missing or wrong.

        A real file in such a place, or a folder in `versions/`, is somebody else's: it is moved to
        `incoming/<id>`, never destroyed. A real folder `current/` or `canary/` may be one that a trainer is
        still writing: the link is held back until `store.incoming` has taken it. So it is while somebody's
        model lies in the folder that the link points to.
        """
        state = read_state()
        for _ in range(_ROUNDS):
            self._write(state)
            newer = read_state()
            if newer.seq == state.seq:
                break
            state = newer

    def _write(self, state: State) -> None:
        self._point_versions(state)
        for role, (record, weight) in roles(state).items():
            self._point_role(state, role, record, weight)
        self._remove_old()

    def _point_versions(self, state: State) -> None:
        folder = self._root / "versions"
        wanted = {
            f"{version:06d}": record.digest
            for version, record in state.versions.items()
            if record.state is not VersionState.REMOVED and self._here(record.digest)
        }
        for name, digest in wanted.items():
            self._point(folder / name, f"../artifacts/{digest}")
        for name in self._disk.names(folder):
            path = folder / name
            if name not in wanted and _LINK.fullmatch(name) and path.is_symlink():
                path.unlink(missing_ok=True)

    def _point_role(self, state: State, role: Arm, record: VersionRecord | None, weight: float) -> None:
        link = self._root / role
        linked = read_link(link)
        inside = linked is not None and Path(linked).parent == Path("views")
        if is_foreign(link) or (inside and being_written(link)):
            return
        if record is not None and not self._here(record.digest):
            if role is Arm.CURRENT and link.exists():
                return  # who answered before stays until its successor is here
            record = None
        if record is None:
            self._set_aside(link)
            link.unlink(missing_ok=True)
            return
        view = self.view(role, record, weight)
        if not inside or not holds(link, view):
            self._point(link, f"views/{self._make(state.seq, role, view)}")

    def view(self, role: Arm, record: VersionRecord, weight: float) -> View:
        """What the folder of a role must hold. Raises Corrupt, NotFound for its manifest."""
        manifest = self._manifest(record.digest)
        artifact = f"../../artifacts/{record.digest}"
        document = card(record, manifest, role, weight=weight)
        return View(
            {name: f"{artifact}/{name}" for name in _LINKED if name in manifest.files}
            | {MANIFEST: f"{artifact}/{MANIFEST}"},
            encode_card(document),
        )

    def _make(self, seq: int, role: Arm, view: View) -> str:
        """A folder that holds `view`: `<seq>-<role>`, with a suffix where that name holds something else."""
        name = f"{seq:010d}-{role}"
        folder = self._root / "views"
        if holds(folder / name, view):
            return name
        with self._disk.temporary_tree(folder / name) as temporary:
            for relative, target in view.links.items():
                (temporary / relative).symlink_to(target)
            (temporary / VERSION_JSON).write_bytes(view.card)
            if self._disk.publish_tree(temporary, folder / name, durable=False) or holds(folder / name, view):
                return name
            suffixed = f"{name}-{self._new_id()}"
            self._disk.publish_tree(temporary, folder / suffixed, durable=False)
            return suffixed

    def _point(self, link: Path, target: str) -> None:
        if read_link(link) != target:
            self._set_aside(link)
            self._disk.point(link, target)

    def _set_aside(self, path: Path) -> None:
        """Moves what is no link of ours out of the way, whole, to be imported or looked at."""
        if path.exists() and not path.is_symlink():
            incoming = self._root / "incoming"
            with contextlib.suppress(FileNotFoundError):
                path.rename(incoming / self._new_id())
                self._disk.sync(incoming)  # the link that comes in its place must not be all that is left
                self._disk.sync(path.parent)

    def _remove_old(self) -> None:
        folder = self._root / "views"
        matches = [match for name in self._disk.names(folder) if (match := VIEW.fullmatch(name))]
        linked = {read_link(self._root / role) for role in Arm}
        for role in Arm:
            names = sorted(match[0] for match in matches if match[2] == role)
            for name in names[:-_KEPT]:
                if f"views/{name}" not in linked and not strays(folder / name):
                    self._disk.discard_tree(folder / name)


def roles(state: State) -> dict[Arm, tuple[VersionRecord | None, float]]:
    """Which version has each role, and its share of the traffic."""
    share = state.rollout.share if state.rollout is not None and state.canary is not None else 0.0
    current = None if state.current is None else state.versions[state.current]
    return {Arm.CURRENT: (current, 1.0 - share), Arm.CANARY: (state.canary, share)}
