from pathlib import Path

import pytest

from serinus.artifact.files import sha256_bytes
from serinus.core.errors import Corrupt, InvalidInput
from serinus.store import Store
from tests.store.drafts import names, write_set


def test_a_set_is_kept_under_its_hash(store: Store, tmp_path: Path) -> None:
    source = write_set(tmp_path / "set")
    assert store.golden_sets() == []
    digest = store.add_golden("hurricane", source, actor="alice")
    assert digest == sha256_bytes((source / "golden.json").read_bytes())
    (found,) = store.golden_sets(verify=True)
    assert (found.name, found.digest, found.dataset) == ("hurricane", digest, "ds-000000000001")
    assert found.path == store.root / "golden" / "hurricane" / digest
    assert [pair.key for pair in found.pairs] == ["synth_00000000", "synth_00000001"]
    assert (found.pairs[1].boxes, found.pairs[1].classes) == (((1.0, 2.0, 3.5, 4.0),), (3,))
    assert (found.path / found.pairs[1].post).read_bytes() == b"ds-000000000001 post 1"
    assert (found.path / "images").stat().st_mode & 0o777 == 0o555


def test_the_newest_of_a_name_counts(store: Store, tmp_path: Path) -> None:
    one, two = write_set(tmp_path / "one"), write_set(tmp_path / "two", dataset="ds-000000000002")
    first = store.add_golden("a", one, actor="alice")
    second = store.add_golden("a", two, actor="alice")
    other = store.add_golden("b", one, actor="alice")
    assert [(found.name, found.digest) for found in store.golden_sets()] == [("a", second), ("b", other)]
    assert store.add_golden("a", one, actor="alice") == first
    assert [(found.name, found.digest) for found in store.golden_sets()] == [("a", first), ("b", other)]
    assert {first, second} < set(names(store.root / "golden" / "a")), "kept for ever"


@pytest.mark.parametrize("damage", ["pre", "post", "golden.json", "missing", "extra"])
def test_damage_is_found_and_named(store: Store, tmp_path: Path, damage: str) -> None:
    source = write_set(tmp_path / "set")
    store.add_golden("a", source, actor="alice")
    (found,) = store.golden_sets()
    (found.path / "images").chmod(0o755)
    path = found.path / {
        "pre": "images/0_pre.png",
        "post": "images/1_post.png",
        "golden.json": "golden.json",
        "missing": "images/1_pre.png",
        "extra": "images/extra.png",
    }.get(damage, "")
    if damage == "missing":
        path.unlink()
    else:
        if path.exists():
            path.chmod(0o644)
        path.write_bytes(b"changed")
    with pytest.raises(Corrupt, match=f"{found.path}.*{path.name}"):
        store.golden_sets(verify=True)
    with pytest.raises(Corrupt, match=path.name):
        store.add_golden("a", source, actor="alice")


@pytest.mark.parametrize("name", ["", "..", "a/b", ".a", "a b", "x" * 65])
def test_a_name_is_no_path(store: Store, tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="cannot name a golden set"):
        store.add_golden(name, write_set(tmp_path / "set"), actor="alice")


@pytest.mark.parametrize(
    "fault", ["no index", "bad index", "no pairs", "missing picture", "other picture", "outside", "link"]
)
def test_a_set_that_is_not_whole_is_refused(store: Store, tmp_path: Path, fault: str) -> None:
    source = write_set(tmp_path / "set", count=0 if fault == "no pairs" else 2)
    index = source / "golden.json"
    if fault == "no index":
        index.unlink()
    elif fault == "bad index":
        index.write_text('{"pairs": 3}')
    elif fault == "missing picture":
        (source / "images" / "1_pre.png").unlink()
    elif fault == "outside":
        (tmp_path / "secret").write_bytes(b"")
        index.write_text(index.read_text().replace("images/1_pre.png", "../secret"))
    elif fault == "other picture":
        (source / "images" / "1_pre.png").write_bytes(b"other")
    elif fault == "link":
        (source / "images" / "1_pre.png").rename(tmp_path / "elsewhere.png")
        (source / "images" / "1_pre.png").symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(InvalidInput):
        store.add_golden("a", source, actor="alice")
    assert store.golden_sets() == []
    assert [path for path in (store.root / "golden").rglob("*") if path.is_file()] == []
