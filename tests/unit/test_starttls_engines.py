"""STARTTLS on the two bare engines, whole and byte by byte: what is said in clear counts for nothing afterwards."""

from __future__ import annotations

import pytest

from pymta.model.reply import Reply
from pymta.model.tls import TlsSession
from pymta.protocol.smtp.client import ClientSession
from pymta.protocol.smtp.client_events import BeginTls, Ready, Refused
from pymta.protocol.smtp.client_options import ClientOptions
from pymta.protocol.smtp.commands import COMMANDS, command_table
from pymta.protocol.smtp.server_events import PrepareTls
from pymta.protocol.smtp.server_options import ServerOptions
from pymta.protocol.smtp.server_starttls import with_starttls
from tests.support.smtp_engine import Drive

STEPS = pytest.mark.parametrize("step", [0, 1], ids=["whole", "by byte"])
TLS = TlsSession("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256, 256)
IN_CLEAR = b"250-peer.example\r\n250-PIPELINING\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n"


def _server(**options: bool) -> Drive:
    commands = with_starttls(COMMANDS)
    settings = ServerOptions(error_sleep_time=0, starttls=True, **options)
    return Drive(settings, commands=commands, table=command_table(commands), tls=TLS)


class TestServer:
    @STEPS
    def test_all_that_was_said_before_is_void(self, step: int) -> None:
        drive = _server()
        drive.send(b"EHLO before.example\r\n", step)
        drive.send(b"MAIL FROM:<a@example.com>\r\n", step)
        drive.send(b"RCPT TO:<b@example.com>\r\n", step)
        assert drive.send(b"STARTTLS\r\n", step) == b"220 2.0.0 Ready to start TLS\r\n"
        assert drive.session.helo_name is None
        assert drive.session.client.helo == ""
        assert drive.session.transaction.sender is None
        assert drive.session.tls is TLS
        assert drive.send(b"RCPT TO:<c@example.com>\r\n", step).startswith(b"503 5.5.1")

    @pytest.mark.parametrize(
        "ahead", [b"RSET\r\n", b"MAIL FROM:<a@", b"\r\n", b"\x16\x03\x01", b"EHLO x\r\nMAIL FROM:<>\r\n"]
    )
    def test_what_comes_with_it_was_not_said_under_tls(self, ahead: bytes) -> None:
        strict, lenient = _server(), _server(forbid_unauth_pipelining=False)
        for drive in (strict, lenient):
            drive.send(b"EHLO before.example\r\n")
        assert strict.send(b"STARTTLS\r\n" + ahead).startswith(b"554 5.5.0 Error: SMTP protocol synchronization")
        assert strict.closed
        assert lenient.send(b"STARTTLS\r\n" + ahead) == b"220 2.0.0 Ready to start TLS\r\n"
        assert lenient.send(b"NOOP\r\n") == b"250 2.0.0 Ok\r\n"

    @STEPS
    def test_a_handshake_that_fails_ends_it_without_a_word(self, step: int) -> None:
        drive = _server()
        drive.tls = None
        drive.send(b"EHLO x\r\n")
        assert drive.send(b"STARTTLS\r\n", step) == b"220 2.0.0 Ready to start TLS\r\n"
        assert drive.closed
        assert drive.log[-1].startswith("disconnect from")

    @STEPS
    def test_a_refusal_leaves_the_session_in_clear(self, step: int) -> None:
        drive = _server()
        session, handle = drive.session, drive._handle

        def refuse(event: object) -> None:
            if isinstance(event, PrepareTls):
                session.tls_prepared(Reply.of(454, "Error: too many new TLS sessions", "4.7.0"))
            else:
                handle(event)

        drive._handle = refuse  # type: ignore[method-assign]
        drive.send(b"EHLO x\r\n")
        assert drive.send(b"STARTTLS\r\n", step) == b"454 4.7.0 Error: too many new TLS sessions\r\n"
        assert b"250-STARTTLS" in drive.send(b"EHLO x\r\n", step)
        assert session.tls is None


class Talk:
    """Drives a client's session that wants TLS."""

    def __init__(self, step: int) -> None:
        self.session = ClientSession(ClientOptions("me.example"), wants_tls=True)
        self._step = step

    def hear(self, data: bytes) -> bytes:
        step = self._step or len(data)
        said = b""
        for start in range(0, len(data), step):
            self.session.receive_data(data[start : start + step])
            said += self.session.data_to_send()
        return said


@STEPS
class TestClient:
    def test_capabilities_are_those_under_tls(self, step: int) -> None:
        talk = Talk(step)
        assert talk.hear(b"220 peer.example ESMTP\r\n") == b"EHLO me.example\r\n"
        assert talk.hear(IN_CLEAR) == b"STARTTLS\r\n"
        assert talk.hear(b"220 go\r\n") == b""
        assert isinstance(talk.session.next_event(), BeginTls)
        talk.session.tls_started()
        assert talk.session.data_to_send() == b"EHLO me.example\r\n"
        # A server that offers it again is confused; it is not said twice.
        assert talk.hear(b"250-peer.example\r\n250-STARTTLS\r\n250 SIZE\r\n") == b""
        assert isinstance(talk.session.next_event(), Ready)
        assert "PIPELINING" not in talk.session.capabilities.keywords
        assert "AUTH" not in talk.session.capabilities.keywords
        assert talk.session.tls_refusal is None

    def test_words_behind_the_servers_220_are_not_its_answer_under_tls(self, step: int) -> None:
        talk = Talk(step)
        talk.hear(b"220 peer.example ESMTP\r\n")
        talk.hear(IN_CLEAR)
        talk.hear(b"220 go\r\n250-evil.example\r\n250 AUTH PLAIN\r\n")
        assert isinstance(talk.session.next_event(), BeginTls)
        talk.session.tls_started()
        assert talk.session.data_to_send() == b"EHLO me.example\r\n"
        assert not talk.session.has_event
        talk.hear(b"250 peer.example\r\n")
        assert isinstance(talk.session.next_event(), Ready)
        assert "AUTH" not in talk.session.capabilities.keywords

    @pytest.mark.parametrize("reply", [b"454 4.7.0 not now\r\n", b"500 what?\r\n"])
    def test_a_server_that_changes_its_mind(self, step: int, reply: bytes) -> None:
        talk = Talk(step)
        talk.hear(b"220 peer.example ESMTP\r\n")
        talk.hear(IN_CLEAR)
        talk.hear(reply)
        assert isinstance(talk.session.next_event(), Ready)
        assert talk.session.offered_tls
        assert talk.session.tls_refusal is not None
        assert talk.session.tls_refusal.code == int(reply[:3])

    def test_a_server_that_hangs_up_instead(self, step: int) -> None:
        talk = Talk(step)
        talk.hear(b"220 peer.example ESMTP\r\n")
        talk.hear(IN_CLEAR)
        talk.hear(b"421 4.3.2 bye\r\n")
        assert isinstance(talk.session.next_event(), Refused)

    def test_a_server_that_does_not_offer_it(self, step: int) -> None:
        talk = Talk(step)
        talk.hear(b"220 peer.example ESMTP\r\n")
        assert talk.hear(b"250-peer.example\r\n250 PIPELINING\r\n") == b""
        assert isinstance(talk.session.next_event(), Ready)
        assert not talk.session.offered_tls
