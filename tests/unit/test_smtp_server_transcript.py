"""Sessions that keep a transcript: its size, and when it is asked to be reported."""

from pymta.model.access import PERMIT
from pymta.model.envelope import Client
from pymta.protocol.smtp.server_events import NEED_DATA, PAUSED, Classify, CommandKind, Decide, Errors
from pymta.protocol.smtp.server_options import ServerOptions
from pymta.protocol.smtp.server_transcript import TranscriptSession, _wrapped


def _drive(data: bytes, wanted: frozenset[str], **options: object) -> list[Errors]:
    own = ServerOptions(myhostname="mx.example.com", banner="mx ESMTP", forbid_unauth_pipelining=False, **options)  # type: ignore[arg-type]
    session = TranscriptSession(own, Client("192.0.2.1"), lambda: "Q", wanted=wanted)
    session.start()
    session.receive_data(data)
    session.receive_eof()
    found = []
    while (event := session.next_event()) not in (NEED_DATA, PAUSED):
        if isinstance(event, Decide):
            session.decide(PERMIT)
        elif isinstance(event, Errors):
            found.append(event)
            session.resume()
        elif isinstance(event, Classify):
            session.classified(CommandKind.OTHER)
    return found


def test_errors_of_a_wanted_kind_are_reported_once() -> None:
    data = b"EHLO x\r\nRCPT TO:<a@b>\r\nRCPT TO:<c@d>\r\nQUIT\r\n"
    (errors,) = _drive(data, frozenset({"protocol"}))
    assert errors.kinds == {"protocol"}
    assert errors.text.count(" Out: 503 5.5.1 Error: need MAIL command") == 2
    assert _drive(data, frozenset({"policy"})) == []
    assert _drive(b"EHLO x\r\nQUIT\r\n", frozenset({"protocol"})) == []


def test_a_client_that_leaves_is_named_as_the_reason() -> None:
    (errors,) = _drive(b"EHLO x\r\nRCPT TO:<a@b>\r\n", frozenset({"protocol"}))
    assert "\n\nSession aborted, reason: lost connection\n\nFor other details" in errors.text


def test_a_transcript_has_an_end() -> None:
    long = b"".join(b"MAIL FROM:<%d" % number + b"x" * 900 + b"\r\n" for number in range(500))
    (errors,) = _drive(b"EHLO x\r\n" + long, frozenset({"protocol"}), hard_error_limit=10_000, soft_error_limit=10_000)
    assert len(errors.text) < 100_000
    assert "x" * 300 not in errors.text
    assert "(What followed is not shown.)" in errors.text


def test_long_lines_are_broken_at_blanks() -> None:
    text = "Out: 550 5.1.1 <nobody@example.com>: Recipient address rejected: User unknown in local recipient table"
    assert _wrapped(text) == [
        " Out: 550 5.1.1 <nobody@example.com>: Recipient address rejected: User unknown",
        "     in local recipient table",
    ]
    assert _wrapped("x" * 500) == [" " + "x" * 500]
    assert _wrapped("a " * 100)[1].startswith("     a ")
