"""Dialogues of the client's engine, whole and byte by byte."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pymta.errors import ProtocolUseError
from pymta.model.envelope import Trace
from pymta.protocol.smtp.client import ClientSession
from pymta.protocol.smtp.client_events import (
    NEED_DATA,
    PAUSED,
    ClientSignal,
    Closed,
    Event,
    Finished,
    Lost,
    Phase,
    Ready,
    Refused,
    SendContent,
)
from pymta.protocol.smtp.client_options import ClientOptions
from tests.support.smtp_client import recipients, request

EHLO = "250-peer.example\r\n250-PIPELINING\r\n250-SIZE 1000000\r\n250-8BITMIME\r\n250 DSN\r\n"
HELO_ONLY = "250-peer.example\r\n250 SIZE\r\n"


class Talk:
    """Drives a session and notes what it says; every reply goes in at once or byte by byte."""

    def __init__(self, by_byte: bool = False, **options: object) -> None:
        self.session = ClientSession(ClientOptions("me.example", **options))  # type: ignore[arg-type]
        self.by_byte = by_byte

    def hear(self, text: str) -> str:
        """Feed the server's words; returns what the client says then."""
        data = text.encode()
        said = b""
        for piece in [data[i : i + 1] for i in range(len(data))] if self.by_byte else [data]:
            self.session.receive_data(piece)
            said += self.session.data_to_send()
        return said.decode()

    def begin(self, *to: str) -> str:
        self.session.begin(request("x", *to), recipients(*to))
        return self.session.data_to_send().decode()

    def content(self, data: bytes = b"hi\r\n") -> str:
        self.session.send_content(data)
        self.session.end_content()
        return self.session.data_to_send().decode()

    @property
    def event(self) -> Event | ClientSignal:
        return self.session.next_event()

    def open(self, capabilities: str = EHLO) -> Talk:
        self.hear("220 peer.example ESMTP\r\n")
        self.hear(capabilities)
        assert isinstance(self.event, Ready)
        return self


@pytest.fixture(params=[False, True], ids=["whole", "by byte"])
def talk(request: pytest.FixtureRequest) -> Callable[..., Talk]:
    return lambda **options: Talk(request.param, **options)


def _outcome(event: Event | ClientSignal) -> list[tuple[str, int]]:
    assert isinstance(event, Finished)
    return [(decided.phase.name, decided.reply.code) for decided in event.replies]


def test_the_handshake_tells_what_the_server_can(talk: Callable[..., Talk]) -> None:
    t = talk()
    assert t.event is NEED_DATA
    assert t.hear("220-welcome\r\n220 Peer.Example ESMTP\r\n") == "EHLO me.example\r\n"
    assert t.hear(EHLO) == ""
    event = t.event
    assert isinstance(event, Ready) and event.greeting.code == 220
    offered = t.session.capabilities
    assert (offered.name, offered.pipelining, offered.size_limit) == ("peer.example", True, 1000000)
    assert (offered.dsn, offered.eight_bit_mime, offered.smtputf8) == (True, True, False)
    assert t.event is PAUSED


def test_the_answers_to_a_thousand_recipients_may_come_at_once(talk: Callable[..., Talk]) -> None:
    t = talk().open()
    to = [f"user{number}@x.org" for number in range(1000)]
    assert t.begin(*to).count("RCPT TO") == 1000
    t.hear("250 ok\r\n" * 1001 + "354 go on\r\n")
    assert isinstance(t.event, SendContent)
    t.content()
    t.hear("250 queued\r\n")
    assert _outcome(t.event) == [("END_OF_DATA", 250)] * 1000


@pytest.mark.parametrize(
    ("options", "dialogue"),
    [
        ({}, [("220 x ESMTP", "EHLO me.example"), ("502 no", "HELO me.example"), ("250 x", "")]),
        ({"always_ehlo": False}, [("220 x", "HELO me.example"), ("250 x", "")]),
        ({"always_ehlo": False}, [("220 x esmtp here", "EHLO me.example"), ("250 x", "")]),
        ({"never_ehlo": True}, [("220 x ESMTP", "HELO me.example"), ("250 x", "")]),
        ({"lmtp": True}, [("220 x LMTP", "LHLO me.example"), ("250 x", "")]),
    ],
)
def test_which_hello_is_said(
    talk: Callable[..., Talk], options: dict[str, object], dialogue: list[tuple[str, str]]
) -> None:
    t = talk(**options)
    for server, client in dialogue:
        assert t.hear(f"{server}\r\n") == (f"{client}\r\n" if client else "")
    assert isinstance(t.event, Ready)


