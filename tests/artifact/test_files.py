import hashlib
import os
from pathlib import Path

import pytest

from serinus.artifact.files import check_relative, file_entries, regular_files, sha256_bytes, sha256_file
from serinus.core.errors import InvalidInput


def test_hash_and_size_of_every_file(tmp_path: Path) -> None:
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "b.bin").write_bytes(b"b" * 3_000_000)
    (tmp_path / "sub" / "deep" / "a.txt").write_bytes(b"")
    entries = file_entries(tmp_path)
    assert list(entries) == ["b.bin", "sub/deep/a.txt"]
    assert entries["b.bin"].sha256 == hashlib.sha256(b"b" * 3_000_000).hexdigest()
    assert entries["b.bin"].size == 3_000_000
    assert entries["sub/deep/a.txt"].sha256 == sha256_bytes(b"")
    assert sha256_file(tmp_path / "b.bin") == entries["b.bin"].sha256


@pytest.mark.parametrize("kind", ["link to a file", "link to a folder", "dangling link", "pipe"])
def test_links_and_special_files_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "draft"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "outside").write_bytes(b"secret")
    odd = folder / "sub" / "odd"
    if kind == "pipe":
        os.mkfifo(odd)
    else:
        target = {"link to a file": tmp_path / "outside", "link to a folder": tmp_path}.get(kind, "nowhere")
        odd.symlink_to(target)
    with pytest.raises(InvalidInput, match=r"sub/odd is a link or a special file"):
        regular_files(folder)


@pytest.mark.parametrize(
    "name", ["", "a//b", "/a", "../a", "a/..", "a\\b", "a\nb", "a\x00", "x" * 256, "\udcff"]
)
def test_names_that_are_not_portable_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="not a usable file name"):
        check_relative(name)


@pytest.mark.parametrize("name", ["model.onnx", "training/golden.npz", "a b.txt", "größe.png", "..a"])
def test_ordinary_names_pass(name: str) -> None:
    assert check_relative(name) == name
