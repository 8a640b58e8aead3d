"""Sessions that keep a transcript: its size, and when it is asked to be reported."""

import pytest

from pymta.model.access import PERMIT, Stage, Verdict
from pymta.model.envelope import Client
from pymta.model.reply import Reply
from pymta.protocol.smtp.server_blame import KINDS
from pymta.protocol.smtp.server_events import (
    NEED_DATA,
    PAUSED,
    Classify,
    CommandKind,
    Commit,
    Decide,
    Errors,
    OpenDraft,
)
from pymta.protocol.smtp.server_options import ServerOptions
from pymta.protocol.smtp.server_transcript import TranscriptSession, _wrapped


def _drive(
    data: bytes, wanted: frozenset[str], verdict: Verdict = PERMIT, stage: Stage = Stage.MAIL, **options: object
) -> list[Errors]:
    own = ServerOptions(myhostname="mx.example.com", banner="mx ESMTP", forbid_unauth_pipelining=False, **options)  # type: ignore[arg-type]
    session = TranscriptSession(own, Client("192.0.2.1"), lambda: "Q", wanted=wanted)
    session.start()
    session.receive_data(data)
    session.receive_eof()
    found = []
    while (event := session.next_event()) not in (NEED_DATA, PAUSED):
        if isinstance(event, Decide):
            session.decide(verdict if event.context.stage is stage else PERMIT)
        elif isinstance(event, Errors):
            found.append(event)
            session.resume()
        elif isinstance(event, Classify):
            session.classified(CommandKind.OTHER)
        elif isinstance(event, OpenDraft):
            session.draft_opened()
        elif isinstance(event, Commit):
            session.message_result(Reply.of(250, "Ok: queued as Q", "2.0.0"))
    return found


def test_errors_of_a_wanted_kind_are_reported_once() -> None:
    data = b"EHLO x\r\nRCPT TO:<a@b>\r\nRCPT TO:<c@d>\r\nQUIT\r\n"
    (errors,) = _drive(data, frozenset({"protocol"}))
    assert errors.kinds == {"protocol"}
    assert errors.text.count(" Out: 503 5.5.1 Error: need MAIL command") == 2
    assert _drive(data, frozenset({"policy"})) == []
    assert _drive(b"EHLO x\r\nQUIT\r\n", frozenset({"protocol"})) == []


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply.of(451, "<a@b>: Temporary lookup failure", "4.3.0"), "resource"),
        (Reply.of(451, "Server configuration error", "4.3.5"), "software"),
        (Reply.of(450, "<a@b>: Recipient address rejected: later", "4.3.0"), "policy"),
        (Reply.of(451, "<a@b>: Sender address rejected: come again", "4.3.5"), "policy"),
        (Reply.of(550, "<a@b>: Sender address rejected: Temporary lookup failure", "5.7.1"), "policy"),
        (Reply.of(550, "<a@b>: Sender address rejected: User unknown", "5.1.1"), "bounce"),
    ],
)
def test_what_a_rule_says_is_no_fault_of_ours(reply: Reply, kind: str) -> None:
    (errors,) = _drive(b"EHLO x\r\nMAIL FROM:<a@b>\r\n", KINDS, Verdict(reply))
    assert errors.kinds == {kind}


@pytest.mark.parametrize("stage", [Stage.CONNECT, Stage.HELO, Stage.RCPT, Stage.DATA, Stage.END_OF_DATA])
def test_a_refusal_is_policy_at_every_stage(stage: Stage) -> None:
    data = b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nbody\r\n.\r\nQUIT\r\n"
    (errors,) = _drive(data, KINDS - {"protocol"}, Verdict(Reply.of(550, "This proves no sender", "5.7.26")), stage)
    assert errors.kinds == {"policy"}


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
