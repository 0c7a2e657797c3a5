"""The talk between a worker and its parent."""

import fcntl
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from serinus.serving import wire

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(5)
        theirs.settimeout(5)
        yield ours, theirs


def picture(size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (1, size, size, 6), dtype=np.uint8)


def test_a_picture_arrives_read_only(ends: Ends) -> None:
    sent = picture(1024)
    wire.send_request(ends[0], sent)
    got = wire.receive_request(ends[1])
    assert np.array_equal(got, sent)
    with pytest.raises(ValueError, match="read-only"):
        got[0, 0, 0, 0] = 1


def test_the_memory_is_sealed() -> None:
    descriptor = wire.seal(picture())
    try:
        with pytest.raises(PermissionError):
            os.write(descriptor, b"x")
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, 1)
        assert fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SEAL
    finally:
        os.close(descriptor)


def test_no_descriptor_is_left_behind(ends: Ends) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        wire.send_request(ends[0], picture())
        wire.receive_request(ends[1])
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_replies_come_back_whole(ends: Ends) -> None:
    rows = np.arange(60, dtype=np.float32).reshape(10, 6)
    wire.send_reply(ends[1], wire.Status.OK, rows.tobytes())
    status, payload = wire.receive_reply(ends[0], max_bytes=1000)
    assert status is wire.Status.OK
    assert np.array_equal(wire.rows(payload, 1), rows[None])
    assert np.array_equal(wire.rows(payload, 2), rows.reshape(2, 5, 6))
    wire.send_reply(ends[1], wire.Status.RAISED, wire.words("ü" * 10_000))
    status, payload = wire.receive_reply(ends[0], max_bytes=0)
    assert status is wire.Status.RAISED
    assert payload.decode().startswith("üü")


@pytest.mark.parametrize("data", [b"", b"\x02\xff\xff\xff\xff", b"\xee\0\0\0\0", b"\x02\x10\0\0\0abc"])
def test_a_worker_that_talks_nonsense_or_leaves_is_gone(ends: Ends, data: bytes) -> None:
    ends[1].sendall(data)
    ends[1].close()
    with pytest.raises(wire.Hangup):
        wire.receive_reply(ends[0], max_bytes=1000)


def test_a_silent_worker_is_late(ends: Ends) -> None:
    ends[0].settimeout(0.01)
    with pytest.raises(TimeoutError):
        wire.receive_reply(ends[0], max_bytes=1000)


def test_a_worker_that_answers_byte_by_byte_is_late_too(ends: Ends) -> None:
    ends[0].settimeout(0.5)
    over = threading.Event()

    def drip() -> None:
        reply = bytes([wire.Status.OK]) + (900).to_bytes(4, "little") + bytes(900)
        for at in range(len(reply)):
            if over.wait(0.05):
                return
            ends[1].send(reply[at : at + 1])

    dripping = threading.Thread(target=drip)
    dripping.start()
    with pytest.raises(TimeoutError):
        wire.receive_reply(ends[0], max_bytes=1000)
    assert dripping.is_alive(), "it was not waited for"
    over.set()
    dripping.join()


def test_a_gone_parent_ends_the_wait(ends: Ends) -> None:
    ends[0].close()
    with pytest.raises(wire.Hangup):
        wire.receive_request(ends[1])
    with pytest.raises(wire.Hangup):
        wire.send_reply(ends[1], wire.Status.READY)
