"""A PNG whose pixels are stored instead of deflated, for the decoder to read in half the time.

Most of the time of a PNG's decoding is zlib's. ISA-L inflates three times faster; what it gives goes back
into the PNG as stored blocks (RFC 1951, 3.2.4), which the decoder, whoever it is, copies. So it sees the same
filtered rows and the same other chunks as before, and gives the same pixels. Whatever is not as the PNG
specification has it stays as it came: the decoder alone says what is wrong with it.
"""

from typing import TypeAlias

from serinus.imagery.isal import igzip, zlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
"""By kind of colour. Palettes are not here: their pictures are small."""
_FEWEST_BYTES, _MOST_BYTES = 1 << 16, 1 << 26
"""Of pixels. Smaller ones gain nothing; larger ones would take twice this beside their pixels."""
_BLOCK = 0xFFFF
_ZLIB = b"\x78\x01"
_CHECKSUM = 4

Data: TypeAlias = bytes | memoryview


def stored(data: Data) -> Data:
    """`data`, a PNG, with its pixels stored; `data` itself where that cannot be, or ISA-L is not there."""
    if igzip is None:
        return data
    view = memoryview(data)
    expected = _inflated_bytes(view)
    place = _deflated(view) if _FEWEST_BYTES <= expected <= _MOST_BYTES else None
    if place is None:
        return data
    start, end, pieces = place
    inflater = igzip.IgzipDecompressor(flag=igzip.DECOMP_ZLIB)
    deflated = b"".join(pieces)
    try:
        rows = inflater.decompress(deflated, expected + 1)
    except igzip.error:
        return data
    if len(rows) != expected or not inflater.eof or inflater.unused_data:
        return data
    body = b"".join([b"IDAT", _ZLIB, *_blocks(rows), deflated[-_CHECKSUM:]])
    length, checksum = len(body) - 4, zlib.crc32(body)
    return b"".join([view[:start], length.to_bytes(4, "big"), body, checksum.to_bytes(4, "big"), view[end:]])


def _inflated_bytes(view: memoryview) -> int:
    """How long the filtered rows are, bytes; 0 for a PNG of another kind than is stored here."""
    if len(view) < 33 or bytes(view[:16]) != _SIGNATURE + b"\0\0\0\x0dIHDR":
        return 0
    width, height = int.from_bytes(view[16:20], "big"), int.from_bytes(view[20:24], "big")
    depth, colour, *rest = view[24:29]
    if depth not in (8, 16) or colour not in _CHANNELS or any(rest):  # 0: deflate, five filters, no interlace
        return 0
    return height * (1 + width * _CHANNELS[colour] * depth // 8)


def _deflated(view: memoryview) -> tuple[int, int, list[memoryview]] | None:
    """Where the run of chunks with pixels begins and ends, and what they hold; None when one is not sound."""
    at, start, pieces = len(_SIGNATURE), 0, []
    while at + 12 <= len(view):
        after = at + 12 + int.from_bytes(view[at : at + 4], "big")
        if bytes(view[at + 4 : at + 8]) == b"IDAT":
            start = start or at
            if after > len(view) or zlib.crc32(view[at + 4 : after - 4]) != int.from_bytes(
                view[after - 4 : after], "big"
            ):
                return None
            pieces.append(view[at + 8 : after - 4])
        elif pieces:
            return start, at, pieces
        at = after
    return None


def _blocks(rows: bytes) -> list[bytes | memoryview]:
    """`rows` as stored blocks: last or not, length, its complement, content."""
    view, blocks = memoryview(rows), list[bytes | memoryview]()
    for at in range(0, len(view), _BLOCK):
        piece = view[at : at + _BLOCK]
        last, length = at + _BLOCK >= len(view), len(piece)
        blocks.append(bytes([last]) + length.to_bytes(2, "little") + (_BLOCK - length).to_bytes(2, "little"))
        blocks.append(piece)
    return blocks
