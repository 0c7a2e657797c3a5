"""Artifacts: a draft becomes the tree `artifacts/<digest>`, immutable, named by its manifest's digest.

Nothing here gives a version its number: that is the `published` event, the one commit point. A tree that is
complete and never got its event is an orphan: harmless, never shared, and taken away by `versions gc` when it
is so old that nobody can be about to publish it. The manifest of a removed version stays, as
`removed/<digest>.json`.
"""

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import msgspec

from serinus.artifact.files import (
    copy_regular,
    file_entries,
    regular_files,
    sha256_bytes,
    sha256_file,
    sha256_pieces,
)
from serinus.artifact.manifest import Manifest, content_key, decode_manifest, encode_manifest
from serinus.artifact.validate import MANIFEST, read_draft
from serinus.core.errors import Corrupt, InvalidInput, NotFound
from serinus.core.ids import Digest
from serinus.rollout.state import State
from serinus.store.backend import Backend, Moved, ignore

FOLDER = "artifacts"
_REMOVED = "removed"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_RESUMED_SECONDS = 12 * 3600.0
"""How long what an interrupted publication left may be used: half of the time that orphans are left alone."""
Sign: TypeAlias = Callable[[Manifest], Manifest]
"""Gives a manifest its signature, always the same one (`artifact.signing.Signer`)."""
_PUBLISH_AGAIN = "The version cannot be used. Restore the file from a backup, or publish the model again."


class Artifacts:
    """`artifacts/`. Thread-safe; any number of processes may share it."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._manifests: dict[Digest, Manifest] = {}

    def digests(self) -> list[Digest]:
        """Every tree that is there, sorted, with or without a version."""
        return [Digest(name) for name in sorted(self._backend.names(FOLDER)) if _DIGEST.fullmatch(name)]

    def path(self, digest: Digest, moved: Moved = ignore) -> Path:
        """The folder of an artifact, fetched where artifacts lie elsewhere.

        Raises NotFound, and Corrupt when what was fetched is not what was published.
        """
        if not _DIGEST.fullmatch(digest):
            raise _unknown(digest)
        try:
            return self._backend.tree(
                key(digest), index=MANIFEST, check=lambda folder: check_folder(folder, digest), moved=moved
            )
        except NotFound as error:
            raise _unknown(digest) from error

    def manifest(self, digest: Digest) -> Manifest:
        """Raises NotFound, and Corrupt when the manifest is not the one that gave the artifact its name."""
        known = self._manifests.get(digest)
        if known is None:
            known = self._copied_manifest(digest) or self._read_manifest(digest)
            self._manifests[digest] = known
        return known

    def _copied_manifest(self, digest: Digest) -> Manifest | None:
        """As in the local copy, if there is one: the same bytes, since they give it its name."""
        folder = self.copy(digest)
        try:
            path = None if folder is None else folder / MANIFEST
            data = path.read_bytes() if path is not None and path.is_file() else None
        except OSError:
            return None
        intact = data is not None and sha256_bytes(data) == digest
        return _decode(data, str(folder), digest) if data is not None and intact else None

    def copy(self, digest: Digest) -> Path | None:
        """The artifact's folder, if it is on this machine; asks nobody."""
        return self._backend.local(key(digest)) if _DIGEST.fullmatch(digest) else None

    def _read_manifest(self, digest: Digest) -> Manifest:
        return _decode(*self._manifest_file(digest))

    def manifest_bytes(self, digest: Digest) -> bytes:
        """The manifest's file, which is what is signed. Raises as `manifest` does."""
        data, name, _ = self._manifest_file(digest)
        _decode(data, name, digest)
        return data

    def _manifest_file(self, digest: Digest) -> tuple[bytes, str, Digest]:
        """Its bytes, not checked yet, and their name."""
        manifest_key = f"{key(digest)}/{MANIFEST}"
        for place in (manifest_key, removed_key(digest)):
            data = self._backend.read(place) if _DIGEST.fullmatch(digest) else None
            if data is not None:
                return data, self._backend.name(place), digest
        if not _DIGEST.fullmatch(digest) or not self._backend.has_tree(key(digest), index=MANIFEST):
            raise _unknown(digest)
        raise Corrupt(f"{self._backend.name(manifest_key)} is missing.", remedy=_PUBLISH_AGAIN)

    def verify(self, digest: Digest) -> None:
        """Reads every byte again. Raises NotFound, or Corrupt naming a missing, changed or extra file.

        Where artifacts lie elsewhere it is the local copy that is read, and one that was damaged is fetched
        anew.
        """
        folder = self.path(digest)
        try:
            check_folder(folder, digest)
        except Corrupt:
            if not self._backend.forget_local(key(digest)):
                raise
            check_folder(self.path(digest), digest)

    def verify_stored(self, digest: Digest) -> None:
        """As `verify`, on what lies in the store itself."""
        if not self._backend.remote:
            return self.verify(digest)
        manifest = self._read_manifest(digest)
        present = self._backend.files(key(digest))
        _check_names(self._backend.name(key(digest)), manifest, present)
        for name, entry in manifest.files.items():
            file_key = f"{key(digest)}/{name}"
            if present[name] != entry.size or sha256_pieces(self._backend.chunks(file_key)) != entry.sha256:
                raise _changed(self._backend.name(file_key))
        return None

    def add(
        self,
        folder: Path,
        *,
        note: str,
        now: float,
        state: State,
        sign: Sign = lambda manifest: manifest,
        moved: Moved = ignore,
    ) -> tuple[Digest, Digest]:
        """Copies a draft in, durably; gives the artifact's digest and its content key.

        `now`: UTC seconds. An intact artifact of a version of `state` with the same content, signed by the
        same key if `sign` signs, is shared. What an interrupted publication of the same draft left is used.
        Raises InvalidInput (the draft), Misconfigured (the volume), Corrupt (content that lies under this
        digest already is damaged).
        """
        draft = read_draft(folder)
        with self._backend.new_tree(key(Digest("new"))) as temporary:
            for name in draft.payload:
                copy_regular(folder / name, temporary / name)
            manifest = Manifest(
                created=_written(folder, now),
                contract=draft.contract,
                files=file_entries(temporary),
                lineage=draft.lineage,
                metrics=draft.metrics,
                note=note,
            )
            content = content_key(sign(manifest))
            shared = state.sharing(content)
            if shared is not None and self._intact(shared, manifest, sign):
                return shared, content
            data = encode_manifest(sign(manifest))
            while self._may_not_be_used(digest := sha256_bytes(data), state, now):
                manifest = msgspec.structs.replace(
                    manifest, created=math.nextafter(manifest.created, math.inf)
                )
                data = encode_manifest(sign(manifest))
            (temporary / MANIFEST).write_bytes(data)
            if not self._backend.publish_tree(temporary, key(digest), index=MANIFEST, moved=moved):
                self.verify(digest)
            return digest, content

    def _may_not_be_used(self, digest: Digest, state: State, now: float) -> bool:
        """Whoever collects may take away what was removed, and orphans that are old, at any moment; and what
        a version has under this digest was not shared, so it is damaged."""
        taken = digest in state.removed or digest in state.kept
        return taken or self._backend.touched(key(digest)) < now - _RESUMED_SECONDS

    def _intact(self, digest: Digest, manifest: Manifest, sign: Sign) -> bool:
        """Whether the artifact is what `manifest` would have become at its time, to the byte.

        A damaged twin is not shared: whoever uses it is told; this draft gets its own copy. Nor is one whose
        signature is not the one that `sign` gives, whatever its event says of its content.
        """
        try:
            created = self.manifest(digest).created
            twin = encode_manifest(sign(msgspec.structs.replace(manifest, created=created)))
            if sha256_bytes(twin) != digest:
                return False
            self.verify_stored(digest)
        except (Corrupt, NotFound):
            return False
        return True

    def discard(self, digest: Digest, *, keep_manifest: bool) -> None:
        """Takes an artifact away, here and where it lies; its manifest may stay for the history."""
        data = self._backend.read(f"{key(digest)}/{MANIFEST}")
        if keep_manifest and data is not None and sha256_bytes(data) == digest:
            self._backend.put_if_absent(removed_key(digest), data)
        self._backend.discard(key(digest))

    def touched(self, digest: Digest) -> float:
        """When it was last written to, UTC seconds."""
        return self._backend.touched(key(digest))

    def size(self, digest: Digest) -> int:
        """Bytes that it takes in the store."""
        return sum(self._backend.files(key(digest)).values())


