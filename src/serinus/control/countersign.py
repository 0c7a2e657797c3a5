"""Signing what is there already, by somebody who need not have trained it."""

import tempfile
from pathlib import Path

from serinus.artifact.signing import Signer
from serinus.artifact.validate import write_draft
from serinus.core.errors import Conflict, NotFound
from serinus.core.ids import Version
from serinus.store import Store


def sign_version(store: Store, version: Version, *, signer: Signer, actor: str) -> Version:
    """Publishes what `version` holds once more, signed, and gives the new number.

    A version never changes, so the signed one is another version; its rollout starts by itself. Raises
    NotFound, Conflict when it is signed with this key already, Corrupt when one of its files was changed.
    """
    record = store.state().versions.get(version)
    if record is None:
        raise NotFound(f"There is no version {version}.", remedy="`serinus versions list` names them.")
    manifest = store.manifest(record.digest)
    if signer(manifest) == manifest:
        raise Conflict(f"Version {version} is signed by {signer.public} already.")
    store.verify(record.digest)
    with tempfile.TemporaryDirectory(prefix="serinus-sign-") as folder:
        draft = Path(folder) / "draft"
        write_draft(draft, store.artifact(record.digest), manifest)
        return store.publish(draft, note=manifest.note, actor=actor, sign=signer)
