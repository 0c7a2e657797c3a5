"""Real keys, real signatures: what holds, what does not, and who is told what."""

import base64
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from serinus.artifact.keys import _public
from serinus.artifact.manifest import (
    Contract,
    FileEntry,
    Lineage,
    Manifest,
    content_key,
    decode_manifest,
    encode_document,
    encode_manifest,
)
from serinus.artifact.signing import Keyring, Signer, examine
from serinus.core.enums import SignatureStanding
from serinus.core.ids import Digest

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def signer(seed: int, name: str) -> Signer:
    key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
    return Signer(key, _public(key.public_key(), name))


RELEASE = signer(1, "release")
OTHER = signer(2, "other")
MALLORY = signer(3, "mallory")
TRUSTED: Keyring = {one.public.id: one.public for one in (RELEASE, OTHER)}
MANIFEST = Manifest(
    created=1_705_314_600.5,
    contract=Contract(),
    files={"model.onnx": FileEntry(sha256=Digest("a" * 64), size=7)},
    lineage=Lineage(trainer="compact", config={"epochs": 3}, dataset="ds-1", tiles=("b" * 64,), code="1"),
    metrics={"map50": 0.8},
    note="more data",
)


def standing(data: bytes, keys: Keyring = TRUSTED) -> SignatureStanding:
    return examine(data, keys).standing


def test_a_signed_manifest_is_vouched_for_by_name() -> None:
    data = encode_manifest(RELEASE(MANIFEST))
    found = examine(data, TRUSTED)
    assert (found.standing, found.name, found.key) == (
        SignatureStanding.TRUSTED,
        "release",
        RELEASE.public.id,
    )
    assert examine(encode_manifest(OTHER(MANIFEST)), TRUSTED).name == "other"
    assert decode_manifest(data) == RELEASE(MANIFEST)
    assert RELEASE(OTHER(MANIFEST)) == RELEASE(MANIFEST), "a second signature replaces the first"


def test_without_a_signature_and_with_one_that_nobody_trusts() -> None:
    assert standing(encode_manifest(MANIFEST)) is SignatureStanding.UNSIGNED
    found = examine(encode_manifest(MALLORY(MANIFEST)), TRUSTED)
    assert (found.standing, found.name) == (SignatureStanding.UNKNOWN_KEY, "")
    assert MALLORY.public.id[:16] in found.words
    assert standing(encode_manifest(RELEASE(MANIFEST)), {}) is SignatureStanding.UNKNOWN_KEY


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every member, at every depth."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, one in inner for found in leaves(one, (*path, key)))]


def changed(value: Any) -> Any:
    match value:
        case str():
            return ("b" if value[:1] != "b" else "c") + value[1:]
        case bool() | None:
            return "something"
        case int() | float():
            return value + 1
        case list():
            return [*value, "more"]
        case dict():
            return {**value, "more": 1}


DOCUMENT = json.loads(encode_manifest(RELEASE(MANIFEST)))
MEMBERS = [path for path in leaves(DOCUMENT) if path != ()]


@pytest.mark.parametrize("path", MEMBERS, ids=lambda path: "/".join(map(str, path)))
def test_a_change_of_any_member_is_found(path: tuple[Any, ...]) -> None:
    document = json.loads(json.dumps(DOCUMENT))
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = changed(place[path[-1]])
    try:
        found = standing(encode_document(document))
    except msgspec.DecodeError:
        return  # no manifest any more: it is not read at all
    expected = {SignatureStanding.WRONG}
    if path == ("signature", "key"):
        expected = {SignatureStanding.UNKNOWN_KEY}
    assert {found} == expected
    assert standing(encode_document(DOCUMENT)) is SignatureStanding.TRUSTED


def test_removing_or_adding_a_member_is_found() -> None:
    for name in DOCUMENT.keys() - {"signature", "created", "contract", "files"}:
        less = {key: value for key, value in DOCUMENT.items() if key != name}
        assert standing(encode_document(less)) is SignatureStanding.WRONG, name
    more = {**DOCUMENT, "recipe": "of a later Serinus"}
    assert standing(encode_document(more)) is SignatureStanding.WRONG
    for name in DOCUMENT["contract"]:
        contract = {key: value for key, value in DOCUMENT["contract"].items() if key != name}
        assert standing(encode_document({**DOCUMENT, "contract": contract})) is SignatureStanding.WRONG, name


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda data: data.rstrip(b"\n"),
        lambda data: data + b" ",
        lambda data: msgspec.json.format(data, indent=4),
        lambda data: data.replace(b'"note"', b'"note": "mine", "note"'),
        lambda data: data.replace(b'"files"', b'"files": {}, "files"'),
        lambda data: data.replace(b'"model.onnx"', b'"\\u006dodel.onnx"'),
        lambda data: json.dumps(dict(reversed(json.loads(data).items())), indent=2).encode() + b"\n",
    ],
    ids=["no line end", "a space", "indent", "note twice", "files twice", "escaped", "order"],
)
def test_only_the_one_form_of_the_file_is_vouched_for(rewrite: Callable[[bytes], bytes]) -> None:
    data = encode_manifest(RELEASE(MANIFEST))
    other = rewrite(data)
    assert other != data
    assert standing(other) is SignatureStanding.WRONG


