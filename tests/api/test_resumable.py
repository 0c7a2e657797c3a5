"""Resumable uploads: real connections that are cut, a process that is killed, many at once."""

import base64
import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest

from serinus.api.resumable import Resumables
from serinus.api.uploads import Uploads
from serinus.core.errors import VolumeFull
from serinus.data.tars import zstd
from serinus.jobs import remains
from tests.api.stage import zipped
from tests.api.test_schema import is_up
from tests.data.archives import tar_of
from tests.serving.house import wait_for
from tests.store.hard import volume

TUS = {"Tus-Resumable": "1.0.0"}
PIECE = TUS | {"Content-Type": "application/offset+octet-stream"}
LIMIT = 40_000_000
ARCHIVE = zipped(random.Random(1).randbytes(3_000_000))


class House:
    """The process, and how to speak to it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [sys.executable, "-m", "tests.api.serve_uploads", self.root, self.port, LIMIT]
        with (self.root / "log").open("ab") as log:
            self.process = subprocess.Popen(list(map(str, command)), stderr=log)
        self.url = f"http://127.0.0.1:{self.port}"
        wait_for(lambda: is_up(self.url), "the control app")
        self.client = httpx.Client(base_url=self.url, trust_env=False, timeout=30)

    def kill(self) -> None:
        assert self.process is not None
        self.client.close()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def begin(self, length: int, name: str = "pairs.zip", **headers: str) -> str:
        metadata = f"filename {base64.b64encode(name.encode()).decode()},filetype YQ=="
        asked = TUS | {"Upload-Length": str(length), "Upload-Metadata": metadata} | headers
        reply = self.client.post("/api/uploads", headers=asked)
        assert reply.status_code == 201, reply.text
        return str(reply.headers["location"])

    def add(self, place: str, offset: int, data: bytes, **headers: str) -> httpx.Response:
        return self.client.patch(
            place, headers=PIECE | {"Upload-Offset": str(offset)} | headers, content=data
        )

    def offset(self, place: str) -> int:
        reply = self.client.head(place, headers=TUS)
        assert reply.status_code == 200
        assert reply.headers["cache-control"] == "no-store"
        return int(reply.headers["upload-offset"])

    def cut(self, place: str, offset: int, data: bytes, announce: int, **headers: str) -> socket.socket:
        """Announces `announce` bytes, sends `data` and says no more."""
        line = socket.create_connection(("127.0.0.1", self.port))
        fields = PIECE | {"Upload-Offset": str(offset), "Content-Length": str(announce)} | headers
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        line.sendall(f"PATCH {place} HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}\r\n".encode() + data)
        return line

    def uploads(self) -> list[dict[str, object]]:
        return list(self.client.get("/api/uploads").json()["uploads"])

    def stored(self, place: str) -> bytes:
        name = place.rpartition("/")[2]
        found = [self.root / "data" / "uploads" / f"{name}{suffix}" for suffix in (".zip", ".tar")]
        (path,) = (path for path in found if path.exists())
        return path.read_bytes()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("house"))
    yield made
    made.kill()
    for job in (made.root / "data" / "jobs").glob("*-*"):
        remains.end(job.name)


def test_what_the_server_can(house: House) -> None:
    reply = house.client.options("/api/uploads")
    assert reply.status_code == 204
    assert reply.headers["tus-version"] == "1.0.0"
    assert set(reply.headers["tus-extension"].split(",")) >= {
        "creation",
        "checksum",
        "termination",
        "expiration",
    }
    assert reply.headers["tus-max-size"] == str(LIMIT)


def test_an_upload_in_pieces(house: House) -> None:
    place = house.begin(len(ARCHIVE), "ä b.zip")
    before = len(house.uploads())
    at = 0
    for size in (1, 999_999, 1_500_000, len(ARCHIVE)):
        reply = house.add(place, at, ARCHIVE[at : at + size])
        assert reply.status_code == 204, reply.text
        at = int(reply.headers["upload-offset"])
        assert parsedate_to_datetime(reply.headers["upload-expires"]).timestamp() > time.time()
    assert at == len(ARCHIVE)
    assert house.stored(place) == ARCHIVE
    assert len(house.uploads()) == before + 1
    newest = house.uploads()[0]
    assert (newest["name"], newest["size"]) == ("ä b.zip", len(ARCHIVE))
    assert house.offset(place) == len(ARCHIVE), "who lost the last answer asks, and learns that all is there"
    started = house.client.post("/trigger-preprocess", data={"dataset": str(newest["id"])})
    assert started.status_code == 202


def test_connections_cut_at_random_and_the_client_goes_on(house: House) -> None:
    place, chance, at, cuts, sent = house.begin(len(ARCHIVE)), random.Random(7), 0, 0, 0
    while at < len(ARCHIVE) and cuts < 60:
        part = ARCHIVE[at : at + chance.randrange(1, 400_000)]
        line = house.cut(place, at, part, announce=len(ARCHIVE) - at)
        if chance.random() < 0.5:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
        line.close()
        cuts, sent = cuts + 1, max(sent, at + len(part))
        following = house.offset(place)
        assert at <= following <= sent, "nothing that was there is lost"
        at = following
    if at < len(ARCHIVE):
        assert house.add(place, at, ARCHIVE[at:]).status_code == 204
    assert cuts > 5
    assert house.stored(place) == ARCHIVE


def test_a_line_that_went_silent_is_taken_over(house: House) -> None:
    place = house.begin(len(ARCHIVE))
    silent = house.cut(place, 0, ARCHIVE[:1000], announce=len(ARCHIVE))
    wait_for((house.root / "data/uploads" / f"{place[13:]}.partial").exists, "the file")
    for _ in range(3):  # the first piece may be read only now: then the client asks once more
        at = house.offset(place)
        assert at in (0, 1000)
        if house.add(place, at, ARCHIVE[at:]).status_code == 204:
            break
    silent.close()
    assert house.stored(place) == ARCHIVE


def test_a_process_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    house = House(tmp_path)
    try:
        place = house.begin(len(ARCHIVE))
        assert house.add(place, 0, ARCHIVE[:1_200_000]).status_code == 204
        line = house.cut(place, 1_200_000, ARCHIVE[1_200_000:2_000_000], announce=len(ARCHIVE) - 1_200_000)
        house.kill()
        line.close()
        house.start()
        at = house.offset(place)
        assert at >= 1_200_000
        assert house.add(place, at, ARCHIVE[at:]).status_code == 204
        assert house.stored(place) == ARCHIVE
        note = house.uploads()[0]
        assert note["id"] == place.rpartition("/")[2]
        stored = tmp_path / "data" / "uploads" / f"{note['id']}.json"
        assert hashlib.sha256(ARCHIVE).hexdigest() in stored.read_text()
    finally:
        house.kill()


def test_killed_between_the_last_byte_and_the_name(tmp_path: Path) -> None:
    house = House(tmp_path)
    try:
        place = house.begin(len(ARCHIVE))
        assert house.add(place, 0, ARCHIVE[:-1]).status_code == 204
        house.kill()
        with (tmp_path / "data" / "uploads" / f"{place[13:]}.partial").open("ab") as file:
            file.write(ARCHIVE[-1:])
        house.start()
        assert house.uploads() == []
        assert house.offset(place) == len(ARCHIVE)
        assert len(house.uploads()) == 1
    finally:
        house.kill()


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "md5"])
def test_a_piece_with_a_checksum(house: House, algorithm: str) -> None:
    def checksum(data: bytes) -> dict[str, str]:
        digest = base64.b64encode(hashlib.new(algorithm, data).digest()).decode()
        return {"Upload-Checksum": f"{algorithm} {digest}"}

    place = house.begin(len(ARCHIVE))
    half = ARCHIVE[:1_500_000]
    wrong = house.add(place, 0, half, **checksum(half[1:]))
    assert wrong.status_code == 460
    assert house.offset(place) == 0, "thrown away"
    house.cut(place, 0, half[:700_000], len(half), **checksum(half)).close()
    assert house.offset(place) == 0, "nobody knows whether it was right"
    assert house.add(place, 0, half, **checksum(half)).status_code == 204
    assert house.offset(place) == len(half)
    assert house.add(place, len(half), ARCHIVE[len(half) :]).status_code == 204
    assert house.stored(place) == ARCHIVE
    assert house.add(house.begin(9), 0, b"x", **{"Upload-Checksum": "crc32 AAAA"}).status_code == 400


def test_killed_before_a_checksum_was_known(tmp_path: Path) -> None:
    house = House(tmp_path)
    try:
        place = house.begin(len(ARCHIVE))
        partial = tmp_path / "data" / "uploads" / f"{place[13:]}.partial"
        digest = base64.b64encode(hashlib.sha1(ARCHIVE).digest()).decode()
        line = house.cut(place, 0, ARCHIVE[:-1], len(ARCHIVE), **{"Upload-Checksum": f"sha1 {digest}"})
        wait_for(lambda: partial.stat().st_size > 0, "bytes on disk")
        house.kill()
        line.close()
        house.start()
        assert house.offset(place) == 0
    finally:
        house.kill()


def test_several_at_once(house: House) -> None:
    archives = [zipped(os.urandom(600_000)) for _ in range(6)]
    places: dict[int, str] = {}

    def send(number: int) -> None:
        data = archives[number]
        with httpx.Client(base_url=house.url, trust_env=False, timeout=30) as client:
            begun = client.post("/api/uploads", headers=TUS | {"Upload-Length": str(len(data))})
            place = places[number] = begun.headers["location"]
            for at in range(0, len(data), 50_000):
                piece = data[at : at + 50_000]
                client.patch(place, headers=PIECE | {"Upload-Offset": str(at)}, content=piece)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [house.stored(places[number]) for number in range(6)] == archives


def test_the_wrong_offset_changes_nothing(house: House) -> None:
    place = house.begin(len(ARCHIVE))
    house.add(place, 0, ARCHIVE[:100])
    for offset in (0, 99, 101, 10**12):
        assert house.add(place, offset, b"zzz").status_code == 409
    assert house.offset(place) == 100
    for odd in ("-1", "x", "", "1.5", "9" * 40):
        assert house.add(place, 0, b"z", **{"Upload-Offset": odd}).status_code == 400


def test_more_than_was_announced_is_not_taken(house: House) -> None:
    place = house.begin(1000)
    assert house.add(place, 0, b"z" * 1001).status_code == 413
    assert house.offset(place) == 0


def test_what_is_no_archive_is_refused_at_its_end_and_forgotten(house: House) -> None:
    before = house.uploads()
    place = house.begin(1000)
    reply = house.add(place, 0, b"z" * 1000)
    assert reply.status_code == 400
    assert "not a zip archive" in reply.json()["error"]
    assert reply.json()["remedy"]
    assert house.client.head(place, headers=TUS).status_code == 404
    assert house.uploads() == before


def test_a_tar_is_an_archive_too(house: House) -> None:
    data = zstd.compress(tar_of([("a.png", b"x")]))
    place = house.begin(len(data), "pairs.tar.zst")
    assert house.add(place, 0, data).status_code == 204
    assert house.stored(place) == data
    assert house.uploads()[0]["name"] == "pairs.tar.zst"


def test_lengths_that_cannot_be(house: House) -> None:
    def begin(**headers: str) -> int:
        return house.client.post("/api/uploads", headers=TUS | headers).status_code

    assert begin(**{"Upload-Length": str(LIMIT + 1)}) == 413
    assert begin(**{"Upload-Length": "0"}) == 400
    assert begin() == 400
    assert begin(**{"Upload-Defer-Length": "1"}) == 400
    assert begin(**{"Upload-Length": "5", "Upload-Metadata": "filename ***"}) == 400


def test_creation_with_the_first_piece(house: House) -> None:
    headers = PIECE | {"Upload-Length": str(len(ARCHIVE))}
    reply = house.client.post("/api/uploads", headers=headers, content=ARCHIVE[:5000])
    assert (reply.status_code, reply.headers["upload-offset"]) == (201, "5000")
    assert house.add(reply.headers["location"], 5000, ARCHIVE[5000:]).status_code == 204
    assert house.stored(reply.headers["location"]) == ARCHIVE


def test_an_upload_is_thrown_away_when_asked(house: House) -> None:
    place = house.begin(1000)
    assert house.client.delete(place, headers=TUS).status_code == 204
    assert house.client.head(place, headers=TUS).status_code == 404
    assert house.client.delete(place, headers=TUS).status_code == 404
    whole = house.begin(len(ARCHIVE))
    house.add(whole, 0, ARCHIVE)
    assert house.client.delete(whole, headers=TUS).status_code == 204
    assert house.client.head(whole, headers=TUS).status_code == 404
    assert whole.rpartition("/")[2] not in house.client.get("/api/uploads").text


def test_other_protocols_are_told(house: House) -> None:
    place = house.begin(1000)
    other = house.client.head(place, headers={"Tus-Resumable": "0.2.2"})
    assert (other.status_code, other.headers["tus-version"]) == (412, "1.0.0")
    typed = house.client.patch(place, headers=TUS | {"Upload-Offset": "0"}, content=b"x")
    assert typed.status_code == 415
    override = PIECE | {"Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    assert house.client.post(place, headers=override, content=b"xyz").status_code == 204
    assert house.offset(place) == 3


@pytest.mark.parametrize("name", ["..%2f..%2fetc", "x", "0" * 32, "%00", "a.b"])
def test_unknown_uploads(house: House, name: str) -> None:
    assert house.client.head(f"/api/uploads/{name}", headers=TUS).status_code == 404


def test_an_equal_archive_is_one_file(house: House) -> None:
    data = zipped(b"the same each time")
    places = [house.begin(len(data)) for _ in range(2)]
    for place in places:
        house.add(place, 0, data)
    folder = house.root / "data" / "uploads"
    first, second = (folder / f"{place[13:]}.zip" for place in places)
    assert first.stat().st_ino == second.stat().st_ino
    reply = house.client.post("/upload-dataset", files={"file": ("again.zip", data)})
    assert Path(reply.json()["path"]).stat().st_ino == first.stat().st_ino


@pytest.mark.anyio
async def test_what_nobody_finishes_is_thrown_away(tmp_path: Path) -> None:
    now = [time.time()]
    ids = iter(f"{number:032x}" for number in range(9))
    uploads = Uploads(tmp_path, limit_bytes=10**6, clock=lambda: now[0], new_id=lambda: next(ids))

    def fresh() -> Resumables:
        return Resumables(
            uploads, limit_bytes=10**6, keep_seconds=100, clock=lambda: now[0], new_id=lambda: next(ids)
        )

    async def body(data: bytes):  # type: ignore[no-untyped-def]
        yield data

    made = fresh()
    begun = await made.begin(len(ARCHIVE[:9]), "a")
    data = zipped()
    whole = await made.begin(len(data), "b")
    assert (await made.append(whole.id, 0, body(data))).upload is not None
    (tmp_path / "killed.part").touch()
    assert made.expire() == 0
    now[0] += 90
    await made.append(begun.id, 0, body(b"x"))
    now[0] += 90
    fresh().expire()
    left = {path.name for path in tmp_path.iterdir()}
    assert f"{whole.id}.zip" in left, "what is whole stays"
    assert f"{whole.id}.upload" not in left and "killed.part" not in left
    assert (
        f"{begun.id}.partial" not in left or now[0] < (tmp_path / f"{begun.id}.partial").stat().st_mtime + 100
    )
    with pytest.raises(VolumeFull):
        await Resumables(
            uploads, limit_bytes=10**18, keep_seconds=100, clock=lambda: now[0], new_id=lambda: next(ids)
        ).begin(10**17, "huge")


@pytest.mark.anyio
async def test_a_volume_that_fills_up_loses_nothing_that_was_written(tmp_path: Path) -> None:
    data = zipped(os.urandom(3_000_000))

    async def rest(at: int):  # type: ignore[no-untyped-def]
        for start in range(at, len(data), 100_000):
            yield data[start : start + 100_000]

    with volume(tmp_path / "volume", 8) as folder:
        uploads = Uploads(folder, limit_bytes=10**8, clock=time.time, new_id=lambda: "0" * 32)
        made = Resumables(
            uploads,
            limit_bytes=10**8,
            keep_seconds=100,
            clock=time.time,
            new_id=lambda: "0" * 32,
            spare_bytes=1_000_000,
        )
        begun = await made.begin(len(data), "a.zip")
        with (folder / "other").open("wb") as file:
            file.write(bytes(6_500_000))
        with pytest.raises(VolumeFull, match="what has arrived stays"):
            await made.append(begun.id, 0, rest(0))
        at = (await made.standing(begun.id)).offset
        assert 0 < at < len(data)
        (folder / "other").unlink()
        done = await made.append(begun.id, at, rest(at))
        assert done.upload is not None
        assert done.upload.sha256 == hashlib.sha256(data).hexdigest()
        assert uploads.path(done.upload).read_bytes() == data


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
