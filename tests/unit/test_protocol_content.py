"""Local text becomes spool content whatever its line ends and however it is cut."""

from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymta.protocol.content import Opening, find_dot_line, from_crlf, split_header, to_crlf
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


OPENINGS = [
    (b"Subject: x\r\n\r\nFrom here\r\n", b"Subject: x\r\n\r\nFrom here\r\n", b"Subject: x\r\n\r\nFrom here\r\n"),
    (b" Subject: x\r\n", b"\r\n Subject: x\r\n", b"\r\n Subject: x\r\n"),
    (b"\tfolded\r\n", b"\r\n\tfolded\r\n", b"\r\n\tfolded\r\n"),
    (b"From a  Sat\r\nTo: b\r\n", b"X-Mailbox-Line: From a  Sat\r\nTo: b\r\n", b"To: b\r\n"),
    (
        b">From a\r\n>>From b\r\nTo: b\r\n",
        b"X-Mailbox-Line: >From a\r\nX-Mailbox-Line: >>From b\r\nTo: b\r\n",
        b"To: b\r\n",
    ),
    (b"From a\r\n folded\r\n", b"X-Mailbox-Line: From a\r\n\r\n folded\r\n", b"\r\n folded\r\n"),
    (b"From: a\r\n", b"From: a\r\n", b"From: a\r\n"),
    (b"From", b"From", b"From"),
    (b"", b"", b""),
    (b"\r\n body\r\n", b"\r\n body\r\n", b"\r\n body\r\n"),
]


@pytest.mark.parametrize("size", [1, 3, 100_000])
@pytest.mark.parametrize(("text", "marked", "dropped"), OPENINGS)
def test_first_lines_cannot_go_on_our_header(text: bytes, marked: bytes, dropped: bytes, size: int) -> None:
    for mark, wanted in ((b"X-Mailbox-Line: ", marked), (None, dropped)):
        opening = Opening(mark)
        pieces = [opening.take(text[start : start + size]) for start in range(0, len(text), size)]
        assert b"".join([*pieces, opening.finish()]) == wanted


@pytest.mark.parametrize("filling", [b"", b"line\r\n" * 2000, b"end. And on.\r\n" * 2000, b"." * 5000 + b"\r\n"])
@pytest.mark.parametrize("end", [b"", b".", b"\r\n.", b"x.", b"\r\n.\r\n.", b"..\r\n..x"])
def test_the_first_line_that_begins_with_a_dot_is_found_whatever_is_before_it(filling: bytes, end: bytes) -> None:
    assert find_dot_line(filling + end) == (filling + end).find(b"\n.")
