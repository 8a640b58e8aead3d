"""SPF results as restrictions: what is refused, deferred, let pass (RFC 7208 8, RFC 7372 3.2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pymta.access import AccessEngine
from pymta.errors import ConfigError
from pymta.model.access import AccessContext, Stage
from pymta.model.address import NULL_SENDER, Address
from pymta.model.authentication import Result, SpfIdentity, SpfResult
from pymta.model.envelope import Client
from pymta.tables import TableFactory
from pymta.testing import FakeResolver, RecordingLog
from tests.support.access import CLIENT, LOCAL, Directory, Rewriter, settings

SENDER = Address("joe", "example.com")


def spf(result: Result, identity: SpfIdentity = SpfIdentity.MAIL_FROM, **more: str) -> SpfResult:
    domain = "example.com" if identity is SpfIdentity.MAIL_FROM else "helo.example"
    return SpfResult(result, identity, domain, f"joe@{domain}", "192.0.2.7", "helo.example", **more)


class Checker:
    def __init__(self, *results: SpfResult) -> None:
        self.results = results
        self.asked: list[tuple[str, str, str]] = []

    async def check_spf(self, client: Client, helo: str, sender: Address) -> tuple[SpfResult, ...]:
        self.asked.append((client.address, helo, str(sender)))
        return self.results


async def rcpt(folder: Path, checker: Checker | None, sender: Address = SENDER, **values: Any) -> str:
    engine = AccessEngine(
        settings(
            **{"smtpd_relay_restrictions": "", "smtpd_recipient_restrictions": "reject_unauth_destination", **values}
        ),
        TableFactory(folder),
        FakeResolver({}),
        Rewriter(),
        Directory(),
        RecordingLog(),
        sleep=lambda seconds: None,  # type: ignore[arg-type, return-value]
        sender_policy=checker,
    )
    verdict = await engine.decide(
        AccessContext(
            Stage.RCPT, CLIENT, "EHLO", helo_name="helo.example", sender=sender, recipient=Address("someone", LOCAL)
        )
    )
    return str(verdict.reply) if verdict.reply else "250"


FAIL = (
    "550 5.7.23 <joe@example.com>: Sender address rejected: SPF fail: example.com does not let 192.0.2.7 send its mail"
)


@pytest.mark.parametrize(
    ("results", "more", "reply"),
    [
        ([spf(Result.PASS)], {}, "250"),
        ([spf(Result.NONE)], {}, "250"),
        ([spf(Result.NEUTRAL)], {}, "250"),
        ([], {}, "250"),
        ([spf(Result.FAIL)], {}, FAIL),
        ([spf(Result.FAIL)], {"soft_bounce": True}, FAIL.replace("550 5", "450 4")),
        ([spf(Result.FAIL)], {"spf_reject_fail": False}, "250"),
        ([spf(Result.FAIL, explanation="See x")], {}, FAIL + "; example.com explains: See x"),
        ([spf(Result.SOFTFAIL)], {}, "250"),
        ([spf(Result.SOFTFAIL)], {"spf_softfail_action": "reject"}, FAIL.replace("SPF fail", "SPF softfail")),
        (
            [spf(Result.SOFTFAIL)],
            {"spf_softfail_action": "defer_if_permit"},
            FAIL.replace("SPF fail", "SPF softfail").replace("550 5", "451 4"),
        ),
        (
            [spf(Result.TEMPERROR, problem="DNS")],
            {},
            "451 4.7.24 <joe@example.com>: Sender address rejected: SPF temperror: DNS",
        ),
        ([spf(Result.TEMPERROR)], {"spf_temperror_action": "accept"}, "250"),
        ([spf(Result.PERMERROR)], {}, "250"),
        (
            [spf(Result.PERMERROR, problem="Two records")],
            {"spf_permerror_action": "reject"},
            "550 5.7.24 <joe@example.com>: Sender address rejected: SPF permerror: Two records",
        ),
        (
            [spf(Result.FAIL, SpfIdentity.HELO), spf(Result.PASS)],
            {},
            "550 5.7.23 <helo.example>: Helo command rejected: SPF fail: "
            "helo.example does not let 192.0.2.7 send its mail",
        ),
        ([spf(Result.TEMPERROR, SpfIdentity.HELO), spf(Result.PASS)], {}, "250"),
    ],
)
async def test_what_a_result_does(tmp_path: Path, results: list[SpfResult], more: dict[str, Any], reply: str) -> None:
    checker = Checker(*results)
    assert await rcpt(tmp_path, checker, spf_enable=True, **more) == reply
    assert checker.asked == [("192.0.2.7", "helo.example", "joe@example.com")]


async def test_the_null_sender_stands_and_falls_with_its_helo_name(tmp_path: Path) -> None:
    checker = Checker(spf(Result.TEMPERROR, SpfIdentity.HELO, problem="DNS"))
    reply = await rcpt(tmp_path, checker, NULL_SENDER, spf_enable=True)
    assert reply == "451 4.7.24 <helo.example>: Helo command rejected: SPF temperror: DNS"


async def test_without_spf_enable_only_the_restriction_by_name_checks(tmp_path: Path) -> None:
    checker = Checker(spf(Result.FAIL))
    assert await rcpt(tmp_path, checker) == "250"
    assert not checker.asked
    assert await rcpt(tmp_path, checker, smtpd_sender_restrictions="reject_spf_fail", spf_reject_fail=False) == FAIL


async def test_who_is_permitted_by_the_list_is_spared(tmp_path: Path) -> None:
    checker = Checker(spf(Result.FAIL))
    values = {"smtpd_relay_restrictions": "reject_unauth_destination", "spf_enable": True}
    lists = "check_client_access inline:{192.0.2.7=OK}"
    assert await rcpt(tmp_path, checker, smtpd_recipient_restrictions=lists, **values) == "250"
    assert not checker.asked


async def test_a_result_can_be_warned_about(tmp_path: Path) -> None:
    checker = Checker(spf(Result.FAIL))
    assert await rcpt(tmp_path, checker, smtpd_sender_restrictions="warn_if_reject reject_spf_fail") == "250"


async def test_a_restriction_that_nobody_can_answer_is_no_pass(tmp_path: Path) -> None:
    assert (await rcpt(tmp_path, None, smtpd_sender_restrictions="reject_spf_fail")).startswith("451 4.3.5")


async def test_an_action_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='spf_softfail_action: found "tag", expected one of accept, defer'):
        await rcpt(tmp_path, None, spf_softfail_action="tag")
