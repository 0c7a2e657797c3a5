"""The prober against a real HTTP server, and what it is told to send."""

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from serinus.control import probing
from serinus.control.probes import HttpProber, ProbePair
from serinus.control.recorded import GOLDEN_RESULTS
from serinus.core.errors import Corrupt
from serinus.imagery.decode import decode
from tests.control.golden import write_golden
from tests.control.world import World
from tests.store.test_checking import overwrite

PAIRS = [ProbePair(b"pre one", b"post one"), ProbePair(b"pre two", b"post two")]


class Infer(ThreadingHTTPServer):
    """Notes what comes in; answers with `status`."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, bytes]] = []
        self.status = 200
        super().__init__(("127.0.0.1", 0), Answer)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    server: Infer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, self.headers.get("X-Serinus-Stratum", ""), body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def infer() -> Iterator[Infer]:
    with Infer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_probes_are_marked_requests_for_pairs_in_turn(infer: Infer) -> None:
    with HttpProber(infer.url) as prober:
        prober.aim(100.0, lambda: PAIRS)
        until(lambda: len(infer.seen) >= 4)
    assert {path for path, _, _ in infer.seen} == {"/predict?overlay=none"}
    assert {stratum for _, stratum, _ in infer.seen} == {"probe"}
    for index, (_, _, body) in enumerate(infer.seen[:4]):
        word = (b"one", b"two")[index % 2]
        assert b'name="pre_disaster"' in body
        assert b"pre " + word in body
        assert b'name="post_disaster"' in body
        assert b"post " + word in body


def test_no_probe_is_sent_at_rate_zero_and_after_the_end(infer: Infer) -> None:
    prober = HttpProber(infer.url)
    prober.aim(200.0, lambda: PAIRS)
    until(lambda: len(infer.seen) >= 2)
    prober.aim(0.0, tuple)
    time.sleep(0.1)
    sent = len(infer.seen)
    time.sleep(0.2)
    assert len(infer.seen) == sent
    prober.aim(200.0, lambda: PAIRS)
    until(lambda: len(infer.seen) > sent)
    prober.close()
    sent = len(infer.seen)
    prober.aim(200.0, lambda: PAIRS)
    time.sleep(0.1)
    assert len(infer.seen) == sent


def test_trouble_is_logged_once_and_probes_go_on(infer: Infer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    infer.status = 503
    with HttpProber(infer.url) as prober:
        prober.aim(100.0, lambda: PAIRS)
        until(lambda: len(infer.seen) >= 4)
        infer.status = 200
        until(lambda: "probes measure again" in caplog.text)
    assert caplog.text.count("could not measure") == 1
    assert "answered 503" in caplog.text


def test_a_service_that_is_away_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    with Infer() as gone:
        url = gone.url
    with HttpProber(url) as prober:
        prober.aim(50.0, lambda: PAIRS)
        until(lambda: "could not measure" in caplog.text)


def test_missing_pictures_are_no_error(infer: Infer, caplog: pytest.LogCaptureFixture) -> None:
    def missing() -> list[ProbePair]:
        raise FileNotFoundError("golden/coast is gone")

    with HttpProber(infer.url, timeout_seconds=0.05) as prober:
        prober.aim(50.0, missing)
        until(lambda: "golden/coast is gone" in caplog.text)
        prober.aim(0.0, tuple)
        prober.aim(50.0, lambda: PAIRS)
        until(lambda: bool(infer.seen))


def test_the_prober_survives_what_nobody_thought_of(infer: Infer, caplog: pytest.LogCaptureFixture) -> None:
    def stumbling() -> list[ProbePair]:
        if "stumbled" in caplog.text:
            return PAIRS
        raise KeyError("images is not a file in the archive")

    with HttpProber(infer.url, timeout_seconds=0.05) as prober:
        prober.aim(50.0, stumbling)
        until(lambda: bool(infer.seen))
    assert "images is not a file in the archive" in caplog.text


def test_an_address_that_is_none_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    with HttpProber("http://[nowhere", timeout_seconds=0.05) as prober:
        prober.aim(50.0, lambda: PAIRS)
        until(lambda: "cannot be reached" in caplog.text)


def test_the_pictures_are_those_of_the_golden_sets(world: World) -> None:
    write_golden(world.folder / "golden", pairs=40)
    world.store.add_golden("coast", world.folder / "golden", actor="alice")
    pairs = probing.pairs(world.store, world.state.versions[world.state.current].digest)  # type: ignore[index]
    assert len(pairs) == 32
    assert pairs[1].post == (world.folder / "golden" / "1-post.png").read_bytes()


def test_without_golden_sets_the_pictures_are_those_that_current_brought(world: World) -> None:
    pairs = probing.pairs(world.store, world.state.versions[world.state.current].digest)  # type: ignore[index]
    assert len(pairs) == 2
    assert not any(pair.buildings for pair in pairs), "answers of current are no truth"
    assert decode(pairs[0].pre, max_pixels=10_000).shape == (64, 64, 3)


def test_nothing_is_probed_with_a_damaged_picture(world: World) -> None:
    current = world.store.state().versions[world.state.current].digest  # type: ignore[index]
    brought = world.store.artifact(current) / GOLDEN_RESULTS
    good = brought.read_bytes()
    overwrite(brought, good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(Corrupt, match=GOLDEN_RESULTS):
        probing.pairs(world.store, current)
    write_golden(world.folder / "golden", pairs=2)
    world.store.add_golden("coast", world.folder / "golden", actor="alice")
    assert len(probing.pairs(world.store, current)) == 2
    picture = world.store.golden_sets()[0].path / "1-post.png"
    overwrite(picture, picture.read_bytes() + b"\0")
    with pytest.raises(Corrupt, match=str(picture)):
        probing.pairs(world.store, current)
