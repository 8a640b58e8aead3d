"""access(5) results: replies and log lines as Debian's Postfix 3.7 gives them for the same table."""

from pathlib import Path

import pytest

from pymta.model.access import AccessContext, EffectKind, Stage
from pymta.model.envelope import Client
from tests.support.access import Policy, rcpt

WHERE = "RCPT from mail.client.example[192.0.2.7]"
TAIL = "; from=<from@sender.example> to=<x@local.example> proto=ESMTP helo=<helo.example>"
ABOUT = "<x@local.example>: Recipient address"

ROWS = [
    # result, reply
    ("OK", "OK"),
    ("ok", "OK"),
    ("RELAY", "OK"),
    ("12345", "OK"),
    ("550", "OK"),
    ("DUNNO", "OK"),
    ("REJECT", f"554 5.7.1 {ABOUT} rejected: Access denied"),
    ("reject no way", f"554 5.7.1 {ABOUT} rejected: no way"),
    ("REJECT 5.1.7 bad", f"554 5.1.3 {ABOUT} rejected: bad"),
    ("REJECT 4.1.1 bad", f"554 5.1.1 {ABOUT} rejected: bad"),
    ("DEFER", f"450 4.7.1 {ABOUT} rejected: Access denied"),
    ("DEFER_IF_PERMIT", f"450 4.7.1 {ABOUT} rejected: Service unavailable"),
    ("DEFER_IF_PERMIT 4.3.2 later", f"450 4.3.2 {ABOUT} rejected: later"),
    ("DEFER_IF_REJECT", "OK"),
    ("DEFER_IF_REJECT, reject", f"450 4.7.0 {ABOUT} rejected: defer_if_reject requested"),
    ("550 go away", f"550 5.7.1 {ABOUT} rejected: go away"),
    ("550 5.4.4 go away", f"550 5.4.4 {ABOUT} rejected: go away"),
    ("449 x", f"449 4.7.1 {ABOUT} rejected: x"),
    ("550 4.4.4 x", f"550 5.4.4 {ABOUT} rejected: x"),
    ("600 x", "451 4.3.5 Server configuration error"),
    ("defer_if_permit, permit", f"450 4.7.0 {ABOUT} rejected: defer_if_permit requested"),
    ("defer_if_reject, reject", f"450 4.7.0 {ABOUT} rejected: defer_if_reject requested"),
    ("defer_if_reject", "OK"),
    ("reject_non_fqdn_sender, permit", "OK"),
    ("warn_if_reject, reject", "OK"),
    ("texthash:/x", "451 4.3.5 Server configuration error"),
    ("foo_bar", "451 4.3.5 Server configuration error"),
    ("check_sender_access", "451 4.3.5 Server configuration error"),
    ("HOLD", "OK"),
    ("FILTER smtp:[x]", "OK"),
    ("REDIRECT a@b.c", "OK"),
    ("BCC a@b.c", "OK"),
    ("PREPEND X-A: b", "OK"),
    ("WARN x", "OK"),
    ("INFO", "OK"),
    ("DISCARD", "OK"),
]


def policy(folder: Path, result: str, **values: object) -> Policy:
    (folder / "rcpt").write_text(f"x@ {result}\n")
    return Policy(
        folder,
        smtpd_relay_restrictions="reject_unauth_destination",
        smtpd_recipient_restrictions="check_recipient_access texthash:rcpt",
        **values,
    )


@pytest.mark.parametrize(("result", "reply"), ROWS)
async def test_a_result_gets_postfix_reply(tmp_path: Path, result: str, reply: str) -> None:
    assert await policy(tmp_path, result).rcpt("x@local.example") == reply


@pytest.mark.parametrize(
    ("result", "line"),
    [
        ("REJECT", f"reject: {WHERE}: 554 5.7.1 {ABOUT} rejected: Access denied{TAIL}"),
        ("HOLD", f"hold: {WHERE}: {ABOUT} triggers HOLD action{TAIL}"),
        ("HOLD because", f"hold: {WHERE}: {ABOUT} because{TAIL}"),
        ("WARN", f"warn: {WHERE}: {TAIL}"),
        ("WARN text", f"warn: {WHERE}: text{TAIL}"),
        ("INFO hello", f"info: {WHERE}: hello{TAIL}"),
        ("FILTER smtp:[x]", f"filter: {WHERE}: {ABOUT} triggers FILTER smtp:[x]{TAIL}"),
        ("REDIRECT a@b.c", f"redirect: {WHERE}: {ABOUT} triggers REDIRECT a@b.c{TAIL}"),
        ("BCC a@b.c", f"bcc: {WHERE}: {ABOUT} triggers BCC a@b.c{TAIL}"),
        ("HANGUP text", f"hangup: {WHERE}: text{TAIL}"),
        (
            "warn_if_reject, reject, permit",
            f"reject_warning: {WHERE}: 554 5.7.1 {ABOUT} rejected: Access denied{TAIL}",
        ),
        (
            "warn_if_reject, defer_if_permit",
            f"reject_warning: {WHERE}: 450 4.7.0 {ABOUT} rejected: defer_if_permit requested{TAIL}",
        ),
    ],
)
async def test_a_result_is_logged_as_postfix_does(tmp_path: Path, result: str, line: str) -> None:
    verdict = await policy(tmp_path, result).engine.decide(rcpt("x@local.example"))
    assert verdict.log == (line,)


