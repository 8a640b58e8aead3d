"""Local text becomes spool content whatever its line ends and however it is cut."""

from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymta.protocol.content import from_crlf, split_header, to_crlf
from pymta.runtime.loop import run


async def _feed(chunks: list[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def _converted(chunks: list[bytes], convert: Callable[[AsyncIterator[bytes]], AsyncIterator[bytes]] = to_crlf) -> bytes:
    async def collect() -> bytes:
        return b"".join([piece async for piece in convert(_feed(chunks))])

    return run(collect(), "asyncio")


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (b"", b""),
        (b"\n", b"\r\n"),
        (b"a", b"a\r\n"),
        (b"a\nb\n", b"a\r\nb\r\n"),
        (b"a\r\nb\r\n", b"a\r\nb\r\n"),
        (b"a\rb\n", b"a\rb\r\n"),
        (b"a\r", b"a\r\r\n"),
        (b"a\r\n\nb", b"a\r\n\r\nb\r\n"),
    ],
)
def test_lines_end_in_crlf(text: bytes, content: bytes) -> None:
    assert _converted([text]) == content
    assert _converted([text[i : i + 1] for i in range(len(text))]) == content


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=6).map(lambda b: b.translate(b"\r\nab" * 64)), max_size=8))
def test_chunk_borders_do_not_matter(chunks: list[bytes]) -> None:
    assert _converted(chunks) == _converted([b"".join(chunks)])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=6).map(lambda b: b.translate(b"\r\nab" * 64)), max_size=8))
def test_back_to_lines_wherever_chunks_end(chunks: list[bytes]) -> None:
    assert _converted(chunks, from_crlf) == b"".join(chunks).replace(b"\r\n", b"\n")


@pytest.mark.parametrize(
    ("text", "header"),
    [
        (b"To: a\r\nCc: b\r\n\r\nbody\r\n", b"To: a\r\nCc: b\r\n"),
        (b"To: a\r\n", b"To: a\r\n"),
        (b"\r\nTo: not a header\r\n\r\n", b""),
        (b"", b""),
    ],
)
async def test_the_header_is_found_and_nothing_is_lost(text: bytes, header: bytes) -> None:
    for size in (1, 3, 1000):
        found, whole = await split_header(_feed([text[i : i + size] for i in range(0, len(text), size)]))
        assert found == header
        assert b"".join([piece async for piece in whole]) == text