@pytest.mark.parametrize(
    ("options", "replies", "phase", "code"),
    [
        ({}, ["554 no"], Phase.GREETING, 554),
        ({}, ["421 busy"], Phase.GREETING, 421),
        ({}, ["HTTP/1.1 400 Bad Request"], Phase.GREETING, 0),
        ({}, ["220 x", "421 busy"], Phase.EHLO, 421),
        ({}, ["220 x", "502 no", "550 no"], Phase.HELO, 550),
        ({"lmtp": True}, ["220 x", "550 no"], Phase.LHLO, 550),
    ],
)
def test_a_refused_handshake(
    talk: Callable[..., Talk], options: dict[str, object], replies: list[str], phase: Phase, code: int
) -> None:
    t = talk(**options)
    for reply in replies:
        t.hear(f"{reply}\r\n")
    event = t.event
    assert isinstance(event, Refused)
    assert (event.phase, event.reply.code) == (phase, code)
    assert not t.session.is_reusable
    assert not t.session.can_begin


def test_pipelining_puts_the_whole_envelope_in_one_write(talk: Callable[..., Talk]) -> None:
    t = talk().open()
    assert t.begin("a@x.org", "b@x.org") == (
        "MAIL FROM:<sender@example.com> SIZE=1000\r\n"
        "RCPT TO:<a@x.org> ORCPT=rfc822;a@x.org\r\nRCPT TO:<b@x.org> ORCPT=rfc822;b@x.org\r\nDATA\r\n"
    )
    t.hear("250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n")
    assert isinstance(t.event, SendContent)
    assert t.session.phase is Phase.BODY
    assert t.content(b".x\r\n") == "..x\r\n.\r\n"
    t.hear("250 2.0.0 taken\r\n")
    assert _outcome(t.event) == [("END_OF_DATA", 250), ("RCPT", 550)]
    assert t.session.can_begin and t.session.is_reusable


def test_without_pipelining_each_command_waits_for_its_reply(talk: Callable[..., Talk]) -> None:
    t = talk().open(HELO_ONLY)
    assert t.begin("a@x.org", "b@x.org") == "MAIL FROM:<sender@example.com> SIZE=1000\r\n"
    assert t.hear("250 ok\r\n") == "RCPT TO:<a@x.org>\r\n"
    assert t.hear("450 later\r\n") == "RCPT TO:<b@x.org>\r\n"
    assert t.hear("250 ok\r\n") == "DATA\r\n"
    assert t.hear("354 go\r\n") == ""
    assert isinstance(t.event, SendContent)


def test_without_pipelining_nothing_follows_a_refused_sender(talk: Callable[..., Talk]) -> None:
    t = talk().open(HELO_ONLY)
    t.begin("a@x.org")
    assert t.hear("550 no\r\n") == ""
    assert _outcome(t.event) == [("MAIL", 550)]
    assert t.begin("a@x.org") == "RSET\r\n"
    assert t.hear("250 ok\r\n").startswith("MAIL")


@pytest.mark.parametrize(
    ("replies", "expected", "resets"),
    [
        ("550 mail\r\n503 rcpt\r\n503 rcpt\r\n503 data\r\n", [("MAIL", 550), ("MAIL", 550)], True),
        ("250 ok\r\n550 a\r\n450 b\r\n554 data\r\n", [("RCPT", 550), ("RCPT", 450)], True),
        ("250 ok\r\n550 a\r\n250 b\r\n451 data\r\n", [("RCPT", 550), ("DATA", 451)], True),
        ("250 ok\r\n250 a\r\n250 b\r\n250 what\r\n", [("DATA", 250), ("DATA", 250)], True),
        ("250 ok\r\nnonsense\r\n250 b\r\n250 c\r\n", [("RCPT", 0), ("DATA", 250)], True),
    ],
)
def test_a_transaction_that_ends_before_its_content(
    talk: Callable[..., Talk], replies: str, expected: list[tuple[str, int]], resets: bool
) -> None:
    t = talk().open()
    t.begin("a@x.org", "b@x.org")
    assert t.hear(replies) == ""
    assert _outcome(t.event) == expected
    if t.session.is_reusable:
        assert t.begin("c@x.org").startswith("RSET\r\nMAIL") is resets


def test_a_lone_dot_ends_content_that_nobody_gets(talk: Callable[..., Talk]) -> None:
    t = talk().open()
    t.begin("a@x.org")
    assert t.hear("250 ok\r\n550 no\r\n354 go on\r\n") == ".\r\n"
    assert t.event is NEED_DATA
    t.hear("554 no valid recipients\r\n")
    assert _outcome(t.event) == [("RCPT", 550)]
    assert t.begin("b@x.org").startswith("MAIL")


