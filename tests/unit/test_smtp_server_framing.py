"""Command lines, DATA and BDAT from bytes in any pieces."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymta.protocol.smtp.framing import ChunkDecoder, CommandLines, DataDecoder

PIECES = st.lists(st.sampled_from([b"a", b"\r\n", b"\n", b"\r", b".", b"\r\n.", b"\r\n.\r\n"]), max_size=14)


def _decoded(data: bytes, standard_end: bool, step: int) -> tuple[bytes, bytes | None, bool]:
    decoder = DataDecoder(standard_end)
    content = b""
    for start in range(0, len(data), step):
        piece, rest = decoder.feed(data[start : start + step])
        content += piece
        if rest is not None:
            return content, rest + data[start + step :], decoder.got_bare_newline
    return content, None, decoder.got_bare_newline


@pytest.mark.parametrize(
    ("data", "content", "rest"),
    [
        (b".\r\n", b"", b""),
        (b"a\r\n.\r\nQUIT\r\n", b"a\r\n", b"QUIT\r\n"),
        (b"..\r\n...\r\n.a\r\n.\r\n", b".\r\n..\r\na\r\n", b""),
        (b". \r\n.\r\n", b" \r\n", b""),
        (b"a\n.\n.\r\n.\r\n", b"a\r\n\r\n\r\n", b""),
        (b"a\r\n.\nMAIL FROM:<x>\r\n.\r\n", b"a\r\n\r\nMAIL FROM:<x>\r\n", b""),
        (b"a\n.\r\nMAIL FROM:<x>\r\n.\r\n", b"a\r\n\r\nMAIL FROM:<x>\r\n", b""),
        (b"a\r.\r\r\n.\r\n", b"a\r.\r\r\n", b""),
        (b"a\r\n.\r\r\n.\r\n", b"a\r\n\r\r\n", b""),
        (b"a\rb\r\n.\r\n", b"a\rb\r\n", b""),
    ],
)
def test_only_the_standard_end_ends_data(data: bytes, content: bytes, rest: bytes) -> None:
    for step in (1, 2, 3, 5, len(data)):
        assert _decoded(data, True, step)[:2] == (content, rest)


@pytest.mark.parametrize("end", [b"\r\n.\r\n", b"\n.\n", b"\n.\r\n", b"\r\n.\n"])
def test_a_client_that_may_send_bare_newlines_may_end_with_them(end: bytes) -> None:
    for step in (1, 2, 99):
        assert _decoded(b"a" + end + b"QUIT\r\n", False, step)[:2] == (b"a\r\n", b"QUIT\r\n")


@settings(max_examples=300, deadline=None)
@given(PIECES, st.booleans(), st.integers(1, 4))
def test_the_pieces_of_data_do_not_matter(pieces: list[bytes], standard_end: bool, step: int) -> None:
    data = b"".join(pieces) + b"\r\n.\r\n"
    assert _decoded(data, standard_end, step) == _decoded(data, standard_end, len(data))


@settings(max_examples=300, deadline=None)
@given(PIECES, st.booleans())
def test_content_never_holds_a_bare_newline(pieces: list[bytes], standard_end: bool) -> None:
    content = _decoded(b"".join(pieces) + b"\r\n.\r\n", standard_end, 3)[0]
    assert content.count(b"\n") == content.count(b"\r\n")
    assert not content or content.endswith(b"\r\n")


@settings(max_examples=300, deadline=None)
@given(PIECES, st.integers(1, 30))
def test_a_tidy_piece_has_only_whole_line_ends(pieces: list[bytes], step: int) -> None:
    data = b"".join(pieces) + b"\r\n.\r\n"
    decoder = DataDecoder()
    for start in range(0, len(data), step):
        content, rest = decoder.feed(data[start : start + step])
        if decoder.is_tidy:
            assert content.count(b"\r") == content.count(b"\n") == content.count(b"\r\n")
        if rest is not None:
            break


def test_usual_content_is_tidy_and_a_stray_cr_is_not() -> None:
    for data, tidy in ((b"a\r\n..b\r\n.\r\n", True), (b"a\rb\r\n.\r\n", False), (b"a\nb\r\n.\r\n", False)):
        decoder = DataDecoder()
        decoder.feed(data)
        assert decoder.is_tidy is tidy


@pytest.mark.parametrize("dots", [0, 1, 99, 100, 101, 1000])
def test_a_dot_line_is_found_behind_any_number_of_dots(dots: int) -> None:
    """Only the first dots of a piece are looked at one by one."""
    before = b"a.b\r\n" * dots
    data = before + b"..c\r\n.\r\nQUIT"
    assert _decoded(data, True, len(data)) == (before + b".c\r\n", b"QUIT", False)


@given(st.binary(max_size=200))
def test_dot_stuffed_lines_come_back(body: bytes) -> None:
    lines = body.replace(b"\r", b"").split(b"\n")
    stuffed = b"".join((b"." + line if line.startswith(b".") else line) + b"\r\n" for line in lines)
    assert _decoded(stuffed + b".\r\n", True, 7)[0] == b"".join(line + b"\r\n" for line in lines)


@pytest.mark.parametrize(
    ("data", "content"),
    [
        (b"", b""),
        (b"abc", b"abc\r\n"),
        (b"abc\r\n", b"abc\r\n"),
        (b"a\n.\nb\r\n", b"a\r\n.\r\nb\r\n"),
        (b"a\r", b"a\r\r\n"),
        (b"..\r\n.\r\n", b"..\r\n.\r\n"),
    ],
)
def test_chunks_keep_dots_and_lose_bare_newlines(data: bytes, content: bytes) -> None:
    for step in (1, 2, 99):
        decoder = ChunkDecoder()
        found = b"".join(decoder.feed(data[start : start + step]) for start in range(0, len(data), step))
        assert found + decoder.finish() == content


def test_command_lines_are_cut_at_their_limit_and_remembered_no_longer() -> None:
    lines = CommandLines(16)
    lines.feed(b"NOOP " + b"x" * 100)
    assert lines.next_line() is None
    for _ in range(100):
        lines.feed(b"y" * 1000)
        assert lines.next_line() is None
        assert len(lines) <= 16
    lines.feed(b"\r\nQUIT\r\n")
    assert lines.next_line() == b"NOOP " + b"x" * 11
    assert lines.next_line() == b"QUIT"
    assert lines.next_line() is None


@pytest.mark.parametrize(
    ("data", "bare"),
    [(b"NOOP\r\n", False), (b"NOOP\n", True), (b"x" * 40 + b"\r\n", False), (b"x" * 40 + b"\n", True), (b"\n", True)],
)
@pytest.mark.parametrize("step", [1, 7, 100])
def test_bare_newlines_behind_commands_are_seen(data: bytes, bare: bool, step: int) -> None:
    lines = CommandLines(16)
    for start in range(0, len(data), step):
        lines.feed(data[start : start + step])
        lines.next_line()
    assert lines.got_bare_newline is bare
