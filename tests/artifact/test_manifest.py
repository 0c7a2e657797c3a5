import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.artifact.manifest import (
    Contract,
    FileEntry,
    Lineage,
    Manifest,
    decode_manifest,
    encode_manifest,
)
from serinus.core.ids import Digest

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@given(
    created=st.floats(0, 1e11),
    note=TEXT,
    metrics=st.dictionaries(TEXT, NUMBERS, max_size=5),
    names=st.lists(TEXT, unique=True, max_size=5),
    config=st.dictionaries(TEXT, st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT, max_size=3),
)
def test_a_manifest_survives_its_file(
    created: float, note: str, metrics: dict[str, float], names: list[str], config: dict[str, object]
) -> None:
    files = {name: FileEntry(sha256=Digest("0" * 64), size=1) for name in names}
    manifest = Manifest(
        created=created,
        contract=Contract(),
        files=files,
        lineage=Lineage(config=config),
        metrics=metrics,
        note=note,
    )
    data = encode_manifest(manifest)
    assert decode_manifest(data) == manifest
    turned = msgspec.structs.replace(
        manifest,
        files=dict(reversed(files.items())),
        metrics=dict(reversed(metrics.items())),
    )
    assert encode_manifest(turned) == data


def test_the_file_is_for_people_too() -> None:
    data = encode_manifest(Manifest(created=1.0, contract=Contract(), files={}))
    assert json.loads(data)["contract"]["channels"][0] == "pre_r"
    assert data.count(b"\n") > 5


def test_what_is_no_manifest() -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_manifest(b'{"created": 1}')
