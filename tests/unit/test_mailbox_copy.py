"""Content on its way into mailboxes: line ends, `From ` quoting, dots; the same for every cut into pieces."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymta.delivery.mailbox_copy import LineFilter, converted, envelope_header, from_line
from pymta.model.address import NULL_SENDER, Address

ROWS = [
    (b"A: b\r\n\r\ntext\r\n", {}, b"A: b\n\ntext\n"),
    (b"a\r\nFrom me\r\nfrom you\r\n", {"quote_from": True}, b"a\n>From me\nfrom you\n"),
    (b"From me\r\n", {"quote_from": True}, b">From me\n"),
    (b"a\r\n>From me\r\nFromage\r\n", {"quote_from": True}, b"a\n>From me\nFromage\n"),
    (b"a\r\nFrom me\r\n", {}, b"a\nFrom me\n"),
    (b".\r\n..\r\na.b\r\n", {"quote_dot": True}, b"..\n...\na.b\n"),
    (b".\r\nFrom x\r\n", {"quote_dot": True, "quote_from": True}, b"..\n>From x\n"),
    (b"a\r\n.\r\n", {"eol": b"\r\n", "quote_dot": True}, b"a\r\n..\r\n"),
    (b"a\r\nb\r\n", {"eol": b"|"}, b"a|b|"),
    (b"a\r\nb\r\n", {"eol": b""}, b"ab"),
    (b"", {}, b""),
    (b"no end", {}, b"no end"),
    (b"lone \r here\r\n", {}, b"lone \r here\n"),
    (b"ends in cr\r", {}, b"ends in cr\r"),
]


def _run(content: bytes, size: int, options: dict[str, object]) -> bytes:
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    return b"".join(converted(pieces, LineFilter(**options)))  # type: ignore[arg-type]


@pytest.mark.parametrize(("content", "options", "expected"), ROWS)
def test_content_is_converted(content: bytes, options: dict[str, object], expected: bytes) -> None:
    assert _run(content, len(content) + 1, options) == expected
    assert _run(content, 1, options) == expected


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([b"\r\n", b"From ", b"\r", b".", b"x", b"F"]), max_size=20), st.integers(1, 9))
def test_a_cut_into_pieces_changes_nothing(parts: list[bytes], size: int) -> None:
    content = b"".join(parts)
    options = {"quote_from": True, "quote_dot": True}
    assert _run(content, size, options) == _run(content, len(content) + 1, options)


def test_the_envelope_goes_into_headers_in_order() -> None:
    sender, rcpt = Address("a b", "example.com"), Address("me", "here.example")
    assert envelope_header(sender=sender, original=Address("root"), delivered=rcpt) == (
        b'Return-Path: <"a b"@example.com>\nX-Original-To: root\nDelivered-To: me@here.example\n'
    )
    assert envelope_header(sender=NULL_SENDER) == b"Return-Path: <>\n"


def test_the_from_line_has_two_blanks_and_local_time() -> None:
    now = time.mktime((2015, 4, 22, 16, 13, 33, 0, 0, -1))
    assert from_line(Address("me", "x.example"), now) == b"From me@x.example  Wed Apr 22 16:13:33 2015"
    assert from_line(NULL_SENDER, now).startswith(b"From MAILER-DAEMON  Wed")
