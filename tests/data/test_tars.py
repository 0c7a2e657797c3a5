"""Tar archives, plain and packed: taken like zips, and refused as a whole where they show a trick."""

import gzip
import io
import subprocess
import sys
import tarfile
import textwrap

import pytest

from serinus.core.errors import InvalidInput, TooLarge
from serinus.data.archive import ArchiveLimits
from serinus.data.importing import import_archive
from serinus.data.opening import open_archive
from serinus.data.tars import zstd
from tests.data.archives import pack, pack_tar, pairs, tar_of

LIMITS = ArchiveLimits()
FORMS = [".tar", ".tar.gz", ".tar.zst"]


def refused(path, kind=InvalidInput, match=None, limits=LIMITS):
    with pytest.raises(kind, match=match) as caught, open_archive(path, limits):
        pass
    assert caught.value.remedy


def member(tmp_path, name="a.png", content=b"x", **fields):
    """A tar with one plain member and one whose header says `fields`."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    path = tmp_path / "a.tar"
    path.write_bytes(tar_of([("fine.png", b"fine"), (info, content)]))
    return path


@pytest.mark.parametrize("form", FORMS)
def test_a_tar_becomes_the_same_data_set_as_a_zip(tmp_path, form):
    files = pairs(5)
    seen = []
    first = import_archive(pack(tmp_path / "a.zip", files), tmp_path / "datasets", clock=lambda: 1.0)
    second = import_archive(
        pack_tar(tmp_path / f"a{form}", files),
        tmp_path / "datasets",
        clock=lambda: 1.0,
        reading=lambda words, done, total: seen.append((words.split()[0], done, total)),
    )
    assert second.id == first.id
    assert [path.name for path in (tmp_path / "datasets").iterdir()] == [first.id], "nothing is left"
    assert {words for words, _, _ in seen} == ({"reading"} if form == ".tar" else {"reading", "unpacking"})
    assert all(0 < done <= total for _, done, total in seen)


def test_what_a_file_is_is_told_by_its_bytes_not_by_its_name(tmp_path):
    packed = pack_tar(tmp_path / "a.tar.zst", pairs(2)).rename(tmp_path / "a.zip")
    assert import_archive(packed, tmp_path / "datasets", clock=lambda: 1.0).report.pairs_usable == 2


@pytest.mark.parametrize("name", ["../evil.png", "a/../../evil", "..", "a\\..\\evil"])
def test_path_traversal(tmp_path, name):
    refused(member(tmp_path, name), match="outside its own folder")


@pytest.mark.parametrize("name", ["/etc/passwd", "C:\\x", "\\\\server\\share"])
def test_absolute_paths(tmp_path, name):
    refused(member(tmp_path, name), match="absolute path")


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a link"),
        (tarfile.FIFOTYPE, "no file"),
        (tarfile.CHRTYPE, "no file"),
        (tarfile.BLKTYPE, "no file"),
    ],
)
def test_links_and_special_files(tmp_path, kind, match):
    refused(member(tmp_path, type=kind, linkname="fine.png", content=b""), match=match)


def test_a_sparse_file_that_is_small_here_and_huge_there(tmp_path):
    path = member(tmp_path, pax_headers={"GNU.sparse.major": "0", "GNU.sparse.size": str(1 << 50)})
    refused(path, match="no file")


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_header_that_would_fill_the_memory_is_never_loaded(tmp_path, kind):
    path = tmp_path / "a.tar"
    with path.open("wb") as file:
        info = tarfile.TarInfo("long")
        info.type, info.size = kind, 8 << 30
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.truncate(9 << 30)  # a hole: the bytes that are announced are there
    refused(path, match="announces")


def test_names_that_are_no_text_can_be_told(tmp_path):
    data = tar_of([("fine.png", b"fine"), ("naXXe.png", b"x")]).replace(b"naXXe", b"na\xff\xfee")
    at = data.index(b"na\xff\xfee")
    header = bytearray(data[at : at + 512])
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path = tmp_path / "a.tar"
    path.write_bytes(data[:at] + bytes(header) + data[at + 512 :])
    with open_archive(path, LIMITS) as archive:
        assert [one.name for one in archive.members] == ["fine.png", "na��e.png"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_tar(tmp_path, form, share):
    path = pack_tar(tmp_path / f"a{form}", pairs(3))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    refused(path, match="damaged|ends within")


@pytest.mark.parametrize("form", [".tar.gz", ".tar.zst"])
def test_a_packed_tar_with_a_flipped_byte(tmp_path, form):
    path = pack_tar(tmp_path / f"a{form}", pairs(3))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    refused(path)


@pytest.mark.parametrize("packer", [gzip.compress, zstd.compress])
@pytest.mark.parametrize("content", [b"", b"hello", bytes(2048)])
def test_what_is_packed_is_no_tar(tmp_path, packer, content):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(packer(content))
    refused(path, match="not a tar")


@pytest.mark.parametrize("packer", [gzip.compress, zstd.compress])
def test_a_bomb_by_its_ratio_is_found_while_it_is_unpacked(tmp_path, packer):
    path = tmp_path / "a.tar"
    path.write_bytes(packer(tar_of([("a.png", bytes(16 << 20))])))
    refused(path, TooLarge, "times its size")


def test_a_bomb_is_no_larger_on_disk_than_the_limit(tmp_path):
    """In a process of its own that may not write a file of more than 40 MB."""
    path = tmp_path / "a.tar.zst"
    with path.open("wb") as file, zstd.ZstdFile(file, "w") as packed:
        for _ in range(256):
            packed.write(bytes(1 << 20))
    script = textwrap.dedent("""
        import pathlib, resource, sys
        resource.setrlimit(resource.RLIMIT_FSIZE, (40 << 20, 40 << 20))
        from serinus.data.archive import ArchiveLimits
        from serinus.data.opening import open_archive
        limits = ArchiveLimits(max_total_bytes=32 << 20, max_ratio=1 << 40)
        with open_archive(pathlib.Path(sys.argv[1]), limits, scratch=pathlib.Path(sys.argv[2])): pass
    """)
    done = subprocess.run(
        [sys.executable, "-c", script, str(path), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "TooLarge" in done.stderr and "Unpacked" in done.stderr
    assert [left.name for left in tmp_path.iterdir()] == ["a.tar.zst"]


def test_limits_of_count_and_size(tmp_path):
    path = pack_tar(tmp_path / "a.tar", {f"{number}": b"x" * 2000 for number in range(11)})
    refused(path, TooLarge, "11 files", ArchiveLimits(max_files=10))
    refused(path, TooLarge, "limit for one file", ArchiveLimits(max_file_bytes=1999))
    refused(path, TooLarge, "Unpacked", ArchiveLimits(max_total_bytes=20_000))


def test_a_header_with_a_size_below_zero(tmp_path):
    buffer = io.BytesIO()
    info = tarfile.TarInfo("a.png")
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 12  # -1, base 256
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    buffer.write(header + bytes(1024))
    path = tmp_path / "a.tar"
    path.write_bytes(buffer.getvalue())
    refused(path)
