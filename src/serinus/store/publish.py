"""Artifacts: a draft becomes `artifacts/<digest>/`, complete, immutable and named by its manifest's digest.

Nothing here gives a version its number: that is the `published` event, the one commit point. A tree that was
renamed and never got its event is harmless, and shared when the same draft comes again.
"""

import re
from pathlib import Path

import msgspec

from serinus.artifact.files import file_entries, regular_files, sha256_bytes, sha256_file
from serinus.artifact.manifest import Manifest, decode_manifest, encode_manifest
from serinus.artifact.validate import MANIFEST, read_draft
from serinus.core.errors import Corrupt, InvalidInput, NotFound
from serinus.core.ids import Digest
from serinus.store.local import Disk, volume_errors

_DIGEST = re.compile(r"[0-9a-f]{64}")
_PUBLISH_AGAIN = "The version cannot be used. Restore the file from a backup, or publish the model again."


class Artifacts:
    """The folder `artifacts/`. Thread-safe; any number of processes may share it."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._folder = folder
        self._disk = disk
        self._manifests: dict[Digest, Manifest] = {}

    def path(self, digest: Digest) -> Path:
        """The folder of an artifact. Raises NotFound."""
        path = self._folder / digest
        if not _DIGEST.fullmatch(digest) or not path.is_dir():
            raise NotFound(
                f"There is no artifact {digest!r} here.",
                remedy="`serinus versions list` shows what there is.",
            )
        return path

    def manifest(self, digest: Digest) -> Manifest:
        """Raises NotFound, and Corrupt when the manifest is not the one that gave the artifact its name."""
        known = self._manifests.get(digest)
        if known is None:
            known = self._manifests[digest] = self._read_manifest(digest)
        return known

    def _read_manifest(self, digest: Digest) -> Manifest:
        path = self.path(digest) / MANIFEST
        data = self._disk.read(path)
        if data is None:
            raise Corrupt(f"{path} is missing.", remedy=_PUBLISH_AGAIN)
        if sha256_bytes(data) != digest:
            raise Corrupt(
                f"{path} is not what was published: its hash does not match.", remedy=_PUBLISH_AGAIN
            )
        try:
            return decode_manifest(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Corrupt(
                f"{path} is no manifest that this version of Serinus knows: {error}.",
                remedy="Was it published by a newer version? Then run that one.",
            ) from error

    def verify(self, digest: Digest) -> None:
        """Reads every byte again. Raises NotFound, or Corrupt naming a missing, changed or extra file."""
        folder = self.path(digest)
        manifest = self._read_manifest(digest)
        try:
            present = regular_files(folder)
        except InvalidInput as error:
            raise Corrupt(f"{folder} was changed: {error.message}", remedy=_PUBLISH_AGAIN) from error
        extra = sorted(present.keys() - manifest.files.keys() - {MANIFEST})
        if extra:
            raise Corrupt(f"{folder / extra[0]} does not belong to this artifact.", remedy="Move it away.")
        for name, entry in manifest.files.items():
            path = folder / name
            if name not in present:
                raise Corrupt(f"{path} is missing.", remedy=_PUBLISH_AGAIN)
            if path.stat().st_size != entry.size or sha256_file(path) != entry.sha256:
                raise Corrupt(
                    f"{path} is not what was published: its hash does not match.", remedy=_PUBLISH_AGAIN
                )

    def add(self, folder: Path, *, note: str, created: float) -> Digest:
        """Copies a draft in, durably, and gives its digest. The same content, published before, is shared.

        `created`: now, UTC seconds. Raises InvalidInput (the draft), Misconfigured (the volume), Corrupt
        (content that lies under this digest already is damaged).
        """
        draft = read_draft(folder)
        with (
            volume_errors("store the artifact", self._folder),
            self._disk.temporary_tree(self._folder / "new") as temporary,
        ):
            for name in draft.payload:
                self._disk.copy(folder / name, temporary / name)
            manifest = Manifest(
                created=created,
                contract=draft.contract,
                files=file_entries(temporary),
                lineage=draft.lineage,
                metrics=draft.metrics,
                note=note,
            )
            shared = self._same_content(manifest)
            if shared is not None:
                return shared
            data = encode_manifest(manifest)
            digest = sha256_bytes(data)
            (temporary / MANIFEST).write_bytes(data)
            if not self._disk.publish_tree(temporary, self._folder / digest):
                self.verify(digest)
            return digest

    def _same_content(self, manifest: Manifest) -> Digest | None:
        """An intact artifact that differs in nothing but when it was made."""
        for digest in map(Digest, sorted(self._disk.names(self._folder))):
            if not _DIGEST.fullmatch(digest):
                continue
            try:
                if msgspec.structs.replace(self.manifest(digest), created=manifest.created) == manifest:
                    self.verify(digest)
                    return digest
            except (Corrupt, NotFound):
                continue  # damaged: whoever uses it is told; this draft is intact and gets its own copy
        return None
