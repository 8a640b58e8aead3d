"""Content on the wire: what the server un-stuffs is what we had."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymta.protocol.smtp.client_content import ContentEncoder, break_lines, has_longer_line


def _encode(pieces: list[bytes], limit: int = 998) -> bytes:
    encoder = ContentEncoder(limit)
    return b"".join([encoder.encode(piece) for piece in pieces]) + encoder.finish()


def _pieces(data: bytes, step: int) -> list[bytes]:
    return [data[start : start + step] for start in range(0, len(data), step)]


def _decode(wire: bytes) -> bytes:
    """What a server makes of it: lines up to the lone dot, one leading dot taken off."""
    lines = wire.split(b"\r\n")
    assert lines[-2:] == [b".", b""]
    assert b"." not in lines[:-2]
    return b"".join(line.removeprefix(b".") + b"\r\n" for line in lines[:-2])


ROWS = [
    (b"", b".\r\n"),
    (b"a\r\n", b"a\r\n.\r\n"),
    (b"a", b"a\r\n.\r\n"),
    (b".\r\n", b"..\r\n.\r\n"),
    (b".", b"..\r\n.\r\n"),
    (b"\r\n.\r\n", b"\r\n..\r\n.\r\n"),
    (b"..a\r\n.b\r\nc.\r\n", b"...a\r\n..b\r\nc.\r\n.\r\n"),
]


@pytest.mark.parametrize(("content", "wire"), ROWS)
@pytest.mark.parametrize("limit", [0, 998])
def test_dots_are_doubled_at_line_starts_wherever_the_pieces_end(content: bytes, wire: bytes, limit: int) -> None:
    assert _encode([content], limit) == wire
    assert _encode(_pieces(content, 1), limit) == wire


LINES = st.lists(st.one_of(st.sampled_from([b"", b".", b"..", b".a"]), st.binary(max_size=12)), max_size=8).map(
    lambda lines: b"".join(line.replace(b"\r", b"").replace(b"\n", b"") + b"\r\n" for line in lines)
)


@settings(max_examples=150)
@given(LINES, st.integers(1, 9), st.sampled_from([0, 5, 998]))
def test_the_server_gets_what_we_have(content: bytes, step: int, limit: int) -> None:
    wire = _encode(_pieces(content, step), limit)
    assert wire == _encode([content], limit)
    decoded = _decode(wire)
    if limit != 5:
        assert decoded == content
    else:
        assert all(len(line) <= 5 for line in decoded.split(b"\r\n"))
        assert decoded == break_lines(content, 5)


def test_a_long_line_is_broken_with_a_blank_that_counts() -> None:
    assert break_lines(b"0123456789\r\nab\r\n", 4) == b"0123\r\n 456\r\n 789\r\nab\r\n"
    assert break_lines(b"0123\r\n", 4) == b"0123\r\n"


@pytest.mark.parametrize(
    ("data", "longer"),
    [(b"", False), (b"1234\r\n", False), (b"12345\r\n", True), (b"1\r\n12345\r\n", True), (b"1234\r\n" * 50, False)],
)
def test_longer_lines_are_found(data: bytes, longer: bool) -> None:
    assert has_longer_line(data, 4) is longer


@settings(max_examples=150)
@given(st.binary(max_size=60).map(lambda data: data.replace(b"\r", b"").replace(b"\n", b"\r\n")), st.integers(2, 9))
def test_longer_lines_are_found_as_by_looking_at_each(data: bytes, limit: int) -> None:
    lines = data.split(b"\r\n")
    # An unfinished last line is seen only once it is too long with a CRLF as well.
    expected = any(len(line) > limit for line in lines)
    if len(lines[-1]) <= limit:
        assert has_longer_line(data, limit) is expected
    else:
        assert has_longer_line(data, limit)


@pytest.mark.parametrize("limit", [0, 998])
def test_an_endless_line_does_not_stay_in_memory(limit: int) -> None:
    encoder = ContentEncoder(limit)
    sent = 0
    for _ in range(100):
        sent += len(encoder.encode(b"x" * 65536))
    assert sent >= 98 * 65536
    rest = encoder.finish()
    assert rest.endswith(b"\r\n.\r\n")
    assert encoder.broke_line is bool(limit)


@pytest.mark.parametrize("limit", [0, 998])
def test_an_endless_line_that_begins_with_dots_keeps_them(limit: int) -> None:
    content = b"." * 200_000 + b"\r\n.\r\n"
    wire = _encode(_pieces(content, 65536), limit)
    decoded = _decode(wire)
    assert decoded.replace(b"\r\n ", b"") == content
