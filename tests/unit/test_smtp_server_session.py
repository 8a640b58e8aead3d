"""The sans-IO server session: decisions, limits, effects, log lines."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymta.errors import ProtocolUseError
from pymta.model.access import PERMIT, AccessContext, Effect, EffectKind, Stage, Verdict
from pymta.model.address import Address
from pymta.model.envelope import Body, Notify, Ret
from pymta.model.reply import Reply
from pymta.protocol.smtp.server_events import CommandKind, Note
from pymta.protocol.smtp.server_options import BareNewline, ServerOptions
from tests.support.smtp_engine import Drive

QUIET = ServerOptions(myhostname="mx.example.com", error_sleep_time=0)
BEGIN = b"MAIL FROM:<a@b>\r\nRCPT TO:<u@example.com>\r\n"
CLIENT = "client.example.net[192.0.2.9]"


def _options(**values: object) -> ServerOptions:
    return ServerOptions(**{"myhostname": "mx.example.com", "error_sleep_time": 0, **values})  # type: ignore[arg-type]


def _refusing(stage: Stage, reply: Reply, *, disconnect: bool = False) -> Drive:
    log = (f"reject: {stage.value} from {CLIENT}: {reply}",)

    def policy(context: AccessContext) -> Verdict:
        return Verdict(reply, disconnect=disconnect, log=log) if context.stage is stage else PERMIT

    return Drive(QUIET, policy)


def _greeted(options: ServerOptions = QUIET) -> Drive:
    drive = Drive(options)
    drive.send(b"EHLO x\r\n")
    return drive


def test_one_message_from_greeting_to_goodbye() -> None:
    drive = _greeted()
    sent = (
        b"MAIL FROM:<a@b> BODY=8BITMIME RET=HDRS ENVID=e SIZE=9 SMTPUTF8\r\nRCPT TO:<u@c> NOTIFY=NEVER ORCPT=rfc822;U@c"
    )
    assert drive.send(sent + b"\r\nDATA\r\n").endswith(b"354 End data with <CR><LF>.<CR><LF>\r\n")
    assert drive.send(b"Subject: x\r\n\r\n..dot\r\n.\r\n") == b"250 2.0.0 Ok: queued as Q1\r\n"
    assert drive.send(b"QUIT\r\n") == b"221 2.0.0 Bye\r\n"
    [message] = drive.delivered
    assert message.content == b"Subject: x\r\n\r\n.dot\r\n"
    envelope = message.envelope
    assert (envelope.body, envelope.ret, envelope.envid) == (Body.EIGHT_BIT_MIME, Ret.HDRS, "e")
    assert (envelope.size, envelope.smtputf8) == (9, True)
    assert (envelope.recipients[0].notify, envelope.recipients[0].orcpt) == (Notify.NEVER, "rfc822;U@c")
    assert drive.closed
    assert drive.log == [
        f"connect from {CLIENT}",
        f"Q1: client={CLIENT}",
        f"disconnect from {CLIENT} ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5",
    ]


def test_what_is_known_at_each_decision() -> None:
    drive = _greeted()
    drive.send(b"MAIL FROM:<a@b> SIZE=77\r\nRCPT TO:<u@c>\r\nRCPT TO:<v@c>\r\nDATA\r\n")
    drive.send(b"hello\r\n.\r\n")
    stages = [context.stage for context in drive.contexts]
    assert stages == [Stage.CONNECT, Stage.HELO, Stage.MAIL, Stage.RCPT, Stage.RCPT, Stage.DATA, Stage.END_OF_DATA]
    connect, helo, mail, first, second, data, end = drive.contexts
    assert connect.helo_name is None and helo.helo_name == "x" and helo.command == "EHLO"
    assert mail.sender == Address("a", "b") and mail.recipient is None
    assert first.recipient == Address("u", "c") and first.recipients == () and first.queue_id is None
    assert second.queue_id == "Q1" and len(second.recipients) == 1 and second.size == 77
    assert data.recipient is None and data.client.protocol == "ESMTP" and data.client.helo == "x"
    assert end.size == len(b"hello\r\n") and len(end.recipients) == 2


@pytest.mark.parametrize(
    ("stage", "sent"),
    [
        (Stage.HELO, b"EHLO x\r\n"),
        (Stage.MAIL, b"MAIL FROM:<a@b>\r\n"),
        (Stage.RCPT, BEGIN),
        (Stage.DATA, BEGIN + b"DATA\r\n"),
        (Stage.DATA, BEGIN + b"BDAT 3 LAST\r\nabc"),
        (Stage.END_OF_DATA, BEGIN + b"BDAT 3 LAST\r\nabc"),
        (Stage.VRFY, b"VRFY root\r\n"),
    ],
)
@pytest.mark.parametrize("disconnect", [False, True])
def test_refusals_are_told_logged_and_counted(stage: Stage, sent: bytes, disconnect: bool) -> None:
    reply = Reply.of(421 if disconnect else 554, "No", "4.7.0" if disconnect else "5.7.1")
    drive = _refusing(stage, reply, disconnect=disconnect)
    if stage is not Stage.HELO:
        drive.send(b"EHLO x\r\n")
    assert drive.send(sent).endswith(reply.encode())
    assert drive.closed is disconnect
    assert any(line.endswith(f": reject: {stage.value} from {CLIENT}: {reply}") for line in drive.log)
    assert not drive.delivered
    if not disconnect:
        assert drive.send(b"NOOP\r\n") == b"250 2.0.0 Ok\r\n"


def test_chunks_behind_one_that_was_refused_are_swallowed_until_the_last() -> None:
    drive = _refusing(Stage.DATA, Reply.of(554, "No", "5.7.1"))
    drive.send(b"EHLO x\r\n")
    assert drive.send(BEGIN + b"BDAT 6\r\nQUIT\r\n").endswith(b"554 5.7.1 No\r\n")
    assert drive.send(b"BDAT 6\r\nQUIT\r\n") == b"551 5.0.0 Discarded 6 bytes after earlier error\r\n"
    assert drive.send(b"BDAT 6 LAST\r\nQUIT\r\n") == b"551 5.0.0 Discarded 6 bytes after earlier error\r\n"
    assert drive.send(b"MAIL FROM:<a@b>\r\n") == b"250 2.1.0 Ok\r\n"


def test_a_client_refused_at_connect_may_only_leave() -> None:
    drive = _refusing(Stage.CONNECT, Reply.of(554, "Go away", "5.7.1"))
    assert drive.greeting == b"554 5.7.1 Go away\r\n"
    assert drive.send(b"EHLO x\r\n") == f"503 5.7.0 Error: access denied for {CLIENT}\r\n".encode()
    assert drive.send(b"FOO\r\n") == f"503 5.7.0 Error: access denied for {CLIENT}\r\n".encode()
    assert drive.send(b"QUIT\r\n") == b"221 2.0.0 Bye\r\n"


def test_an_address_that_cannot_be_completed_now_is_tried_again_later() -> None:
    drive = Drive(QUIET, complete=lambda address: None)
    drive.send(b"EHLO x\r\n")
    assert drive.send(b"MAIL FROM:<a@b>\r\n") == b"451 4.3.0 Temporary lookup failure\r\n"


def test_the_size_limit_by_declaration_and_in_mid_stream() -> None:
    drive = _greeted(_options(message_size_limit=100))
    assert drive.send(b"MAIL FROM:<a@b> SIZE=101\r\n") == b"552 5.3.4 Message size exceeds fixed limit\r\n"
    line = f"NOQUEUE: reject: MAIL from {CLIENT}: 552 5.3.4 Message size exceeds fixed limit; "
    assert drive.log[-1] == line + "from=<a@b> proto=ESMTP helo=<x>"
    drive.send(BEGIN + b"DATA\r\n")
    assert drive.send(b"x" * 99) == b""
    assert drive.send(b"y" * 10) == b"" and drive.aborted == 1
    assert drive.log[-1] == "Q1: queue file size limit exceeded"
    assert drive.send(b"\r\n.\r\n") == b"552 5.3.4 Error: message file too big\r\n"
    assert not drive.delivered and drive.aborted == 1
    drive.send(BEGIN + b"DATA\r\n")
    assert drive.send(b"z" * 98 + b"\r\n.\r\n") == b"250 2.0.0 Ok: queued as Q2\r\n"


def test_no_size_limit() -> None:
    drive = Drive(_options(message_size_limit=0))
    assert b"250-SIZE\r\n" in drive.send(b"EHLO x\r\n")
    assert drive.send(b"MAIL FROM:<a@b> SIZE=99999999999\r\n") == b"250 2.1.0 Ok\r\n"


def test_effects_go_with_the_message_and_end_with_it() -> None:
    effects = (Effect(EffectKind.PREPEND, "X: 1"), Effect(EffectKind.HOLD))
    drive = Drive(QUIET, lambda context: Verdict(None, effects) if context.sender == Address("a", "b") else PERMIT)
    drive.send(b"EHLO x\r\n")
    drive.send(b"MAIL FROM:<a@b>\r\nRSET\r\n")
    drive.send(b"MAIL FROM:<c@b>\r\nRCPT TO:<u@c>\r\nDATA\r\n")
    drive.send(b".\r\n")
    assert drive.delivered[0].effects == () and drive.delivered[0].prepended == ()
    drive.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<u@c>\r\nBDAT 0 LAST\r\n")
    assert drive.delivered[1].prepended == ("X: 1",) * 3
    assert drive.delivered[1].effects == (Effect(EffectKind.HOLD),) * 4


def test_errors_slow_down_and_end_a_session() -> None:
    drive = Drive(_options(error_sleep_time=5, soft_error_limit=2, hard_error_limit=4))
    for expected in (0, 0, 1, 2):
        drive.send(b"FOO\r\n")
        assert len(drive.delays) >= expected
    assert drive.closed and drive.delays == [5, 5, 5]
    assert f"too many errors after UNKNOWN from {CLIENT}" in drive.log


def test_junk_commands_become_errors() -> None:
    drive = Drive(_options(junk_command_limit=3, hard_error_limit=2))
    output = b"".join(drive.send(b"NOOP\r\n") for _ in range(6))
    assert output == b"250 2.0.0 Ok\r\n" * 6 + b"421 4.7.0 mx.example.com Error: too many errors\r\n"


def test_noop_and_forbidden_commands_come_from_lists() -> None:
    kinds = {"PING": CommandKind.NOOP, "RSET": CommandKind.NOOP, "GET": CommandKind.FORBIDDEN}
    drive = Drive(_options(classified_verbs=True), kind=lambda verb: kinds.get(verb, CommandKind.OTHER))
    assert drive.send(b"PING\r\n") == drive.send(b"RSET x\r\n") == b"250 2.0.0 Ok\r\n"
    assert drive.send(b"NOOP\r\n") == b"250 2.0.0 Ok\r\n"
    assert drive.send(b"GET / HTTP/1.0\r\n") == b"221 2.7.0 Error: I can break rules, too. Goodbye.\r\n"
    assert f"non-SMTP command from {CLIENT}: GET / HTTP/1.0" in drive.log


@pytest.mark.parametrize(
    ("options", "sent", "expected"),
    [
        (_options(helo_required=True), b"MAIL FROM:<a@b>\r\n", b"503 5.5.1 Error: send HELO/EHLO first\r\n"),
        (_options(disable_vrfy_command=True), b"VRFY x\r\n", b"502 5.5.1 VRFY command is disabled\r\n"),
        (_options(soft_bounce=True), b"FOO\r\n", b"400 4.5.2 Error: command not recognized\r\n"),
        (
            _options(strict_smtputf8=True),
            "MAIL FROM:<ü@b>\r\n".encode(),
            b"553 5.6.7 Must declare SMTPUTF8 to send unicode address\r\n",
        ),
        (_options(strict_smtputf8=True), "MAIL FROM:<ü@b> SMTPUTF8\r\n".encode(), b"250 2.1.0 Ok\r\n"),
        (
            _options(discarded_keywords=frozenset({"CHUNKING"})),
            b"BDAT 3\r\n",
            b"521 5.5.1 Error: command not implemented\r\n",
        ),
        (
            _options(discarded_keywords=frozenset({"DSN"})),
            b"MAIL FROM:<a@b> RET=HDRS\r\n",
            b"501 5.7.1 DSN support is disabled\r\n",
        ),
        (
            _options(smtputf8_enable=False),
            b"MAIL FROM:<a@b> SMTPUTF8\r\n",
            b"555 5.5.4 Unsupported option: SMTPUTF8\r\n",
        ),
    ],
)
def test_options(options: ServerOptions, sent: bytes, expected: bytes) -> None:
    assert Drive(options).send(sent) == expected


def test_keywords_in_postfix_order_without_those_discarded() -> None:
    drive = Drive(_options(discarded_keywords=frozenset({"DSN", "SIZE"}), disable_vrfy_command=True))
    lines = drive.send(b"EHLO x\r\n").decode().splitlines()
    assert [line[4:] for line in lines] == [
        "mx.example.com",
        "PIPELINING",
        "ETRN",
        "ENHANCEDSTATUSCODES",
        "8BITMIME",
        "SMTPUTF8",
        "CHUNKING",
    ]


def test_improper_pipelining_that_is_only_noted() -> None:
    drive = Drive(_options(forbid_unauth_pipelining=False))
    drive.send(b"EHLO x\r\nMAIL FROM:<a@b>\r\n")
    assert drive.log[1] == f"improper command pipelining after EHLO from {CLIENT}: MAIL FROM:<a@b>\\r\\n"
    assert drive.contexts[-1].unauthorized_pipelining


@pytest.mark.parametrize(
    ("sent", "line"),
    [
        (b"", f"lost connection after CONNECT from {CLIENT}"),
        (b"EHLO x\r\nMAI", f"lost connection after EHLO from {CLIENT}"),
        (BEGIN + b"DATA\r\n", f"Q1: lost connection after DATA (0 bytes) from {CLIENT}"),
        (BEGIN + b"BDAT 5\r\nabc", f"Q1: lost connection after BDAT (3 bytes) from {CLIENT}"),
        (BEGIN + b"BDAT 3 LAST\r\nabc", None),
    ],
)
def test_how_a_lost_connection_is_told(sent: bytes, line: str | None) -> None:
    drive = Drive(_options(forbid_unauth_pipelining=False))
    drive.send(sent)
    drive.eof()
    assert drive.closed
    assert [entry for entry in drive.log if "lost connection" in entry] == ([line] if line else [])


def test_a_timeout_is_told_to_both() -> None:
    drive = _greeted()
    drive.session.time_out()
    assert drive.pump() == b"421 4.4.2 mx.example.com Error: timeout exceeded\r\n"
    assert f"timeout after EHLO from {CLIENT}" in drive.log and drive.closed


@pytest.mark.parametrize("mode", list(BareNewline))
def test_bare_newlines_in_content(mode: BareNewline) -> None:
    drive = _greeted(_options(forbid_bare_newline=mode))
    drive.send(BEGIN + b"DATA\r\n")
    output = drive.send(b"a\nb\r\n.\r\n")
    if mode is BareNewline.REJECT:
        assert output == b"550 5.5.2 mx.example.com Error: bare <LF> received\r\n" and drive.closed
        line = f"Q1: reject: END-OF-MESSAGE from {CLIENT}: bare <LF> received; "
        assert line + "from=<a@b> to=<u@example.com> proto=ESMTP helo=<x>" in drive.log
        assert drive.aborted == 1
    else:
        assert drive.delivered[0].content == b"a\r\nb\r\n"
        drive.send(b"QUIT\r\n")
        assert drive.log[-1].endswith(" notes=bare_lf") is (mode is BareNewline.NOTE)


def test_helo_names_cannot_forge_a_header() -> None:
    drive = Drive(QUIET)
    drive.send(b'HELO a@b;(<"\\>):\x07c\r\n')
    assert drive.session.helo_name == "a?b" + "?" * 9 + "c"
    drive.send(b"EHLO [IPv6:2001:db8::1]\r\n")
    assert drive.session.helo_name == "[IPv6:2001:db8::1]"


def test_an_answer_nobody_asked_for_is_a_bug() -> None:
    with pytest.raises(ProtocolUseError):
        _greeted().session.decide(PERMIT)


def test_nothing_is_looked_at_while_an_answer_is_due() -> None:
    drive = Drive(QUIET, greeted=False)
    session = drive.session
    assert isinstance(session.next_event(), Note)
    session.next_event()
    session.receive_data(b"NOOP\r\n" * 10)
    assert str(session.next_event()) == "ServerSignal.PAUSED" and session.data_to_send() == b""


STEPS = st.sampled_from(
    [
        BEGIN + b"RCPT TO:<v@example.com>\r\nDATA\r\n|a\r\n.b\nc\r\n..\r\n.\r\n",
        b"MAIL FROM:<>\r\nRSET\r\n" + BEGIN + b"BDAT 4\r\na\nb\rBDAT 3 LAST\r\n\n.\r",
        b"FOO bar\r\n",
        b"MAIL FROM:<a@b\r\nRCPT TO:<x>\r\n",
        b"BDAT 3\r\nabcMAIL FROM:<a@b>\r\nBDAT 3 LAST\r\nabc",
        b"NOOP " + b"x" * 3000 + b"\r\n",
        b"VRFY root\r\n",
    ]
)


def _unnumbered(contexts: list[AccessContext]) -> list[AccessContext]:
    return [replace(context, transaction=0) for context in contexts]


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=5), st.integers(1, 9))
def test_the_pieces_of_a_dialogue_do_not_matter(steps: list[bytes], by: int) -> None:
    whole, pieces = _greeted(), _greeted()
    for step in steps:
        for burst in step.split(b"|"):
            assert whole.send(burst) == pieces.send(burst, by)
    assert whole.log == pieces.log
    assert _unnumbered(whole.contexts) == _unnumbered(pieces.contexts)
    assert whole.delivered == pieces.delivered


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=40), STEPS), max_size=8), st.integers(1, 50))
def test_no_input_breaks_a_session(pieces: list[bytes], by: int) -> None:
    drive = Drive(_options(forbid_unauth_pipelining=False))
    drive.send(b"".join(pieces), by)
    drive.eof()
    assert drive.closed
    assert drive.log[-1].startswith("disconnect from")


@pytest.mark.parametrize("stage", [Stage.CONNECT, Stage.HELO, Stage.MAIL])
def test_the_deferral_of_an_early_decision_goes_with_every_recipient(stage: Stage) -> None:
    later = Reply.of(450, "come later", "4.7.1")

    def policy(context: AccessContext) -> Verdict:
        return Verdict(deferral=later) if context.stage is stage else PERMIT

    drive = Drive(QUIET, policy)
    drive.send(b"EHLO x\r\n")
    drive.send(BEGIN + b"RCPT TO:<v@example.com>\r\n")
    recipients = [context for context in drive.contexts if context.stage is Stage.RCPT]
    assert [context.deferrals for context in recipients] == [(later,), (later,)]


def test_a_deferral_is_that_of_the_last_decision_of_its_stage() -> None:
    senders = iter([Reply.of(450, "first", "4.7.1"), None])
    at_connect = Reply.of(450, "connect", "4.7.1")

    def policy(context: AccessContext) -> Verdict:
        if context.stage is Stage.CONNECT:
            return Verdict(deferral=at_connect)
        return Verdict(deferral=next(senders)) if context.stage is Stage.MAIL else PERMIT

    drive = Drive(QUIET, policy)
    drive.send(b"EHLO x\r\n")
    drive.send(BEGIN + b"RSET\r\n" + BEGIN)
    deferrals = [[reply.text for reply in one.deferrals] for one in drive.contexts if one.stage is Stage.RCPT]
    assert deferrals == [["connect", "first"], ["connect"]]
