"""Replies as servers really send them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymta.protocol.smtp.client_replies import LINE_LIMIT, LINES_LIMIT, TEXT_LIMIT, ReplyReader, ServerReply


def _read(data: bytes, step: int = 0) -> list[ServerReply]:
    reader = ReplyReader()
    for piece in [data[i : i + step] for i in range(0, len(data), step)] if step else [data]:
        reader.feed(piece)
    return list(reader.replies)


ROWS = [
    (b"250 2.1.0 Ok\r\n", [(250, "2.1.0", "250 2.1.0 Ok")]),
    (b"250\r\n", [(250, "2.0.0", "250")]),
    (b"250 \r\n", [(250, "2.0.0", "250 ")]),
    (b"250 ok\n", [(250, "2.0.0", "250 ok")]),
    (b"250 2.1.0\r\n", [(250, "2.1.0", "250 2.1.0")]),
    (b"550-5.1.1 a\r\n550 5.1.1 b\r\n", [(550, "5.1.1", "550-5.1.1 a\n550 5.1.1 b")]),
    (b"550 4.1.1 x\r\n", [(550, "5.0.0", "550 4.1.1 x")]),
    (b"450 5.1.1 x\r\n", [(450, "4.0.0", "450 5.1.1 x")]),
    (b"550 5.1.1x\r\n", [(550, "5.0.0", "550 5.1.1x")]),
    (b"550 5.1234.1 x\r\n", [(550, "5.0.0", "550 5.1234.1 x")]),
    (b"354 go\r\n", [(354, "4.0.0", "354 go")]),
    (b"SSH-2.0-OpenSSH\r\n", [(0, "4.5.0", "SSH-2.0-OpenSSH")]),
    (b"\r\n", [(0, "4.5.0", "")]),
    (b"25 ok\r\n", [(0, "4.5.0", "25 ok")]),
    (b"2500 ok\r\n", [(0, "4.5.0", "2500 ok")]),
    (b"150 ok\r\n", [(0, "4.5.0", "150 ok")]),
    (b"650 ok\r\n", [(0, "4.5.0", "650 ok")]),
    ("٢٥٠ ok\r\n".encode(), [(0, "4.5.0", "٢٥٠ ok")]),
    (b"250-a\r\nnonsense\r\n250 b\r\n", [(0, "4.5.0", "nonsense"), (250, "2.0.0", "250 b")]),
    (b"250 a\x00\x1b[2Jb\r\n", [(250, "2.0.0", "250 a??[2Jb")]),
    ("250 grüß\r\n".encode(), [(250, "2.0.0", "250 grüß")]),
    (b"250 gr\xfc\xdf\r\n", [(250, "2.0.0", "250 gr\ufffd\ufffd")]),
    (b"220 a\r\n250 b\r\n", [(220, "2.0.0", "220 a"), (250, "2.0.0", "250 b")]),
]


@pytest.mark.parametrize(("data", "expected"), ROWS)
def test_a_reply_is_read_whole_and_byte_by_byte(data: bytes, expected: list[tuple[int, str, str]]) -> None:
    wanted = [ServerReply(*row) for row in expected]
    assert _read(data) == wanted
    assert _read(data, 1) == wanted


def test_an_endless_line_costs_no_memory_and_the_reply_still_counts() -> None:
    reader = ReplyReader()
    reader.feed(b"550 ")
    for _ in range(1000):
        reader.feed(b"x" * 65536)
    reader.feed(b"\r\n250 ok\r\n")
    first, second = reader.replies
    assert first.code == 550 and len(first.text) == LINE_LIMIT
    assert second == ServerReply(250, "2.0.0", "250 ok")


def test_a_reply_of_many_lines_is_cut_but_its_last_line_decides() -> None:
    reader = ReplyReader()
    reader.feed(b"550-5.1.1 " + b"x" * 500 + b"\r\n")
    for _ in range(LINES_LIMIT - 2):
        reader.feed(b"550-" + b"x" * 500 + b"\r\n")
    reader.feed(b"550 5.2.2 end\r\n")
    reply = reader.replies[0]
    assert reply.status == "5.2.2" and len(reply.text) < 2 * TEXT_LIMIT
    assert not reader.is_broken


def test_a_reply_that_never_ends_is_a_temporary_failure() -> None:
    reader = ReplyReader()
    reader.feed(b"250-more\r\n" * (LINES_LIMIT + 10))
    reply = reader.replies[0]
    assert reply.code == 0 and reply.status.startswith("4")
    assert reader.is_broken


def test_replies_that_nobody_asked_for_are_not_collected_for_ever() -> None:
    reader = ReplyReader()
    for _ in range(1000):
        reader.feed(b"250 ok\r\n" * 1000)
    assert reader.is_broken
    assert len(reader.replies) <= 1000


@settings(max_examples=100)
@given(st.binary(max_size=300), st.integers(1, 7))
def test_any_bytes_give_the_same_replies_in_any_pieces(data: bytes, step: int) -> None:
    assert _read(data) == _read(data, step)