@pytest.mark.parametrize(
    "value", ["", "AAAA", "not base64!", base64.b64encode(bytes(64)).decode(), "ü", "A" * 10_000]
)
def test_a_value_that_is_no_signature(value: str) -> None:
    signed = RELEASE(MANIFEST)
    assert signed.signature is not None
    forged = msgspec.structs.replace(signed, signature=msgspec.structs.replace(signed.signature, value=value))
    assert standing(encode_manifest(forged)) is SignatureStanding.WRONG


def test_another_kind_of_signature_is_not_taken_on_trust() -> None:
    signed = RELEASE(MANIFEST)
    assert signed.signature is not None
    other = msgspec.structs.replace(signed.signature, algorithm="none")
    assert standing(encode_manifest(msgspec.structs.replace(signed, signature=other))) is (
        SignatureStanding.WRONG
    )


def test_an_attacker_can_neither_lend_a_name_nor_a_signature() -> None:
    mine = MALLORY(msgspec.structs.replace(MANIFEST, note="mine"))
    theirs = RELEASE(MANIFEST)
    assert mine.signature is not None and theirs.signature is not None
    lent = msgspec.structs.replace(
        mine, signature=msgspec.structs.replace(mine.signature, key=RELEASE.public.id)
    )
    found = examine(encode_manifest(lent), TRUSTED)
    assert found.standing is SignatureStanding.WRONG
    assert "release" in found.words
    moved = msgspec.structs.replace(mine, signature=theirs.signature)
    assert standing(encode_manifest(moved)) is SignatureStanding.WRONG
    swapped = msgspec.structs.replace(
        theirs, signature=msgspec.structs.replace(theirs.signature, key=OTHER.public.id)
    )
    assert standing(encode_manifest(swapped)) is SignatureStanding.WRONG


def test_a_signature_of_the_bare_bytes_means_nothing_here() -> None:
    """Somebody may be made to sign a file with the same key elsewhere."""
    key = Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32)
    value = base64.b64encode(key.sign(encode_manifest(MANIFEST))).decode()
    signed = RELEASE(MANIFEST)
    assert signed.signature is not None
    bare = msgspec.structs.replace(signed, signature=msgspec.structs.replace(signed.signature, value=value))
    assert standing(encode_manifest(bare)) is SignatureStanding.WRONG


def test_a_hostile_fingerprint_is_shown_as_what_it_is() -> None:
    signed = RELEASE(MANIFEST)
    assert signed.signature is not None
    name = msgspec.structs.replace(signed.signature, key="release\x1b[2J\n")
    words = examine(encode_manifest(msgspec.structs.replace(signed, signature=name)), TRUSTED).words
    assert "\x1b" not in words and "\n" not in words


@given(
    created=st.floats(0, 1e11),
    note=TEXT,
    metrics=st.dictionaries(TEXT, NUMBERS, max_size=5),
    config=st.dictionaries(TEXT, ANYTHING, max_size=4),
    names=st.lists(TEXT, unique=True, max_size=4),
)
def test_whatever_is_signed_verifies_from_its_file(
    created: float, note: str, metrics: dict[str, float], config: dict[str, Any], names: list[str]
) -> None:
    manifest = Manifest(
        created=created,
        contract=Contract(),
        files={name: FileEntry(sha256=Digest("0" * 64), size=1) for name in names},
        lineage=Lineage(config=config),
        metrics=metrics,
        note=note,
    )
    data = encode_manifest(RELEASE(manifest))
    assert standing(data) is SignatureStanding.TRUSTED
    assert encode_manifest(RELEASE(decode_manifest(data))) == data, "deterministic"


def test_a_manifest_from_before_signatures_is_read_and_keeps_its_bytes() -> None:
    data = encode_manifest(MANIFEST)
    assert "signature" not in json.loads(data)
    assert decode_manifest(data).signature is None
    typed = msgspec.json.decode(msgspec.json.encode(MANIFEST, order="sorted"))
    del typed["signature"]
    assert json.loads(data) == typed


def test_content_is_told_apart_by_who_signed_it() -> None:
    later = msgspec.structs.replace(MANIFEST, created=MANIFEST.created + 60)
    keys = [content_key(one) for one in (MANIFEST, RELEASE(MANIFEST), OTHER(MANIFEST))]
    assert len(set(keys)) == 3
    assert [content_key(one) for one in (later, RELEASE(later), OTHER(later))] == keys