def _written(draft: Path, now: float) -> float:
    """When the newest file of a draft was written, UTC seconds: a repeated publication gives the same digest,
    so it goes on with what the one before had sent."""
    newest = max(path.stat().st_mtime for path in regular_files(draft).values())
    return min(now, newest)


def is_digest(name: str) -> bool:
    """Whether `name` has the form of a digest."""
    return _DIGEST.fullmatch(name) is not None


def key(digest: Digest) -> str:
    return f"{FOLDER}/{digest}"


def removed_key(digest: Digest) -> str:
    return f"{_REMOVED}/{digest}.json"


def _unknown(digest: str) -> NotFound:
    return NotFound(
        f"There is no artifact {digest!r} here.", remedy="`serinus versions list` shows what there is."
    )


def _changed(name: str) -> Corrupt:
    return Corrupt(f"{name} is not what was published: its hash does not match.", remedy=_PUBLISH_AGAIN)


def _decode(data: bytes, name: str, digest: Digest) -> Manifest:
    if sha256_bytes(data) != digest:
        raise _changed(name)
    try:
        return decode_manifest(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Corrupt(
            f"{name} is no manifest that this version of Serinus knows: {error}.",
            remedy="Was it published by a newer version? Then run that one.",
        ) from error


def check_folder(folder: Path, digest: Digest) -> None:
    """Raises Corrupt, naming the file, unless `folder` holds exactly what `digest` names."""
    path = folder / MANIFEST
    if not path.is_file():
        raise Corrupt(f"{path} is missing.", remedy=_PUBLISH_AGAIN)
    manifest = _decode(path.read_bytes(), str(path), digest)
    try:
        present = regular_files(folder)
    except InvalidInput as error:
        raise Corrupt(f"{folder} was changed: {error.message}", remedy=_PUBLISH_AGAIN) from error
    _check_names(str(folder), manifest, present)
    for name, entry in manifest.files.items():
        if present[name].stat().st_size != entry.size or sha256_file(present[name]) != entry.sha256:
            raise _changed(str(present[name]))


def _check_names(folder: str, manifest: Manifest, present: Mapping[str, object]) -> None:
    extra = sorted(present.keys() - manifest.files.keys() - {MANIFEST})
    if extra:
        raise Corrupt(f"{folder}/{extra[0]} does not belong to this artifact.", remedy="Move it away.")
    missing = sorted(manifest.files.keys() - present.keys())
    if missing:
        raise Corrupt(f"{folder}/{missing[0]} is missing.", remedy=_PUBLISH_AGAIN)
