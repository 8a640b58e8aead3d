"""AUTH in server sessions: replies and log lines as Postfix gives them (asked of Debian's Postfix 3.7)."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymta.model.access import PERMIT
from pymta.model.envelope import Client
from pymta.model.reply import Reply
from pymta.model.sasl import SaslChallenge, SaslFailure, SaslStep, SaslSuccess
from pymta.model.tls import TlsSession
from pymta.protocol.smtp.server import ServerSession
from pymta.protocol.smtp.server_auth import AuthRules
from pymta.protocol.smtp.server_events import (
    NEED_DATA,
    PAUSED,
    Authenticate,
    CancelAuthentication,
    Classify,
    Close,
    CommandKind,
    Commit,
    Decide,
    Delay,
    Note,
    OpenDraft,
)
from pymta.protocol.smtp.server_options import ServerOptions

CLIENT = Client(address="192.0.2.9", name="client.example.net", port="4711")
RULES = AuthRules(clear=("PLAIN", "LOGIN"), secured=("PLAIN", "LOGIN"))
GOOD = b64encode(b"\0joe\0good").decode()


def _step(response: bytes | None) -> SaslStep:
    """A backend with one account, joe."""
    if response is None:
        return SaslChallenge(b"")
    parts = response.split(b"\0")
    if len(parts) != 3:
        return SaslFailure("bad protocol / cancel")
    outcomes: dict[bytes, SaslStep] = {
        b"good": SaslSuccess("joe"),
        b"temp": SaslFailure("cannot be checked now", "joe", is_temporary=True),
        b"slow": SaslFailure("authentication failure", "joe", delay=4.0),
        b"quiet": SaslFailure("", "joe"),
    }
    return outcomes.get(parts[2], SaslFailure("authentication failure", "joe"))


@dataclass
class Talk:
    rules: AuthRules | None = RULES
    options: ServerOptions = field(default_factory=lambda: ServerOptions(error_sleep_time=0.0))
    step: Callable[[bytes | None], SaslStep] = _step
    tls: bool = False

    def __post_init__(self) -> None:
        self.session = ServerSession(self.options, CLIENT, lambda: "Q1")
        self.session.auth = self.rules
        if self.tls:
            self.session.tls = TlsSession("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256, 256)
        self.log: list[str] = []
        self.asked: list[Authenticate] = []
        self.delays: list[float] = []
        self.cancelled = 0
        self.session.start()
        self._pump()

    def say(self, *lines: str, by: int = 0) -> list[str]:
        """The replies to `lines`, sent one after the other."""
        output = b""
        for line in lines:
            data = line.encode() + b"\r\n"
            for start in range(0, len(data), by or len(data)):
                self.session.receive_data(data[start : start + (by or len(data))])
                output += self._pump()
        return output.decode().splitlines()

    def _pump(self) -> bytes:
        session = self.session
        while (event := session.next_event()) is not NEED_DATA:
            assert event is not PAUSED
            match event:
                case Note():
                    self.log.append(f"warning: {event.line}" if event.is_warning else event.line)
                case Authenticate():
                    self.asked.append(event)
                    session.authenticated(self.step(event.response), event.exchange or "exchange")
                case CancelAuthentication():
                    assert event.exchange == "exchange"
                    self.cancelled += 1
                case Decide():
                    session.decide(PERMIT)
                case Classify():
                    session.classified(CommandKind.OTHER)
                case OpenDraft():
                    session.draft_opened()
                case Commit():
                    session.message_result(Reply.of(250, "Ok", "2.0.0"))
                case Delay():
                    self.delays.append(event.seconds)
                    session.resume()
                case Close():
                    pass
        return session.data_to_send()


class TestOffer:
    @pytest.mark.parametrize(
        ("rules", "tls", "expected"),
        [
            (None, False, []),
            (RULES, False, ["250-AUTH PLAIN LOGIN"]),
            (AuthRules(clear=(), secured=("PLAIN",)), False, []),
            (AuthRules(clear=(), secured=("PLAIN",)), True, ["250-AUTH PLAIN"]),
            (AuthRules(("PLAIN",), ("PLAIN",), needs_tls=True), False, []),
            (AuthRules(("PLAIN",), ("PLAIN",), needs_tls=True), True, ["250-AUTH PLAIN"]),
            (AuthRules(("PLAIN",), ("PLAIN",), is_announced=False), False, []),
            (AuthRules(("PLAIN",), repeats_keyword=True), False, ["250-AUTH PLAIN", "250-AUTH=PLAIN"]),
        ],
    )
    def test_what_ehlo_says(self, rules: AuthRules | None, tls: bool, expected: list[str]) -> None:
        lines = Talk(rules, tls=tls).say("EHLO client")
        assert [line for line in lines if "AUTH" in line] == expected

    def test_not_before_tls_where_mail_needs_it(self) -> None:
        lines = Talk(options=ServerOptions(starttls=True, enforce_tls=True)).say("EHLO client")
        assert not [line for line in lines if "AUTH" in line]

    def test_its_place_among_the_keywords(self) -> None:
        lines = [line[4:].split()[0] for line in Talk().say("EHLO client")]
        assert lines.index("VRFY") < lines.index("AUTH") < lines.index("ENHANCEDSTATUSCODES")

    def test_discarded_keyword(self) -> None:
        talk = Talk(options=ServerOptions(discarded_keywords=frozenset({"AUTH"})))
        assert not [line for line in talk.say("EHLO client") if "AUTH" in line]
        assert talk.say("AUTH PLAIN") == ["503 5.5.1 Error: authentication not enabled"]


class TestReplies:
    @pytest.mark.parametrize(
        ("lines", "reply"),
        [
            (("AUTH PLAIN " + GOOD,), "235 2.7.0 Authentication successful"),
            (("auth plain " + GOOD,), "235 2.7.0 Authentication successful"),
            (("AUTH PLAIN", GOOD), "235 2.7.0 Authentication successful"),
            (("HELO x", "AUTH PLAIN " + GOOD), "235 2.7.0 Authentication successful"),
            (("AUTH",), "501 5.5.4 Syntax: AUTH mechanism"),
            (("AUTH PLAIN a b",), "501 5.5.4 Syntax: AUTH mechanism"),
            (("AUTH NOSUCH",), "535 5.7.8 Error: authentication failed: Invalid authentication mechanism"),
            (("AUTH PLAIN !!",), "535 5.7.8 Error: authentication failed: Invalid base64 data in initial response"),
            (("AUTH PLAIN", "!!"), "535 5.7.8 Error: authentication failed: Invalid base64 data in continued response"),
            (("AUTH PLAIN YQ",), "535 5.7.8 Error: authentication failed: Invalid base64 data in initial response"),
            (("AUTH PLAIN =",), "535 5.7.8 Error: authentication failed: bad protocol / cancel"),
            (("AUTH PLAIN", ""), "535 5.7.8 Error: authentication failed: bad protocol / cancel"),
            (("AUTH PLAIN", "*"), "501 5.7.0 Authentication aborted"),
            (("AUTH PLAIN " + GOOD, "AUTH PLAIN " + GOOD), "503 5.5.1 Error: already authenticated"),
            (("EHLO x", "MAIL FROM:<a@b.c>", "AUTH PLAIN " + GOOD), "503 5.5.1 Error: MAIL transaction in progress"),
            (
                ("AUTH PLAIN " + b64encode(b"\0joe\0temp").decode(),),
                "454 4.7.0 Temporary authentication failure: cannot be checked now",
            ),
            (
                ("AUTH PLAIN " + b64encode(b"\0joe\0quiet").decode(),),
                "535 5.7.8 Error: authentication failed: (reason unavailable)",
            ),
        ],
    )
    @pytest.mark.parametrize("by", [0, 1])
    def test_last_reply(self, lines: tuple[str, ...], reply: str, by: int) -> None:
        assert Talk().say(*lines, by=by)[-1] == reply

    def test_not_enabled(self) -> None:
        assert Talk(None).say("AUTH PLAIN " + GOOD) == ["503 5.5.1 Error: authentication not enabled"]

    def test_only_with_tls(self) -> None:
        rules = AuthRules(("PLAIN",), ("PLAIN",), needs_tls=True)
        reply = "538 5.7.11 Encryption required for requested authentication mechanism"
        assert Talk(rules).say("AUTH PLAIN " + GOOD) == [reply]
        assert Talk(rules, tls=True).say("AUTH PLAIN " + GOOD)[0].startswith("235")

    def test_a_mechanism_for_tls_only(self) -> None:
        talk = Talk(AuthRules(clear=("CRAM-MD5",), secured=("PLAIN",)))
        assert talk.say("AUTH PLAIN " + GOOD)[0].endswith("Invalid authentication mechanism")
        assert talk.asked == []

    def test_nobody_can_tell_now(self) -> None:
        talk = Talk(AuthRules(is_available=False))
        assert talk.say("AUTH PLAIN " + GOOD)[0].startswith("454 4.7.0")

    def test_hello_first(self) -> None:
        talk = Talk(options=ServerOptions(helo_required=True))
        assert talk.say("AUTH PLAIN " + GOOD) == ["503 5.5.1 Error: send HELO/EHLO first"]

    def test_after_a_failure_the_session_goes_on(self) -> None:
        talk = Talk()
        bad = "AUTH PLAIN " + b64encode(b"\0joe\0bad").decode()
        assert [line[:3] for line in talk.say(bad, "NOOP", "AUTH PLAIN " + GOOD)] == ["535", "250", "235"]

    def test_failures_count_as_errors(self) -> None:
        talk = Talk(options=ServerOptions(error_sleep_time=0.0, hard_error_limit=3))
        bad = "AUTH PLAIN " + b64encode(b"\0joe\0bad").decode()
        assert talk.say(bad, bad, bad)[-1] == "421 4.7.0 localhost Error: too many errors"

    def test_the_wait_before_a_refusal(self) -> None:
        talk = Talk()
        talk.say("AUTH PLAIN " + b64encode(b"\0joe\0slow").decode())
        assert talk.delays == [4.0]


class TestLimits:
    def test_a_response_of_nearly_12288_bytes_is_read(self) -> None:
        talk = Talk()
        long = b64encode(b"\0joe\0" + b"x" * 9000).decode()
        assert len(long) < 12288
        assert talk.say("AUTH PLAIN", long)[-1].startswith("535 5.7.8")
        assert talk.asked[-1].response is not None
        assert len(talk.asked[-1].response) == 9005

    @pytest.mark.parametrize("length", [12288, 12290, 60000])
    def test_a_longer_one_is_not(self, length: int) -> None:
        talk = Talk()
        assert talk.say("AUTH PLAIN", "A" * length, "NOOP") == [
            "334 ",
            "500 5.5.6 SASL response limit exceeded",
            "250 2.0.0 Ok",
        ]
        assert talk.cancelled == 1

    @pytest.mark.parametrize("sent", [b"", b"AA", GOOD.encode()])
    def test_a_client_that_leaves_in_the_middle_is_not_logged_in(self, sent: bytes) -> None:
        talk = Talk()
        talk.say("AUTH PLAIN")
        talk.session.receive_data(sent)
        talk._pump()
        talk.session.receive_eof()
        talk._pump()
        assert talk.asked[-1].response is None
        assert talk.session.client.sasl_username == ""
        assert "lost connection after AUTH from client.example.net[192.0.2.9]" in talk.log

    def test_commands_keep_their_own_limit(self) -> None:
        talk = Talk()
        talk.say("AUTH PLAIN", "*", "AUTH PLAIN " + "A" * 5000)
        assert talk.asked[-1].response is None or len(talk.asked[-1].response) < 2048


class TestLog:
    def test_what_fail2ban_looks_for(self) -> None:
        talk = Talk()
        talk.say("AUTH LOGIN " + b64encode(b"\0joe\0bad").decode())
        assert talk.log[-1] == (
            "warning: client.example.net[192.0.2.9]: SASL LOGIN authentication failed: "
            "authentication failure, sasl_username=joe"
        )

    def test_unknown_mechanism_and_no_name(self) -> None:
        talk = Talk()
        talk.say("AUTH foo")
        assert talk.log[-1].endswith(
            "SASL foo authentication failed: Invalid authentication mechanism, sasl_username=(unavailable)"
        )

    def test_given_up(self) -> None:
        talk = Talk()
        talk.say("AUTH PLAIN", "*")
        assert talk.log[-1] == "warning: client.example.net[192.0.2.9]: SASL PLAIN authentication aborted"
        assert talk.cancelled == 1

    def test_the_login_with_the_queue_id(self) -> None:
        talk = Talk()
        talk.say("EHLO x", "AUTH PLAIN " + GOOD, "MAIL FROM:<a@b.c> AUTH=e+3Dmc@b.c", "RCPT TO:<d@e.f>")
        assert talk.log[-1] == (
            "Q1: client=client.example.net[192.0.2.9], sasl_method=PLAIN, sasl_username=joe, sasl_sender=e+3Dmc@b.c"
        )

    def test_auth_of_mail_is_forgotten_with_the_next_message(self) -> None:
        talk = Talk()
        talk.say("EHLO x", "MAIL FROM:<a@b.c> AUTH=x@b.c", "RSET", "MAIL FROM:<a@b.c>", "RCPT TO:<d@e.f>")
        assert talk.log[-1] == "Q1: client=client.example.net[192.0.2.9]"

    def test_nothing_of_a_name_can_break_a_line(self) -> None:
        talk = Talk(step=lambda response: SaslFailure("no\r\nway", "joe\nwarning: x"))
        talk.say("AUTH PLAIN " + GOOD)
        assert "\n" not in talk.log[-1]
        assert "\r" not in talk.log[-1]

    def test_the_count_at_the_end(self) -> None:
        talk = Talk()
        talk.say("AUTH PLAIN !", "AUTH PLAIN " + GOOD, "QUIT")
        assert talk.log[-1] == "disconnect from client.example.net[192.0.2.9] auth=1/2 quit=1 commands=2/3"

    def test_secrets_show_nowhere(self) -> None:
        talk = Talk()
        talk.say("AUTH PLAIN " + GOOD)
        assert "good" not in repr(talk.asked) + " ".join(talk.log)


@settings(max_examples=100, deadline=None)
@given(words=st.lists(st.sampled_from(["AUTH PLAIN", GOOD, "*", "", "=", "AUTH", "!!", "RSET", "QUIT", "x" * 13000])))
def test_no_dialogue_breaks_a_session(words: list[str]) -> None:
    Talk().say(*words)
