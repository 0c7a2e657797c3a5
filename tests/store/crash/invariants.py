"""What must hold after anything, read from the files themselves; the store's own view must agree with it.

1. Journal: numbers without a gap, every file whole, each naming its predecessor's hash; what was there before
   is there byte for byte; so no number was ever given twice and no counter went back.
2. Versions: each has a manifest that gave its artifact its name, and files with the hashes that it names. An
   artifact that never had a version is complete too.
3. Links: `current` and `canary` never lead nowhere; after healing they and `versions/` say what the journal
   says.
   A file of somebody else in their place is never lost; a folder holds its link back until it is taken.
4. Evidence: slices without a gap, each naming its predecessor. Golden sets: whole.
5. What was confirmed is there.
6. What is not durable on purpose (observations, heartbeats, the hint) can be read or is left out.
7. Nothing temporary outlives the next start (an hour later), and `store check` finds no error then.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from serinus.core.enums import VersionState
from serinus.core.errors import SerinusError
from serinus.store import Store
from serinus.store.checking.findings import Severity
from tests.store.crash.operations import LATER, Place, copied, opened, temporaries


class Before(NamedTuple):
    """What must not be lost."""

    kept: dict[str, bytes]
    """Journal and evidence, by path below the root."""
    next_version: int
    rollouts: int
    golden: dict[str, str]
    foreign: list[bytes]
    """Files of others in the place of our links."""

    @classmethod
    def of(cls, place: Place) -> "Before":
        if not place.root.exists():
            return cls({}, 1, 0, {}, [])
        links = [place.root / "current", place.root / "canary", *(place.root / "versions").iterdir()]
        foreign = [_files(link) for link in links if not link.is_symlink()]
        store = opened(place)
        state = store.state()
        files = [path for part in ("journal", "evidence") for path in (place.root / part).rglob("*.json")]
        return cls(
            {
                str(path.relative_to(place.root)): path.read_bytes()
                for path in files
                if path.parent.name != "snapshots"
            },
            state.next_version,
            state.rollouts,
            {found.name: found.digest for found in store.golden_sets()},
            [data for files in foreign for data in files],
        )


def violations(
    place: Place, before: Before, said: list[list[Any]], *, links_are_durable: bool = True
) -> list[str]:
    """In words; none when all holds. Heals the store as a start does.

    `links_are_durable`: false after a power cut, which may take links and views that are made again.
    """
    found: list[str] = []
    try:
        if links_are_durable:
            found += _dangling(place.root)
        store = opened(place, later=LATER)
        store.refresh_views()
        found += _journal(place.root, store, before)
        found += _versions(place.root, store, before)
        found += _dangling(place.root)
        found += _links(place.root, store)
        found += _evidence(place.root)
        found += _golden(store, before)
        found += unconfirmed(store, place, said)
        store.new_observations(1, {})
        store.replicas()
        store.routes()
        found += _foreign(place.root, before)
        found += [f"{name} outlives a start" for name in temporaries(place.root)]
        found += [f"store check: {words}" for words in _errors(store)]
    except (SerinusError, OSError, AssertionError, LookupError, ValueError) as error:
        found.append(f"{type(error).__name__}: {error}")
    return found


def _errors(store: Store) -> list[str]:
    """For which `store check` would not end with 0."""
    return [one.words for one in store.check() if one.severity is Severity.ERROR]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _chain(folder: Path, first: int) -> Iterator[tuple[Path, bytes, str]]:
    """Numbered files with the hash that each must name."""
    paths = sorted(path for path in folder.iterdir() if not path.is_dir())
    assert [path.name for path in paths] == [f"{n + first:010d}.json" for n in range(len(paths))], (
        f"{folder.name} has a gap or something odd: {[path.name for path in paths]}"
    )
    head = ""
    for path in paths:
        data = path.read_bytes()
        yield path, data, head
        head = _sha256(data)


def _journal(root: Path, store: Store, before: Before) -> Iterator[str]:
    count = 0
    for path, data, head in _chain(root / "journal", 1):
        count += 1
        document = json.loads(data)
        if document["prev"] != head or document["seq"] != count:
            yield f"{path.name} does not follow its predecessor"
    state, events = store.state(), list(store.events())
    if not state.seq == len(events) == count:
        yield f"the state is at {state.seq}, {len(events)} events are read, {count} files are there"
    if len({event.id for event in events}) != count:
        yield "an event is there twice"
    if state.next_version < before.next_version or state.rollouts < before.rollouts:
        yield "a counter went back"
    for name, data in before.kept.items():
        path = root / name
        if not path.is_file() or path.read_bytes() != data:
            yield f"{name} was lost or changed"


def _versions(root: Path, store: Store, before: Before) -> Iterator[str]:
    state = store.state()
    if sorted(state.versions) != list(range(1, len(state.versions) + 1)):
        yield f"the versions are {sorted(state.versions)}"
    for record in state.versions.values():
        store.manifest(record.digest)
        if record.state is not VersionState.REMOVED:
            store.verify(record.digest)
            yield from _artifact(root / "artifacts" / record.digest)
    for path in (root / "artifacts").iterdir():
        if len(path.name) == 64 and path.name not in state.removed:
            yield from _artifact(path)


def _artifact(folder: Path) -> Iterator[str]:
    data = (folder / "manifest.json").read_bytes()
    if _sha256(data) != folder.name:
        yield f"the manifest of {folder.name} is another one"
    named = {name: entry["sha256"] for name, entry in json.loads(data)["files"].items()}
    present = {
        path.relative_to(folder).as_posix(): _sha256(path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    if named != present:
        yield f"artifact {folder.name} is not what its manifest names"


def _dangling(root: Path) -> Iterator[str]:
    for link in (root / "current", root / "canary"):
        if link.is_symlink():
            json.loads((link / "version.json").read_bytes())
            if not (link / "model.onnx").exists():
                yield f"{link.name} leads nowhere"


def _links(root: Path, store: Store) -> Iterator[str]:
    state = store.state()
    canary = None if state.canary is None else state.canary.version
    for role, version in (("current", state.current), ("canary", canary)):
        link = root / role
        if version is None:
            if link.is_symlink() or link.exists():
                yield f"{role} is there, the journal knows none"
        elif link.is_dir() and not link.is_symlink():
            continue  # somebody else's: it is held back
        elif not link.is_symlink() or json.loads((link / "version.json").read_bytes())["version"] != version:
            yield f"{role} is not version {version}"
        elif (
            not (link / "model.onnx")
            .resolve()
            .is_relative_to((root / "artifacts" / state.versions[version].digest).resolve())
        ):
            yield f"{role} has the files of another version"
    wanted = {
        f"{record.version:06d}": f"../artifacts/{record.digest}"
        for record in state.versions.values()
        if record.state is not VersionState.REMOVED
    }
    there = {path.name: str(path.readlink()) for path in (root / "versions").iterdir() if path.is_symlink()}
    if there != wanted:
        yield f"versions/ holds {there}, the journal {wanted}"
    if not all((root / "versions" / name).exists() for name in wanted):
        yield "a link in versions/ leads nowhere"


def _files(path: Path) -> list[bytes]:
    return [file.read_bytes() for file in (path, *path.rglob("*")) if file.is_file()]


def _foreign(root: Path, before: Before) -> Iterator[str]:
    places = (root / "incoming", root / "current", root / "canary", root / "versions")
    there = [data for place in places if not place.is_symlink() for data in _files(place)]
    for data in before.foreign:
        if there.count(data) != 1:
            yield f"somebody else's file {data!r} is there {there.count(data)} times"


def _evidence(root: Path) -> Iterator[str]:
    for folder in (root / "evidence").iterdir():
        for path, data, head in _chain(folder, 0):
            if json.loads(data)["prev"] != head:
                yield f"slice {path.name} of rollout {folder.name} does not follow its predecessor"


def _golden(store: Store, before: Before) -> Iterator[str]:
    there = {found.name for found in store.golden_sets(verify=True)}
    if not before.golden.keys() <= there:
        yield f"golden sets {before.golden.keys() - there} were lost"


def unconfirmed(store: Store, place: Place, said: list[list[Any]]) -> Iterator[str]:
    """What the store told somebody and does not hold."""
    state = store.state()
    events = {event.seq: event.id for event in store.events()}
    for what, *words in said:
        match what:
            case "event":
                held = events.get(words[0]) == words[1]
            case "version":
                record = state.versions.get(words[0])
                held = record is not None and record.digest == words[1]
            case "frozen":
                frozen = store.frozen(words[0], words[1])
                held = frozen is not None and frozen.digest == words[2]
            case "golden":
                held = (words[0], words[1]) in {(s.name, s.digest) for s in store.golden_sets()}
            case "copied":
                copy = copied(place)
                yield from (f"of the copy: {words}" for words in _errors(copy))
                held = copy.state() == state
            case "removed":
                held = state.versions[words[0]].state is VersionState.REMOVED
            case _:
                held = what == "views"
        if not held:
            yield f"confirmed and lost: {what} {words}"
