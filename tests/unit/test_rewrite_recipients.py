"""Who exists here: codes and texts of reject_unlisted_recipient and reject_unlisted_sender."""

from __future__ import annotations

import pytest

from pymta.errors import TableError
from pymta.model.address import NULL_SENDER, Address
from tests.support.rewriting import Parts

LISTS = {
    "local_recipient_maps": "inline:{joe=x, {kate@mx.example.com=x}}",
    "virtual_mailbox_domains": "m.example",
    "virtual_mailbox_maps": "inline:{joe@m.example=x, @catchall.m.example=x}",
    "relay_domains": "r.example",
    "relay_recipient_maps": "inline:{joe@r.example=x}",
    "virtual_alias_domains": "v.example",
    "virtual_alias_maps": "inline:{joe@v.example=joe, @all.example=joe, alias@mx.example.com=joe}",
    "recipient_canonical_maps": "inline:{old@mx.example.com=joe}",
    "sender_canonical_maps": "inline:{sender@mx.example.com=joe}",
    "recipient_delimiter": "+",
}


@pytest.mark.parametrize(
    ("recipient", "refusal"),
    [
        ("joe@mx.example.com", None),
        ("JOE@localhost", None),
        ("joe+ext@mx.example.com", None),
        ("joe", None),
        ("kate@mx.example.com", None),
        ("kate@localhost", "550 5.1.1 <kate@localhost>: Recipient address rejected: "
                           "User unknown in local recipient table"),
        ("Postmaster@mx.example.com", None),
        ("MAILER-DAEMON@localhost", None),
        ("double-bounce@mx.example.com", None),
        ("postmasters@localhost", "550 5.1.1 <postmasters@localhost>: Recipient address rejected: "
                                  "User unknown in local recipient table"),
        ("alias@mx.example.com", None),
        ("old@mx.example.com", None),
        ("joe@m.example", None),
        ("nobody@m.example", "550 5.1.1 <nobody@m.example>: Recipient address rejected: "
                             "User unknown in virtual mailbox table"),
        ("postmaster@m.example", "550 5.1.1 <postmaster@m.example>: Recipient address rejected: "
                                 "User unknown in virtual mailbox table"),
        ("joe@r.example", None),
        ("nobody@sub.r.example", "550 5.1.1 <nobody@sub.r.example>: Recipient address rejected: "
                                 "User unknown in relay recipient table"),
        ("joe@v.example", None),
        ("nobody@v.example", "550 5.1.1 <nobody@v.example>: Recipient address rejected: "
                             "User unknown in virtual alias table"),
        ("who@else.example", None),
        ("bad@a..b", None),
        ('quo ted@m.example', '550 5.1.1 <quo ted@m.example>: Recipient address rejected: '
                              "User unknown in virtual mailbox table"),
    ],
)  # fmt: skip
async def test_recipients_by_class(recipient: str, refusal: str | None) -> None:
    reply = await Parts(**LISTS).recipients.check_recipient(Address.from_internal(recipient))
    assert (str(reply) if reply else None) == refusal


async def test_empty_maps_accept_everyone() -> None:
    recipients = Parts(virtual_mailbox_domains="m.example", relay_domains="r.example").recipients
    for text in ("x@localhost", "x@m.example", "x@r.example"):
        assert await recipients.check_recipient(Address.from_internal(text)) is None


@pytest.mark.parametrize(
    ("domain", "parameter"),
    [
        ("localhost", "unknown_local_recipient_reject_code"),
        ("m.example", "unknown_virtual_mailbox_reject_code"),
        ("r.example", "unknown_relay_recipient_reject_code"),
        ("v.example", "unknown_virtual_alias_reject_code"),
    ],
)
async def test_the_codes_are_settings_and_the_status_follows(domain: str, parameter: str) -> None:
    parts = Parts(**{**LISTS, parameter: "450", "show_user_unknown_table_name": "no"})
    reply = await parts.recipients.check_recipient(Address("nobody", domain))
    assert str(reply) == f"450 4.1.1 <nobody@{domain}>: Recipient address rejected: User unknown"


@pytest.mark.parametrize(
    ("entry", "refusal"),
    [
        ("error:5.7.1 go away", "550 5.7.1 <x@gone.example>: Recipient address rejected: go away"),
        ("error:4.7.1 closed", "550 5.7.1 <x@gone.example>: Recipient address rejected: closed"),
        ("error:closed", "550 5.1.1 <x@gone.example>: Recipient address rejected: closed"),
        ("retry:5.7.1 soon", "450 4.7.1 <x@gone.example>: Recipient address rejected: soon"),
    ],
)
async def test_what_transport_maps_refuse_is_refused_at_once(entry: str, refusal: str) -> None:
    parts = Parts(transport_maps=f"inline:{{ {{ gone.example={entry} }} }}")
    assert str(await parts.recipients.check_recipient(Address("x", "gone.example"))) == refusal


async def test_senders_are_held_against_the_same_lists() -> None:
    recipients = Parts(**LISTS).recipients
    assert await recipients.check_sender(NULL_SENDER) is None
    assert await recipients.check_sender(Address("joe", "localhost")) is None
    assert await recipients.check_sender(Address("sender", "mx.example.com")) is None
    assert str(await recipients.check_sender(Address("nobody", "localhost"))) == (
        "550 5.1.0 <nobody@localhost>: Sender address rejected: User unknown in local recipient table"
    )
    assert await recipients.check_recipient(Address("sender", "mx.example.com")) is not None


@pytest.mark.parametrize(
    "parameter", ["local_recipient_maps", "virtual_alias_maps", "canonical_maps", "transport_maps"]
)
async def test_what_cannot_be_known_is_no_answer(parameter: str) -> None:
    with pytest.raises(TableError):
        await Parts(**{parameter: "fail:broken"}).recipients.check_recipient(Address("x", "localhost"))
