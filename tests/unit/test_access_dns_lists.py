"""DNS lists and hosts behind names, on answers that a test writes down."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pymta.access.dns_list_filter import parse_filter
from pymta.model.dns import MX, Answer, Lookup
from pymta.model.verification import Standing, Verification
from tests.support.access import CLIENT, LOCAL, Policy

FOUND, AGAIN = Lookup.FOUND, Lookup.TRY_AGAIN
LISTED = {
    ("7.2.0.192.bl.example", "A"): Answer(FOUND, ("127.0.0.2", "127.0.0.9")),
    ("7.2.0.192.bl.example", "TXT"): Answer(FOUND, ("see", "there")),
    ("sender.example.bl.example", "A"): Answer(FOUND, ("127.0.0.3",)),
    ("mail.client.example.wl.example", "A"): Answer(FOUND, ("127.0.0.1",)),
    ("7.2.0.192.down.example", "A"): Answer(AGAIN, reason="no answer"),
}
BLOCKED = "554 5.7.1 Service unavailable; Client host [192.0.2.7] blocked using bl.example; see / there"


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("127.0.0.2", "127.0.0.2", "127.0.0.3"),
        ("127.0.0.[2;4..6]", "127.0.0.5", "127.0.0.3"),
        ("127.0.[0..255].[1..254]", "127.0.9.1", "127.0.9.255"),
        ("[126..127].0.0.1", "126.0.0.1", "127.0.0.2"),
        ("127.0.0.2", "127.0.0.2", "::1"),
    ],
)
def test_filters(text: str, inside: str, outside: str) -> None:
    matches = parse_filter(text)
    assert matches(inside)
    assert not matches(outside)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127",
        "127.0.0",
        "127.0.0.1.2",
        "127.0.0.256",
        "127.0.0.[2",
        "127.0.0.[]",
        "127.0.0.[3..2]",
        "127.0.0.x",
        "a",
    ],
)
def test_filters_that_are_none(text: str) -> None:
    with pytest.raises(ValueError):
        parse_filter(text)


@pytest.mark.parametrize(
    ("restrictions", "reply"),
    [
        ("reject_rbl_client bl.example", BLOCKED),
        ("reject_rbl_client BL.example.", BLOCKED.replace("bl.example;", "BL.example;")),
        ("reject_rbl_client bl.example=127.0.0.[9..11]", BLOCKED),
        ("reject_rbl_client bl.example=127.0.0.3", "OK"),
        ("reject_rbl_client other.example", "OK"),
        ("reject_rbl_client down.example", "OK"),
        (
            "reject_rhsbl_sender bl.example",
            "554 5.7.1 Service unavailable; Sender address [from@sender.example] blocked using bl.example",
        ),
        ("reject_rhsbl_helo bl.example, reject_rhsbl_recipient bl.example", "OK"),
        ("permit_rhswl_client wl.example, reject", "OK"),
        (
            "permit_dnswl_client wl.example, reject",
            f"554 5.7.1 <user@{LOCAL}>: Recipient address rejected: Access denied",
        ),
        (
            "permit_dnswl_client down.example, reject",
            "450 4.7.1 <192.0.2.7>: Client host rejected: Service unavailable",
        ),
    ],
)
async def test_lists(tmp_path: Path, restrictions: str, reply: str) -> None:
    records = {**LISTED, **{(name.replace("bl.", "BL."), rdtype): one for (name, rdtype), one in LISTED.items()}}
    assert await Policy(tmp_path, records=records, smtpd_recipient_restrictions=restrictions).rcpt() == reply


async def test_a_permit_opens_no_relay(tmp_path: Path) -> None:
    lists = {"smtpd_recipient_restrictions": "permit_rhswl_client wl.example, reject_unauth_destination"}
    asked = Policy(tmp_path, records=LISTED, smtpd_relay_restrictions="", **lists)
    assert (await asked.rcpt("x@else.example")).startswith("554 5.7.1 <x@else.example>: Relay access denied")
    assert asked.names.asked == []


async def test_an_ipv6_client_is_asked_for_by_its_digits(tmp_path: Path) -> None:
    asked = Policy(tmp_path, smtpd_recipient_restrictions="reject_rbl_client bl.example")
    await asked.rcpt(client=replace(CLIENT, address="2001:db8::1"))
    assert asked.names.asked == [("1." + "0." * 23 + "8.b.d.0.1.0.0.2.bl.example", "A")]


HOSTS = {
    ("sender.example", "MX"): Answer(FOUND, mx=(MX(10, "mx.bad.example"), MX(20, "10.1.1.1"))),
    ("mx.bad.example", "A"): Answer(FOUND, ("192.0.2.99",)),
    ("sender.example", "A"): Answer(FOUND, ("192.0.2.98",)),
    ("example", "NS"): Answer(FOUND, ("ns.bad.example",)),
    ("ns.bad.example", "A"): Answer(AGAIN),
}


@pytest.mark.parametrize(
    ("restriction", "table", "reply"),
    [
        ("check_sender_mx_access", "bad.example=REJECT", "554 5.7.1 <from@sender.example>: Sender address rejected"),
        ("check_sender_mx_access", "192.0.2=REJECT", "554 5.7.1 <from@sender.example>: Sender address rejected"),
        ("check_sender_mx_access", "10=REJECT", "554 5.7.1 <from@sender.example>: Sender address rejected"),
        ("check_sender_mx_access", "192.0.2.98=REJECT", "OK"),
        ("check_sender_a_access", "192.0.2.98=REJECT", "554 5.7.1 <from@sender.example>: Sender address rejected"),
        ("check_sender_ns_access", "ns.bad.example=REJECT", "554 5.7.1 <from@sender.example>: Sender address rejected"),
        ("check_sender_ns_access", "other=REJECT", "OK"),
        ("check_sender_mx_access", "bad.example=OK", "451 4.3.5 Server configuration error"),
    ],
)
async def test_hosts_behind_names(tmp_path: Path, restriction: str, table: str, reply: str) -> None:
    asked = Policy(tmp_path, records=HOSTS, smtpd_recipient_restrictions=f"{restriction} inline:{{{table}}}")
    assert (await asked.rcpt()).startswith(reply)


class Verifier:
    def __init__(self, standing: Standing) -> None:
        self.standing = standing

    async def verify(self, address: object) -> Verification:
        return Verification(self.standing, f"about {address}")


@pytest.mark.parametrize(
    ("standing", "reply"),
    [
        (Standing.DELIVERABLE, "OK"),
        (
            Standing.UNDELIVERABLE,
            "550 5.1.7 <from@sender.example>: Sender address rejected: undeliverable address: "
            "about from@sender.example",
        ),
        (
            Standing.UNKNOWN,
            "450 4.1.7 <from@sender.example>: Sender address rejected: unverified address: about from@sender.example",
        ),
    ],
)
async def test_verification(tmp_path: Path, standing: Standing, reply: str) -> None:
    asked = Policy(
        tmp_path,
        verifier=Verifier(standing),
        smtpd_recipient_restrictions="reject_unverified_sender",
        unverified_sender_reject_code=550,
        unverified_sender_defer_code=450,
        unverified_sender_tempfail_action="defer_if_permit",
    )
    assert await asked.rcpt() == reply
