"""Archives that are refused as a whole, each made for real."""

import stat
import struct
import zipfile

import pytest

from serinus.core.errors import InvalidInput, TooLarge
from serinus.data.archive import ArchiveLimits, UnreadableMember
from serinus.data.opening import open_archive
from tests.data.archives import pack, pair

LIMITS = ArchiveLimits()


def refused(path, kind=InvalidInput, match=None, limits=LIMITS):
    with pytest.raises(kind, match=match) as caught, open_archive(path, limits):
        pass
    assert caught.value.remedy


def test_members_are_listed_and_read(tmp_path):
    files = pair()
    with open_archive(pack(tmp_path / "a.zip", files), LIMITS) as archive:
        assert [member.name for member in archive.members] == list(files)
        assert all(archive.read(member) == files[member.name] for member in archive.members)


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"PK\x05\x06" + bytes(8), bytes(70_000)],
)
def test_what_is_no_archive(tmp_path, content):
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    refused(path, match="not a zip")


@pytest.mark.parametrize("cut", [10, 30, 100, 5000])
def test_a_truncated_archive(tmp_path, cut):
    path = pack(tmp_path / "a.zip", pair())
    path.write_bytes(path.read_bytes()[:-cut])
    refused(path, match="ends too early")


@pytest.mark.parametrize("name", ["../evil.png", "a/../../evil", "a\\..\\..\\evil", "..", "train/.."])
def test_path_traversal(tmp_path, name):
    refused(pack(tmp_path / "a.zip", pair() | {name: b"x"}), match="outside its own folder")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize("name", ["/etc/passwd", "\\\\server\\share", "C:\\windows\\x", "c:/x"])
def test_absolute_paths(tmp_path, name):
    refused(pack(tmp_path / "a.zip", pair() | {name: b"x"}), match="absolute path")


def test_names_that_only_look_like_traversal_are_fine(tmp_path):
    with open_archive(pack(tmp_path / "a.zip", {"a..b/c...png": b"x", ".hidden": b"y"}), LIMITS) as archive:
        assert len(archive.members) == 2


def test_a_name_with_a_nul_byte(tmp_path):
    path = pack(tmp_path / "a.zip", {"abcXdef": b"x"})
    path.write_bytes(path.read_bytes().replace(b"abcXdef", b"abc\0def"))
    refused(path, match="name")


@pytest.mark.parametrize(
    ("mode", "match"),
    [
        (stat.S_IFLNK, "a link"),
        (stat.S_IFIFO, "no file"),
        (stat.S_IFCHR, "no file"),
        (stat.S_IFSOCK, "no file"),
    ],
)
def test_links_and_special_files(tmp_path, mode, match):
    info = zipfile.ZipInfo("link.png")
    info.create_system = 3
    info.external_attr = (mode | 0o777) << 16
    refused(pack(tmp_path / "a.zip", [(info, b"/etc/passwd")]), match=match)


@pytest.mark.parametrize("bits", [0x01, 0x40])
def test_encryption(tmp_path, bits):
    path = pack(tmp_path / "a.zip", {"a.png": b"secret"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= bits
    path.write_bytes(data)
    refused(path, match="encrypted")


def test_a_method_that_is_not_supported(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.png", b"x" * 100)
    refused(path, match="method")


def test_too_many_files(tmp_path):
    path = pack(tmp_path / "a.zip", {f"{number}": b"" for number in range(11)})
    refused(path, TooLarge, "11 files", ArchiveLimits(max_files=10))


def test_a_directory_larger_than_its_files_can_need_is_never_loaded(tmp_path):
    path = pack(tmp_path / "a.zip", {f"{'n' * 2000}{number}": b"" for number in range(9)})
    refused(path, TooLarge, "list of members", ArchiveLimits(max_files=10))


def test_the_zip64_directory_is_bounded_too(tmp_path):
    path = pack(tmp_path / "a.zip", {"a": b""})
    data = path.read_bytes()
    at = data.index(b"PK\x05\x06")
    record = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, 1 << 40, 0)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, at, 1)
    end = bytearray(data[at:])
    end[12:16] = b"\xff\xff\xff\xff"
    path.write_bytes(data[:at] + record + locator + bytes(end))
    refused(path, TooLarge, "list of members")


def test_one_file_too_large(tmp_path):
    path = pack(tmp_path / "a.zip", {"a.png": bytes(2000)})
    refused(path, TooLarge, "limit for one file", ArchiveLimits(max_file_bytes=1999))


def test_all_files_together_too_large(tmp_path):
    path = pack(tmp_path / "a.zip", {f"{number}.png": bytes(1000) for number in range(5)})
    refused(path, TooLarge, "Unpacked", ArchiveLimits(max_total_bytes=4999))


def test_a_bomb_by_its_ratio(tmp_path):
    refused(pack(tmp_path / "a.zip", {"a.png": bytes(4 << 20)}), TooLarge, "times its size")


def overlapping(path, members):
    """An archive whose members are all the same bytes of the file."""
    pack(path, {"0000.png": bytes(900_000)})
    data = path.read_bytes()
    at = data.index(b"PK\x01\x02")
    end = data.index(b"PK\x05\x06")
    entries = b"".join(data[at:end].replace(b"0000", b"%04d" % number) for number in range(members))
    tail = bytearray(data[end:])
    tail[8:16] = struct.pack("<HHI", members, members, len(entries))
    path.write_bytes(data[:at] + entries + bytes(tail))
    return path


def test_a_bomb_of_members_that_overlap(tmp_path):
    path = overlapping(tmp_path / "a.zip", 2)
    refused(path, match="overlaps", limits=ArchiveLimits(max_ratio=10_000))


def test_a_member_that_nobody_can_read_is_told_alone(tmp_path):
    path = pack(tmp_path / "a.zip", {"odd.png": b"one", "fine.png": b"two"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 0x20  # "compressed patched data"
    path.write_bytes(data)
    with open_archive(path, LIMITS) as archive:
        odd, fine = archive.members
        with pytest.raises(UnreadableMember):
            archive.read(odd)
        assert archive.read(fine) == b"two"


def test_a_bomb_of_many_small_files(tmp_path):
    files = {f"{number}.png": bytes(900_000) for number in range(5)}
    refused(pack(tmp_path / "a.zip", files), TooLarge, "The archive unpacks")


def test_a_member_that_lies_about_its_size_gives_no_more_than_it_declares(tmp_path):
    path = pack(tmp_path / "a.zip", {"a.png": bytes(100_000)})
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 10)
    path.write_bytes(data)
    with open_archive(path, LIMITS) as archive:
        (member,) = archive.members
        assert member.size == 10
        with pytest.raises(UnreadableMember):
            archive.read(member)


def test_a_damaged_member_leaves_the_others_readable(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"A" * 1000)
        archive.writestr("b", b"B" * 1000)
    data = bytearray(path.read_bytes())
    data[200] ^= 0xFF
    path.write_bytes(data)
    with open_archive(path, LIMITS) as archive:
        first, second = archive.members
        with pytest.raises(UnreadableMember):
            archive.read(first)
        assert archive.read(second) == b"B" * 1000


def test_two_members_of_one_name_are_both_there(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        path = pack(tmp_path / "a.zip", [("a", b"1"), ("a", b"2")])
    with open_archive(path, LIMITS) as archive:
        assert [archive.read(member) for member in archive.members] == [b"1", b"2"]
