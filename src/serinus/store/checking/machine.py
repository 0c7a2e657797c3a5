"""What lies on this machine beside the truth: views for people and old tools, copies of what is in a bucket.

All of it is made again from the journal and the store, so nothing here is an error.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from serinus.core.enums import Arm, VersionState
from serinus.core.errors import Corrupt, SerinusError
from serinus.rollout.state import State, VersionRecord
from serinus.store import publish
from serinus.store.checking.chronicle import Chronicle
from serinus.store.checking.findings import REPAIR, Kind, Problem, Severity, problem
from serinus.store.checking.ground import Ground
from serinus.store.checking.trees import ARTIFACT, GOLDEN, Donors, Shape, tree_problems
from serinus.store.journal import decode_snapshot
from serinus.store.view import VIEW, being_written, holds, read_link, strays
from serinus.store.views import Views, roles
from serinus.store.witness import LAST_STATE

_LINK = re.compile(r"\d{6,}")


def view_seqs(root: Path | None) -> frozenset[int]:
    """Numbers of the events after which the views that are there were made."""
    folder = root / "views" if root is not None else None
    if folder is None or not folder.is_dir():
        return frozenset()
    return frozenset(int(m[1]) for m in (VIEW.fullmatch(path.name) for path in folder.iterdir()) if m)


def view_problems(ground: Ground, chronicle: Chronicle, views: Views) -> Iterator[Problem]:
    """`versions/`, `current`, `canary` and the folders behind them, against the state.

    Not where the journal lost its end: then they may be all that tells of it.
    """
    if ground.root is None or not chronicle.whole or chronicle.lost:
        return
    look = _Look(ground.root, views)

    def heal() -> bool:
        views.refresh(chronicle.now)
        return True

    for path in look.wrong(chronicle.state):
        words = look.wrong(chronicle.now()).get(path)
        if words:  # else it was on its way, or is healed by now
            yield problem(Severity.WARNING, Kind.VIEW, str(path), words, remedy=REPAIR, heal=heal)
    for path in look.written_into():
        yield problem(
            Severity.WARNING,
            Kind.VIEW,
            str(path),
            f"Somebody else wrote {', '.join(sorted(strays(path)))} into this view.",
            remedy="A running controller imports it when it is complete; or move it out by hand.",
        )
    for path in look.old(chronicle):
        yield problem(
            Severity.INFO,
            Kind.VIEW,
            str(path),
            "It is an old view that nothing links to, and not what was generated.",
            remedy=REPAIR,
            heal=lambda path=path: _discard(ground, path),  # type: ignore[misc]
        )


def _discard(ground: Ground, path: Path) -> bool:
    ground.disk.discard_tree(path)
    return True


class _Look:
    """What is not on this machine needs no links."""

    def __init__(self, root: Path, views: Views) -> None:
        self._root = root
        self._views = views

    def _here(self, record: VersionRecord) -> bool:
        return (self._root / publish.key(record.digest)).is_dir()

    def wrong(self, state: State) -> dict[Path, str]:
        """What does not say what `state` says, and in which way."""
        found = dict(self._wrong_versions(state))
        for role, (record, weight) in roles(state).items():
            words = self._wrong_role(role, record, weight)
            if words:
                found[self._root / role] = words
        return found

    def _wrong_versions(self, state: State) -> Iterator[tuple[Path, str]]:
        wanted = {
            f"{version:06d}": f"../artifacts/{record.digest}"
            for version, record in state.versions.items()
            if record.state is not VersionState.REMOVED
        }
        away = {f"{version:06d}" for version, one in state.versions.items() if not self._here(one)}
        folder = self._root / "versions"
        present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        for name in sorted(wanted.keys() | set(filter(_LINK.fullmatch, present))):
            target = wanted.get(name)
            absent = name in away and name not in present
            if read_link(folder / name) != target and not absent:
                yield (
                    folder / name,
                    f"It should point to {target}." if target else "There is no such version.",
                )

    def _wrong_role(self, role: Arm, record: VersionRecord | None, weight: float) -> str:
        link = self._root / role
        linked = read_link(link)
        if linked is None and link.exists():
            return ""  # somebody else's folder, on its way in
        if record is None:
            return f"No version is {role} now." if linked is not None else ""
        if not self._here(record):
            return ""
        return self._wrong_view(role, linked, record, weight)

    def _wrong_view(self, role: Arm, linked: str | None, record: VersionRecord, weight: float) -> str:
        if linked is None:
            return f"The link is missing: version {record.version} is {role}."
        try:
            view = self._views.view(role, record, weight)
        except (SerinusError, OSError):
            return ""  # its artifact is damaged, which is said there
        inside = Path(linked).parent == Path("views")
        if inside and (holds(self._root / linked, view) or being_written(self._root / linked)):
            return ""  # or it is held back, which is said of the folder
        return f"It does not show version {record.version} as it is {role} now."

    def written_into(self) -> Iterator[Path]:
        """Views that hold something of somebody else."""
        folder = self._root / "views"
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if VIEW.fullmatch(path.name) and strays(path):
                yield path

    def old(self, chronicle: Chronicle) -> Iterator[Path]:
        """Views of ours alone that nothing links to and that are not what was generated then."""
        folder = self._root / "views"
        linked = {read_link(self._root / role) for role in Arm}
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            match = VIEW.fullmatch(path.name)
            state = chronicle.states.get(int(match[1])) if match else None
            if match is None or state is None or f"views/{path.name}" in linked or strays(path):
                continue
            role = Arm(match[2])
            record, weight = roles(state)[role]
            try:
                view = None if record is None else self._views.view(role, record, weight)
            except (SerinusError, OSError):
                continue
            if (view is None or not holds(path, view)) and path.exists():
                yield path


def copy_problems(ground: Ground) -> Iterator[Problem]:
    """The local copies of what lies in a bucket, byte by byte."""
    if ground.copies is None:
        return
    local = ground.of_copies()
    try:
        for key, shape in _copied(local):
            for found in tree_problems(local, Donors(local), key, shape, gone=lambda: True):
                if found.finding.kind is Kind.MODE:
                    yield found
                    continue
                yield problem(
                    Severity.WARNING,
                    Kind.COPY,
                    found.finding.name,
                    f"The local copy is damaged, not the store: {found.finding.words}",
                    remedy=f"{REPAIR} It is fetched anew when it is needed.",
                    heal=lambda key=key: ground.backend.forget_local(key),  # type: ignore[misc]
                )
                break
    finally:
        local.close()


def state_problems(ground: Ground) -> Iterator[Problem]:
    """What is remembered for a start without the bucket; who finds it damaged goes without."""
    if ground.copies is None or ground.root is None:
        return
    for path in sorted(ground.root.glob(f"{LAST_STATE}*.json")):
        try:
            decode_snapshot(ground.disk.read(path) or b"", str(path))
        except (Corrupt, OSError) as error:
            yield problem(
                Severity.WARNING,
                Kind.TORN,
                str(path),
                f"It is skipped by its readers. {error}",
                remedy=f"{REPAIR} It is written anew.",
                heal=lambda path=path: _drop(path),  # type: ignore[misc]
            )


def _drop(path: Path) -> bool:
    path.unlink(missing_ok=True)
    return True


def _copied(local: Ground) -> Iterator[tuple[str, Shape]]:
    for digest in publish.Artifacts(local.backend).digests():
        yield publish.key(digest), ARTIFACT
    for name in local.backend.names("golden"):
        for digest_ in filter(publish.is_digest, local.backend.names(f"golden/{name}")):
            yield f"golden/{name}/{digest_}", GOLDEN
