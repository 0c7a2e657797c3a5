"""What is published signed, and which content may be shared with what was signed otherwise."""

from pathlib import Path

import msgspec
import pytest

from serinus.artifact.files import sha256_bytes
from serinus.artifact.keys import new_pair, read_private
from serinus.artifact.manifest import content_key, encode_manifest
from serinus.artifact.signing import Signer, examine
from serinus.artifact.validate import write_draft
from serinus.core.enums import SignatureStanding
from serinus.core.errors import Corrupt
from serinus.core.ids import Digest, Version
from serinus.rollout.events import Published
from serinus.store import Store
from tests.store.drafts import Ticks


def key(folder: Path, name: str) -> Signer:
    private, _, _ = new_pair(folder / name, name.encode().ljust(32))
    return read_private(private)


def digest_of(store: Store, version: Version) -> Digest:
    return store.state().versions[version].digest


def test_a_signed_version_carries_its_signature_under_its_digest(
    store: Store, draft: Path, tmp_path: Path
) -> None:
    alice = key(tmp_path, "alice")
    digest = digest_of(store, store.publish(draft, note="first", actor="alice", sign=alice))
    data = (store.artifact(digest) / "manifest.json").read_bytes()
    assert data == store.manifest_bytes(digest)
    assert sha256_bytes(data) == digest
    assert examine(data, {alice.public.id: alice.public}).standing is SignatureStanding.TRUSTED
    store.verify(digest)
    (event,) = store.events()
    assert isinstance(event.body, Published)
    assert event.body.content == content_key(store.manifest(digest)), "the event can be checked later"


def test_content_is_shared_only_under_the_same_signature(
    store: Store, draft: Path, clock: Ticks, tmp_path: Path
) -> None:
    alice, bob = key(tmp_path, "alice"), key(tmp_path, "bob")
    digests = []
    for sign in (None, alice, bob, None, alice, bob):
        clock.now += 60
        version = (
            store.publish(draft, note="same", actor="a")
            if sign is None
            else store.publish(draft, note="same", actor="a", sign=sign)
        )
        digests.append(digest_of(store, version))
    assert digests[:3] == digests[3:]
    assert len(set(digests)) == 3
    signed_by = [store.manifest(digest).signature for digest in digests[:3]]
    assert [one and one.key for one in signed_by] == [None, alice.public.id, bob.public.id]


def test_a_forged_twin_does_not_answer_for_a_signed_draft(
    store: Store, draft: Path, clock: Ticks, tmp_path: Path
) -> None:
    """Somebody who can write to the store lays an artifact there that claims to be alice's, with a signature
    of another version, and an event that claims its content."""
    alice = key(tmp_path, "alice")
    other = store.publish(draft, note="other", actor="a", sign=alice)
    honest = store.manifest(digest_of(store, other))

    forged_digests = []

    def forge(manifest):  # type: ignore[no-untyped-def]
        return msgspec.structs.replace(manifest, signature=honest.signature)

    clock.now += 60
    forged = digest_of(store, store.publish(draft, note="wanted", actor="mallory", sign=forge))
    forged_digests.append(forged)
    (*_, event) = store.events()
    assert isinstance(event.body, Published)
    assert event.body.content == content_key(alice(store.manifest(forged))), "it claims to be that content"
    clock.now += 60
    real = digest_of(store, store.publish(draft, note="wanted", actor="a", sign=alice))
    assert real not in forged_digests
    trusted = {alice.public.id: alice.public}
    assert examine(store.manifest_bytes(real), trusted).standing is SignatureStanding.TRUSTED
    assert examine(store.manifest_bytes(forged), trusted).standing is SignatureStanding.WRONG


def test_what_was_published_can_be_made_a_draft_again(
    store: Store, draft: Path, clock: Ticks, tmp_path: Path
) -> None:
    digest = digest_of(store, store.publish(draft, note="same", actor="a"))
    write_draft(tmp_path / "again", store.artifact(digest), store.manifest(digest))
    clock.now += 60
    again = digest_of(store, store.publish(tmp_path / "again", note="same", actor="a"))
    assert again == digest, "nothing is lost on the way: the content is the same"


def test_a_changed_file_does_not_become_a_draft(store: Store, draft: Path, tmp_path: Path) -> None:
    digest = digest_of(store, store.publish(draft, note="same", actor="a"))
    path = store.artifact(digest) / "model.onnx"
    path.chmod(0o644)
    path.write_bytes(b"GRAPH")
    with pytest.raises(Corrupt, match="not what was published"):
        write_draft(tmp_path / "again", store.artifact(digest), store.manifest(digest))


def test_the_bytes_of_a_changed_manifest_are_not_given(store: Store, draft: Path) -> None:
    digest = digest_of(store, store.publish(draft, note="same", actor="a"))
    path = store.artifact(digest) / "manifest.json"
    path.chmod(0o644)
    path.write_bytes(encode_manifest(msgspec.structs.replace(store.manifest(digest), note="other")))
    with pytest.raises(Corrupt, match=r"manifest\.json is not what was published"):
        store.manifest_bytes(digest)
