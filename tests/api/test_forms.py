"""Forms: what is found in one piece of memory is what the library's parser finds."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException, MultiPartParser

from serinus.api.forms import find
from tests.api.form_oracle import both

BOUNDARY = b"----WebKitFormBoundary7MA4YWxkTrZu0gW"
MARK = b"--" + BOUNDARY


def part(head: bytes, content: bytes) -> bytes:
    return MARK + b"\r\n" + head + b"\r\n\r\n" + content + b"\r\n"


def file(name: str, content: bytes) -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"; filename="{name}.png"\r\nContent-Type: image/png'
    return part(head.encode(), content)


END = MARK + b"--\r\n"
PAIR = file("pre_disaster", b"\x89PNG one") + file("post_disaster", b"\x89PNG two") + END


def by_library(body: bytes) -> list[tuple[str, bytes]] | None:
    """Names and contents in order, or None where the library refuses."""

    async def once() -> AsyncGenerator[bytes, None]:
        yield body
        yield b""

    async def parse() -> list[tuple[str, bytes]]:
        kind = f"multipart/form-data; boundary={BOUNDARY.decode()}"
        form = await MultiPartParser(Headers({"content-type": kind}), once(), max_part_size=1 << 20).parse()
        return [
            (name, value.encode() if isinstance(value, str) else await value.read())
            for name, value in form.multi_items()
        ]

    try:
        return asyncio.run(parse())
    except MultiPartException:
        return None


def by_finder(body: bytes) -> list[tuple[str, bytes]] | None:
    found = find(body, BOUNDARY)
    return None if found is None else [(name, bytes(part.content)) for name, part in found.items()]


def test_files_are_views_into_the_body() -> None:
    body = bytearray(PAIR)
    found = find(body, BOUNDARY)
    assert found is not None and list(found) == ["pre_disaster", "post_disaster"]
    assert [bytes(part.content) for part in found.values()] == [b"\x89PNG one", b"\x89PNG two"]
    body[body.index(b"one") : body.index(b"one") + 3] = b"ONE"
    assert bytes(found["pre_disaster"].content) == b"\x89PNG ONE"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"preamble\r\n" + PAIR,
        PAIR + b"epilogue",
        PAIR[: -len(END)],
        PAIR[:-4],
        MARK + b"\r\n\r\n\r\n" + END,
        file("a", b"1") + file("a", b"2") + END,
        part(b"Content-Disposition: form-data; name=\"a\"; filename*=UTF-8''x", b"1") + END,
        part(b'Content-Disposition: form-data; name="a\\"b"', b"1") + END,
        part(b'Content-Disposition: form-data; name="a"', b"1" * 5000) + END,
        part(b'Content-Disposition: form-data; name="a"\r\nX-Other: 1', b"1") + END,
        part(b'Content-Disposition: form-data; name="a"\r\nContent-Transfer-Encoding: base64', b"1") + END,
        part(b'Content-Disposition: form-data; name="a"\nContent-Type: x', b"1") + END,
        b"".join(file(f"f{number}", b"x") for number in range(17)) + END,
        file("a", b"1").replace(MARK, MARK + b" ") + END,
    ],
)
def test_what_is_not_plain_is_left_to_the_library(body: bytes) -> None:
    assert by_finder(body) is None


pieces = st.one_of(
    st.sampled_from(
        [
            MARK,
            b"\r\n",
            MARK + b"\r\n",
            MARK + b"--",
            END,
            b"--",
            b"\r\n\r\n",
            b'"',
            b";",
            b"\r",
            b"\n",
            b"\0",
            b" ",
        ]
    ),
    st.sampled_from([file("pre_disaster", b"1"), file("post_disaster", b""), part(b"Content-Type: a", b"")]),
    st.sampled_from(
        [
            b'Content-Disposition: form-data; name="a"',
            b'content-disposition: FORM-DATA; name="b"; filename=""',
            b"Content-Disposition: form-data",
        ]
    ),
    st.binary(max_size=20),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(pieces, max_size=12).map(b"".join))
@example(PAIR)
@example(file("a", b"x\r\n" + MARK[:-1]) + END)
@example(file("a", b"x\r\n" + MARK + b"y") + END)
def test_it_never_finds_anything_else_than_the_library(body: bytes) -> None:
    found = by_finder(body)
    if found is not None:
        assert found == by_library(body)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abcdefgh"), st.binary(max_size=200)), max_size=6, unique_by=lambda p: p[0]
    )
)
def test_what_http_libraries_send_is_plain(parts: list[tuple[str, bytes]]) -> None:
    body = b"".join(file(name, content) for name, content in parts if MARK not in content) + END
    if parts:
        assert by_finder(body) == [pair for pair in parts if MARK not in pair[1]]


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parent / "forms").iterdir()), ids=lambda path: path.name
)
def test_forms_of_browsers_and_of_the_fuzzer_are_read_alike(path: Path) -> None:
    """`make fuzz` starts from these and looks for others."""
    in_one_piece, by_library = both(path.read_bytes())
    assert in_one_piece == by_library