def test_lmtp_answers_once_for_each_accepted_recipient(talk: Callable[..., Talk]) -> None:
    t = talk(lmtp=True).open()
    t.begin("a@x.org", "b@x.org", "c@x.org")
    t.hear("250 ok\r\n250 ok\r\n550 no\r\n250 ok\r\n354 go\r\n")
    assert isinstance(t.event, SendContent)
    t.content()
    t.hear("250 a taken\r\n")
    assert t.event is NEED_DATA
    t.hear("452 c full\r\n")
    assert _outcome(t.event) == [("END_OF_DATA", 250), ("RCPT", 550), ("END_OF_DATA", 452)]


def test_the_next_message_may_follow_the_final_dot(talk: Callable[..., Talk]) -> None:
    t = talk().open()
    t.begin("a@x.org")
    t.hear("250 ok\r\n250 ok\r\n354 go\r\n")
    assert isinstance(t.event, SendContent)
    assert not t.session.can_begin
    t.content()
    assert t.session.can_begin
    assert t.begin("b@x.org").startswith("MAIL")
    assert not t.session.can_begin
    t.hear("452 full\r\n250 ok\r\n550 no b\r\n554 no\r\n")
    assert _outcome(t.event) == [("END_OF_DATA", 452)]
    assert _outcome(t.event) == [("RCPT", 550)]


def test_a_lost_connection_names_the_phase_and_keeps_what_was_decided(talk: Callable[..., Talk]) -> None:
    t = talk().open()
    t.begin("a@x.org", "b@x.org")
    t.hear("250 ok\r\n550 no\r\n")
    t.session.receive_eof()
    event = t.event
    assert isinstance(event, Lost) and event.phase is Phase.RCPT
    assert [decided and decided.reply.code for decided in event.replies] == [550, None]
    assert t.event is PAUSED
    assert not t.session.can_begin


def test_loss_after_the_final_dot_is_told_apart(talk: Callable[..., Talk]) -> None:
    t = talk().open()
    t.begin("a@x.org")
    t.hear("250 ok\r\n250 ok\r\n354 go\r\n")
    assert isinstance(t.event, SendContent)
    t.session.send_content(b"half")
    t.session.data_to_send()
    before = t.session.phase
    t.session.end_content()
    t.session.receive_eof()
    event = t.event
    assert isinstance(event, Lost)
    assert (before, event.phase) == (Phase.BODY, Phase.END_OF_DATA)
    assert "more than once" in event.phase.doing


def test_success_before_the_final_dot_is_not_believed(talk: Callable[..., Talk]) -> None:
    t = talk().open()
    t.begin("a@x.org")
    t.hear("250 ok\r\n250 ok\r\n354 go\r\n250 already there\r\n")
    assert isinstance(t.event, SendContent)
    t.content()
    assert t.event is NEED_DATA
    t.hear("451 real answer\r\n")
    assert _outcome(t.event) == [("END_OF_DATA", 451)]
    assert not t.session.is_reusable


def test_a_refusal_before_the_final_dot_is(talk: Callable[..., Talk]) -> None:
    t = talk().open()
    t.begin("a@x.org")
    t.hear("250 ok\r\n250 ok\r\n354 go\r\n552 too big\r\n")
    assert isinstance(t.event, SendContent)
    t.content()
    assert _outcome(t.event) == [("END_OF_DATA", 552)]


@pytest.mark.parametrize("unasked", ["421 bye\r\n", "250 hello again\r\n", "nonsense\r\n"])
def test_an_idle_session_that_talks_is_not_used_again(talk: Callable[..., Talk], unasked: str) -> None:
    t = talk().open()
    t.hear(unasked)
    assert not t.session.can_begin


def test_421_ends_reuse_after_its_transaction(talk: Callable[..., Talk]) -> None:
    t = talk().open()
    t.begin("a@x.org")
    t.hear("250 ok\r\n250 ok\r\n354 go\r\n")
    assert isinstance(t.event, SendContent)
    t.content()
    t.hear("421 4.3.2 shutting down\r\n")
    assert _outcome(t.event) == [("END_OF_DATA", 421)]
    assert not t.session.is_reusable


def test_a_server_that_floods_us_counts_as_gone(talk: Callable[..., Talk]) -> None:
    t = Talk().open()
    t.begin("a@x.org")
    t.hear("250-more\r\n" * 20_000)
    assert isinstance(t.event, Lost | Finished)
    assert not t.session.is_reusable


def test_quit_is_answered_or_not(talk: Callable[..., Talk]) -> None:
    for end in ("221 bye\r\n", ""):
        t = talk().open()
        t.session.quit()
        assert t.session.data_to_send() == b"QUIT\r\n"
        if end:
            t.hear(end)
        else:
            t.session.receive_eof()
        assert isinstance(t.event, Closed)


