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
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from serinus.artifact.manifest import Manifest
from serinus.artifact.validate import MANIFEST, MODEL
from serinus.core.enums import Arm, VersionState
from serinus.core.ids import Digest, NewId, Version
from serinus.rollout.state import State, VersionRecord
from serinus.store.incoming import is_foreign
from serinus.store.local import Disk

VERSION_JSON = "version.json"
_LINKED = (MODEL, "best.pt", "best.json")
VIEW = re.compile(r"(\d{10})-(current|canary)(-[0-9a-f]+)?")
_LINK = re.compile(r"\d{6,}")
_KEPT = 3
_ROUNDS = 20


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """The documented names; null where the manifest does not say."""

    train_epochs: int | None
    final_map: float | None
    final_precision: float | None
    final_recall: float | None


class VersionCard(msgspec.Struct, frozen=True, kw_only=True):
    """`version.json`: the documented fields first. Times are UTC without a zone, `2024-01-15T10:30:00`."""

    version: Version
    timestamp: str
    canary_start_time: str | None
    traffic_weight: float
    metrics: Metrics
    sha256: Digest
    role: Arm
    state: VersionState
    note: str


class View(NamedTuple):
    """What a view folder must hold."""

    links: dict[str, str]
    card: bytes


def iso(seconds: float) -> str:
    """UTC seconds as the documented time stamp, whole seconds, no zone."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat(timespec="seconds")


def card(record: VersionRecord, manifest: Manifest, role: Arm, *, weight: float) -> VersionCard:
    """Projects a version into its `version.json`."""
    epochs = manifest.metrics.get("train_epochs")
    return VersionCard(
        version=record.version,
        timestamp=iso(record.published_at),
        canary_start_time=None if record.canary_at is None else iso(record.canary_at),
        traffic_weight=weight,
        metrics=Metrics(
            train_epochs=None if epochs is None else int(epochs),
            final_map=manifest.metrics.get("map50"),
            final_precision=manifest.metrics.get("precision"),
            final_recall=manifest.metrics.get("recall"),
        ),
        sha256=record.digest,
        role=role,
        state=record.state,
        note=record.note,
    )


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
        still writing: the link is held back until `store.incoming` has taken it.
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
        if is_foreign(link):
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
        linked = read_link(link)
        if linked is None or Path(linked).parent != Path("views") or not holds(self._root / linked, view):
            self._point(link, f"views/{self._make(state.seq, role, view)}")

    def view(self, role: Arm, record: VersionRecord, weight: float) -> View:
        """What the folder of a role must hold. Raises Corrupt, NotFound for its manifest."""
        manifest = self._manifest(record.digest)
        artifact = f"../../artifacts/{record.digest}"
        document = card(record, manifest, role, weight=weight)
        return View(
            {name: f"{artifact}/{name}" for name in _LINKED if name in manifest.files}
            | {MANIFEST: f"{artifact}/{MANIFEST}"},
            msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n",
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
                if f"views/{name}" not in linked:
                    self._disk.discard_tree(folder / name)


def roles(state: State) -> dict[Arm, tuple[VersionRecord | None, float]]:
    """Which version has each role, and its share of the traffic."""
    share = state.rollout.share if state.rollout is not None and state.canary is not None else 0.0
    current = None if state.current is None else state.versions[state.current]
    return {Arm.CURRENT: (current, 1.0 - share), Arm.CANARY: (state.canary, share)}


def read_link(path: Path) -> str | None:
    """Where a symbolic link points, None when it is none."""
    try:
        return str(path.readlink())
    except OSError:
        return None


def holds(folder: Path, view: View) -> bool:
    """Whether `folder` holds exactly `view`."""
    try:
        return (
            {path.name for path in folder.iterdir()} == {*view.links, VERSION_JSON}
            and all(read_link(folder / name) == target for name, target in view.links.items())
            and (folder / VERSION_JSON).read_bytes() == view.card
        )
    except OSError:
        return False
