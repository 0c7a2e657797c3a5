"""What a worker process and its parent say to each other over a Unix socket.

A request is one fixed header (the picture's shape) with the descriptor of sealed, anonymous memory beside it:
the picture is never copied through the socket and the worker cannot change it. A reply is one fixed header
(status, length) and the bytes: float32 rows of six columns, or words that say what failed.
"""

import fcntl
import math
import mmap
import os
import socket
import struct
from enum import IntEnum
from time import monotonic
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Shape: TypeAlias = tuple[int, int, int, int]

COLUMNS = 6
_REQUEST = struct.Struct("<4I")
_REPLY = struct.Struct("<BI")
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
_MAX_WORDS = 4000


class Status(IntEnum):
    """The first byte of a reply."""

    READY = 0
    """Loaded and warmed up; the first message of a worker."""
    NOT_LOADED = 1
    """The version does not load; words follow and the worker ends."""
    OK = 2
    """Detections follow."""
    RAISED = 3
    """The model raised; words follow."""
    INVALID = 4
    """The model answered with a wrong shape or type; words follow."""
    EXHAUSTED = 5
    """The model raised for want of memory and holds on to what it has: only a new process helps."""


_STATUSES = frozenset(int(status) for status in Status)


class Hangup(Exception):
    """The other side is gone."""


def seal(image: npt.NDArray[np.uint8]) -> int:
    """A descriptor of sealed anonymous memory with the bytes of `image`; the caller closes it."""
    descriptor = os.memfd_create("serinus-pair", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        rest = np.ascontiguousarray(image).data.cast("B")
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def send_request(channel: socket.socket, image: npt.NDArray[np.uint8]) -> None:
    """Sends uint8 [N, H, W, C]. Raises Hangup, TimeoutError."""
    descriptor = seal(image)
    try:
        # The header is shorter than any socket buffer: it goes out whole, with the descriptor.
        socket.send_fds(channel, [_REQUEST.pack(*image.shape)], [descriptor])
    except (BrokenPipeError, ConnectionResetError) as error:
        raise Hangup from error
    finally:
        os.close(descriptor)


def receive_request(channel: socket.socket) -> npt.NDArray[np.uint8]:
    """Waits for pictures: uint8 [N, H, W, C], read-only. Raises Hangup when the parent is gone."""
    header, descriptors, _, _ = socket.recv_fds(channel, _REQUEST.size, 1)
    try:
        if len(header) != _REQUEST.size or len(descriptors) != 1:
            raise Hangup
        shape: Shape = _REQUEST.unpack(header)
        memory = mmap.mmap(descriptors[0], math.prod(shape), prot=mmap.PROT_READ)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    return np.frombuffer(memory, dtype=np.uint8).reshape(shape)


def send_reply(channel: socket.socket, status: Status, payload: bytes = b"") -> None:
    """Sends a reply. Raises Hangup when the parent is gone."""
    try:
        channel.sendall(_REPLY.pack(status, len(payload)) + payload)
    except (BrokenPipeError, ConnectionResetError) as error:
        raise Hangup from error


def words(text: str) -> bytes:
    """The payload for a failure, cut to a bounded length."""
    return text[:_MAX_WORDS].encode("utf-8", "replace")


def receive_reply(channel: socket.socket, *, max_bytes: int) -> tuple[Status, bytes]:
    """Waits for the whole of a reply within the socket's time-out.

    Raises Hangup (the worker is gone, or says what no worker says), TimeoutError.
    """
    until = monotonic() + (channel.gettimeout() or math.inf)
    header = _exactly(channel, _REPLY.size, until)
    status, length = _REPLY.unpack(header)
    if status not in _STATUSES or length > max(max_bytes, _MAX_WORDS * 4):
        raise Hangup
    return Status(status), _exactly(channel, length, until)


def rows(payload: bytes, pictures: int) -> npt.NDArray[np.float32]:
    """Detections float32 [pictures, K, 6] of a reply, in memory of our own.

    Raises ValueError for a wrong length.
    """
    return np.frombuffer(payload, dtype=np.float32).reshape(pictures, -1, COLUMNS).copy()


def _exactly(channel: socket.socket, size: int, until: float) -> bytes:
    """Byte by byte would also be in time for the socket, but not for who waits."""
    buffer = bytearray(size)
    view = memoryview(buffer)
    while view:
        left = until - monotonic()
        if left <= 0:
            raise TimeoutError
        channel.settimeout(None if left == math.inf else left)
        try:
            got = channel.recv_into(view)
        except ConnectionResetError as error:
            raise Hangup from error
        if got == 0:
            raise Hangup
        view = view[got:]
    return bytes(buffer)