def test_driving_it_against_its_contract_is_an_error() -> None:
    session = ClientSession(ClientOptions("me.example"))
    with pytest.raises(ProtocolUseError):
        session.begin(request("x"), recipients("a@x.org"))
    with pytest.raises(ProtocolUseError):
        session.send_content(b"x")


# --- probes ---


def _probe(t: Talk, *to: str) -> str:
    t.session.begin(request("x", *to, trace=Trace.VERIFY), recipients(*to))
    return t.session.data_to_send().decode()


def test_a_probe_ends_with_the_recipients(talk: Callable[..., Talk]) -> None:
    t = talk().open()
    said = _probe(t, "a@x.org", "b@x.org", "c@x.org")
    assert said.count("RCPT TO:") == 3 and "DATA" not in said
    assert t.hear("250 ok\r\n250 2.1.5 a\r\n550 5.1.1 b\r\n") == ""
    assert t.event is NEED_DATA
    t.hear("250 2.1.5 c\r\n")
    event = t.event
    assert _outcome(event) == [("RCPT", 250), ("RCPT", 550), ("RCPT", 250)]
    assert isinstance(event, Finished)
    assert [one.is_delivered for one in event.replies] == [True, False, True]
    # The next message begins with a clean slate.
    assert t.session.is_reusable and t.session.can_begin
    assert t.begin("d@x.org").startswith("RSET\r\nMAIL FROM:")


def test_a_probe_without_pipelining(talk: Callable[..., Talk]) -> None:
    t = talk().open(HELO_ONLY)
    assert _probe(t, "a@x.org", "b@x.org").startswith("MAIL FROM:")
    assert t.hear("250 ok\r\n").startswith("RCPT TO:<a@x.org>")
    assert t.hear("250 ok\r\n").startswith("RCPT TO:<b@x.org>")
    assert t.hear("450 later\r\n") == ""
    assert _outcome(t.event) == [("RCPT", 250), ("RCPT", 450)]


@pytest.mark.parametrize("capabilities", [EHLO, HELO_ONLY])
def test_a_probe_whose_sender_is_refused(talk: Callable[..., Talk], capabilities: str) -> None:
    t = talk().open(capabilities)
    _probe(t, "a@x.org", "b@x.org")
    # With pipelining the server still answers what it was sent, and may even take a recipient.
    t.hear("550 5.7.1 no\r\n" + ("250 ok\r\n503 no\r\n" if capabilities == EHLO else ""))
    assert _outcome(t.event) == [("MAIL", 550), ("MAIL", 550)]
    assert t.event is PAUSED and t.session.can_begin


def test_a_probe_that_loses_the_connection_keeps_what_it_knows(talk: Callable[..., Talk]) -> None:
    t = talk().open()
    _probe(t, "a@x.org", "b@x.org")
    t.hear("250 ok\r\n250 ok\r\n")
    t.session.receive_eof()
    event = t.event
    assert isinstance(event, Lost)
    assert [one and one.is_delivered for one in event.replies] == [True, None]


def test_a_probe_behind_a_message_whose_answer_is_still_to_come(talk: Callable[..., Talk]) -> None:
    t = talk().open()
    t.begin("a@x.org")
    t.hear("250 ok\r\n250 ok\r\n354 go\r\n")
    assert isinstance(t.event, SendContent)
    t.content()
    _probe(t, "b@x.org")
    t.hear("250 2.0.0 queued\r\n250 ok\r\n250 2.1.5 ok\r\n")
    assert _outcome(t.event) == [("END_OF_DATA", 250)]
    assert _outcome(t.event) == [("RCPT", 250)]


def test_a_probe_up_to_data_ends_the_session_without_a_word(talk: Callable[..., Talk]) -> None:
    t = talk(probe=Phase.DATA).open()
    assert _probe(t, "a@x.org", "b@x.org").endswith("DATA\r\n")
    assert t.hear("250 ok\r\n250 ok\r\n550 5.1.1 no\r\n354 go ahead\r\n") == ""
    event = t.event
    assert _outcome(event) == [("DATA", 354), ("RCPT", 550)]
    assert isinstance(event, Finished) and event.replies[0].is_delivered
    assert not t.session.can_quit and not t.session.is_reusable


def test_a_probe_that_data_refuses(talk: Callable[..., Talk]) -> None:
    t = talk(probe=Phase.DATA).open()
    _probe(t, "a@x.org")
    t.hear("250 ok\r\n250 ok\r\n250 what?\r\n")
    event = t.event
    assert _outcome(event) == [("DATA", 250)]
    assert isinstance(event, Finished) and not event.replies[0].is_delivered
    assert t.session.can_quit
