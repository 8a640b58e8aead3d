"""Who may send as whom: the four login mismatch restrictions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pymta.model.address import Address
from pymta.model.envelope import Client
from tests.support.access import CLIENT, Policy, rcpt

OWNED = "boss@example.com"
JOE = replace(CLIENT, sasl_method="PLAIN", sasl_username="joe@example.com")
NOT_OWNED = "553 5.7.1 <{}>: Sender address rejected: not owned by user joe@example.com"
NOT_LOGGED_IN = "553 5.7.1 <{}>: Sender address rejected: not logged in"

BOTH = "reject_sender_login_mismatch"
AUTHENTICATED = "reject_authenticated_sender_login_mismatch"
UNAUTHENTICATED = "reject_unauthenticated_sender_login_mismatch"
KNOWN = "reject_known_sender_login_mismatch"


@pytest.fixture
def logins(tmp_path: Path) -> str:
    table = tmp_path / "logins"
    table.write_text(
        "boss@example.com boss@example.com, ceo@example.com\n"
        "joe@example.com JOE@example.com\n"
        "@team.example joe@example.com ann@example.com\n"
        "cannot@example.com nobody\n"
    )
    return f"texthash:{table}"


async def _reply(policy: Policy, client: Client, sender: str) -> str:
    return await policy.ask(rcpt(client=client, sender=Address.from_internal(sender)))


@pytest.mark.parametrize(
    ("restriction", "client", "sender", "expected"),
    [
        (BOTH, JOE, "joe@example.com", None),
        (BOTH, JOE, "JOE@Example.Com", None),
        (BOTH, JOE, "joe+news@example.com", None),
        (BOTH, JOE, "x@team.example", None),
        (BOTH, JOE, OWNED, NOT_OWNED),
        (BOTH, JOE, "free@example.com", NOT_OWNED),
        (BOTH, JOE, "", None),
        (BOTH, CLIENT, OWNED, NOT_LOGGED_IN),
        (BOTH, CLIENT, "free@example.com", None),
        (BOTH, CLIENT, "", None),
        (AUTHENTICATED, JOE, OWNED, NOT_OWNED),
        (AUTHENTICATED, JOE, "free@example.com", NOT_OWNED),
        (AUTHENTICATED, CLIENT, OWNED, None),
        (UNAUTHENTICATED, JOE, OWNED, None),
        (UNAUTHENTICATED, CLIENT, OWNED, NOT_LOGGED_IN),
        (UNAUTHENTICATED, CLIENT, "free@example.com", None),
        (KNOWN, JOE, OWNED, NOT_OWNED),
        (KNOWN, JOE, "free@example.com", None),
        (KNOWN, CLIENT, OWNED, NOT_LOGGED_IN),
        (KNOWN, CLIENT, "free@example.com", None),
    ],
)
async def test_who_may_send(
    tmp_path: Path, logins: str, restriction: str, client: Client, sender: str, expected: str | None
) -> None:
    policy = Policy(
        tmp_path, smtpd_sender_restrictions=restriction, smtpd_sender_login_maps=logins, recipient_delimiter="+"
    )
    assert await _reply(policy, client, sender) == (expected.format(sender) if expected else "OK")


async def test_without_a_table_nobody_who_logged_in_owns_anything(tmp_path: Path) -> None:
    policy = Policy(tmp_path, smtpd_sender_restrictions=BOTH)
    assert await _reply(policy, JOE, OWNED) == NOT_OWNED.format(OWNED)
    assert await _reply(policy, CLIENT, OWNED) == "OK"


async def test_a_table_that_cannot_be_asked_is_a_temporary_refusal(tmp_path: Path) -> None:
    policy = Policy(tmp_path, smtpd_sender_restrictions=BOTH, smtpd_sender_login_maps="fail:gone")
    assert (await _reply(policy, JOE, OWNED)).startswith("451 4.3.0")