@pytest.mark.parametrize(
    ("result", "lines"),
    [
        ("OK", [f"permit: {WHERE}: action=OK for Recipient address=x@local.example from texthash:rcpt{TAIL}"]),
        ("123", [f"permit: {WHERE}: action=123 for Recipient address=x@local.example from texthash:rcpt{TAIL}"]),
        ("permit", [f"permit: {WHERE}: action=permit for Recipient address=x@local.example {TAIL}"]),
        (
            "DISCARD",
            [
                f"discard: {WHERE}: {ABOUT} triggers DISCARD action{TAIL}",
                f"permit: {WHERE}: action=DISCARD for Recipient address=x@local.example from texthash:rcpt{TAIL}",
            ],
        ),
    ],
)
async def test_permits_are_logged_on_demand(tmp_path: Path, result: str, lines: list[str]) -> None:
    wanted = policy(tmp_path, result, smtpd_log_access_permit_actions=("static:all",))
    assert list((await wanted.engine.decide(rcpt("x@local.example"))).log) == lines
    other = policy(tmp_path, result, smtpd_log_access_permit_actions=("permit_mynetworks",))
    assert not [line for line in (await other.engine.decide(rcpt("x@local.example"))).log if line.startswith("permit")]


@pytest.mark.parametrize(
    ("result", "effect"),
    [
        ("HOLD", (EffectKind.HOLD, "")),
        ("FILTER smtp:[x]:26", (EffectKind.FILTER, "smtp:[x]:26")),
        ("REDIRECT a@b.c", (EffectKind.REDIRECT, "a@b.c")),
        ("BCC a@b.c", (EffectKind.BCC, "a@b.c")),
        ("PREPEND X-A: b c", (EffectKind.PREPEND, "X-A: b c")),
        ("DISCARD", (EffectKind.DISCARD, "")),
    ],
)
async def test_an_action_becomes_an_effect(tmp_path: Path, result: str, effect: tuple[EffectKind, str]) -> None:
    verdict = await policy(tmp_path, result).engine.decide(rcpt("x@local.example"))
    assert verdict.permits
    assert [(one.kind, one.value) for one in verdict.effects] == [effect]


@pytest.mark.parametrize(
    ("result", "warning"),
    [
        ("FILTER", 'access table texthash:rcpt entry "x@" has FILTER entry without value'),
        ("FILTER foo", 'access table texthash:rcpt entry "x@" requires transport:destination'),
        ("REDIRECT ab", 'access table texthash:rcpt entry "x@" requires user@domain target'),
        ("BCC", 'access table texthash:rcpt entry "x@" requires user@domain target'),
        ("PREPEND nothing", 'access table texthash:rcpt entry "x@" requires header: text'),
    ],
)
async def test_an_action_without_what_it_needs_does_nothing(tmp_path: Path, result: str, warning: str) -> None:
    asked = policy(tmp_path, result)
    verdict = await asked.engine.decide(rcpt("x@local.example"))
    assert verdict.permits
    assert verdict.effects == ()
    assert asked.log.lines == [warning]


@pytest.mark.parametrize("code", ["421", "521"])
async def test_421_and_521_end_the_session(tmp_path: Path, code: str) -> None:
    verdict = await policy(tmp_path, f"{code} bye").engine.decide(rcpt("x@local.example"))
    assert verdict.disconnect
    assert str(verdict.reply) == f"{code} {code[0]}.7.1 {ABOUT} rejected: bye"


async def test_hangup_ends_the_session(tmp_path: Path) -> None:
    verdict = await policy(tmp_path, "HANGUP").engine.decide(rcpt("x@local.example"))
    assert str(verdict.reply) == "421 4.3.2 Service unavailable"
    assert verdict.disconnect
    assert not verdict.permits


async def test_discard_ends_every_list(tmp_path: Path) -> None:
    discarding = Policy(
        tmp_path,
        smtpd_client_restrictions="check_client_access static:DISCARD",
        smtpd_recipient_restrictions="reject",
    )
    verdict = await discarding.engine.decide(rcpt("x@elsewhere.example"))
    assert verdict.permits
    assert [effect.kind for effect in verdict.effects] == [EffectKind.DISCARD]


async def test_before_mail_there_is_no_message_to_hold(tmp_path: Path) -> None:
    early = Policy(tmp_path, smtpd_client_restrictions="check_client_access static:HOLD", smtpd_delay_reject=False)
    verdict = await early.engine.decide(AccessContext(Stage.CONNECT, Client()))
    assert verdict.permits
    assert verdict.effects == ()
    assert "action HOLD is always skipped" in early.log.lines[0]


async def test_a_table_that_loops_through_a_class_is_a_server_error(tmp_path: Path) -> None:
    (tmp_path / "loop").write_text("x@ again\n")
    looping = Policy(
        tmp_path,
        smtpd_recipient_restrictions="again",
        classes={"again": "check_recipient_access texthash:loop"},
    )
    assert await looping.rcpt("x@local.example") == "451 4.3.5 Server configuration error"
    assert looping.log.lines == ["access table texthash:loop entry x@ causes unreasonable recursion"]


async def test_a_table_that_cannot_tell_is_a_451(tmp_path: Path) -> None:
    failing = Policy(tmp_path, smtpd_recipient_restrictions="check_recipient_access fail:x")
    assert await failing.rcpt("x@local.example") == f"451 4.3.5 {ABOUT} rejected: Server configuration error"


async def test_a_mapped_status_is_logged(tmp_path: Path) -> None:
    asked = policy(tmp_path, "REJECT 5.1.7 bad")
    await asked.rcpt("x@local.example")
    assert asked.log.lines == ["mapping DSN status 5.1.7 into Recipient address status 5.1.3"]
