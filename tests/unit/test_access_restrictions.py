"""Each restriction by itself: what it answers to whom (postconf(5)); wording as Debian's Postfix has it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pymta.model.access import AccessContext, Stage
from pymta.model.address import NULL_SENDER, Address
from pymta.model.dns import MX, Answer, Lookup
from pymta.model.envelope import Recipient
from tests.support.access import CLIENT, Policy, rcpt

TAIL = " from=<from@sender.example> to=<user@local.example> proto=ESMTP helo=<helo.example>"


def policy(folder: Path, restrictions: str, **values: Any) -> Policy:
    return Policy(folder, smtpd_recipient_restrictions=restrictions, **values)


HELO_INVALID = "501 5.5.2 <{0}>: Helo command rejected: Invalid name"
HELO_NO_FQDN = "504 5.5.2 <{0}>: Helo command rejected: need fully-qualified hostname"
HELO_NO_IP = "501 5.5.2 <{0}>: Helo command rejected: invalid ip address"


@pytest.mark.parametrize(
    ("helo", "invalid", "unqualified"),
    [
        # helo, reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname
        ("h.example", "OK", "OK"),
        ("foo", "OK", HELO_NO_FQDN),
        ("a_b.example", "OK", "OK"),
        ("-a.b", HELO_INVALID, HELO_NO_FQDN),
        ("a-.b", HELO_INVALID, HELO_NO_FQDN),
        ("1.2.3.4", "OK", HELO_NO_FQDN),
        ("[1.2.3.4]", "OK", "OK"),
        ("[1.2.3]", HELO_NO_IP, HELO_NO_IP),
        ("[IPv6:::1]", "OK", "OK"),
        ("[::1]", HELO_NO_IP, HELO_NO_IP),
        ("a.b.", "OK", "OK"),
        ("a..b", HELO_INVALID, HELO_NO_FQDN),
        ("foo?bar", HELO_INVALID, HELO_NO_FQDN),
        ("x" * 64 + ".com", HELO_INVALID, HELO_NO_FQDN),
        ("123", HELO_INVALID, HELO_NO_FQDN),
        ("12.34", HELO_INVALID, HELO_NO_FQDN),
    ],
)
async def test_helo_names(tmp_path: Path, helo: str, invalid: str, unqualified: str) -> None:
    for name, reply in (("reject_invalid_helo_hostname", invalid), ("reject_non_fqdn_helo_hostname", unqualified)):
        assert await policy(tmp_path, name).rcpt(helo_name=helo) == reply.format(helo)


async def test_helo_restrictions_wait_for_helo(tmp_path: Path) -> None:
    names = "reject_invalid_helo_hostname reject_non_fqdn_helo_hostname reject_unknown_helo_hostname"
    assert await policy(tmp_path, f"{names} check_helo_access static:REJECT").rcpt(helo_name=None) == "OK"


@pytest.mark.parametrize(
    ("sender", "reply"),
    [
        ("a@b.example", "OK"),
        ("", "OK"),
        ("a@[192.0.2.1]", "OK"),
        ("a@b.example.", "OK"),
        ("unq", "504 5.5.2 <unq>: Sender address rejected: need fully-qualified address"),
        ("a@host", "504 5.5.2 <a@host>: Sender address rejected: need fully-qualified address"),
        ("a@b..example", "504 5.5.2 <a@b..example>: Sender address rejected: need fully-qualified address"),
        ("a@1.2.3.4", "504 5.5.2 <a@1.2.3.4>: Sender address rejected: need fully-qualified address"),
        ("a@bücher.example", "OK"),
    ],
)
async def test_reject_non_fqdn_sender(tmp_path: Path, sender: str, reply: str) -> None:
    asked = policy(tmp_path, "reject_non_fqdn_sender")
    assert await asked.rcpt(sender=NULL_SENDER if not sender else Address.from_internal(sender)) == reply


FOUND = Answer(Lookup.FOUND, ("192.0.2.1",))
AGAIN = Answer(Lookup.TRY_AGAIN, reason="timeout")
NO_MAIL = Answer(Lookup.FOUND, mx=(MX(0, ""),))
HAS_MX = Answer(Lookup.FOUND, mx=(MX(10, "mx.b.example"),))


@pytest.mark.parametrize(
    ("records", "sender", "recipient"),
    [
        ({("b.example", "MX"): HAS_MX}, "OK", "OK"),
        ({("b.example", "A"): FOUND}, "OK", "OK"),
        ({("b.example", "AAAA"): FOUND}, "OK", "OK"),
        ({}, "450 4.1.8 <a@b.example>: Sender {}", "450 4.1.2 <a@b.example>: Recipient {}"),
        ({("b.example", "MX"): AGAIN}, "450 4.1.8 <a@b.example>: Sender {}", "450 4.1.2 <a@b.example>: Recipient {}"),
        (
            {("b.example", "MX"): NO_MAIL},
            "550 5.7.27 <a@b.example>: Sender address rejected: Domain b.example does not accept mail (nullMX)",
            "556 5.1.10 <a@b.example>: Recipient address rejected: Domain b.example does not accept mail (nullMX)",
        ),
    ],
)
async def test_unknown_domains(tmp_path: Path, records: Any, sender: str, recipient: str) -> None:
    not_found = "address rejected: Domain not found"
    asked = policy(tmp_path, "reject_unknown_sender_domain", records=records)
    assert await asked.rcpt(sender=Address.from_internal("a@b.example")) == sender.format(not_found)
    asked = policy(
        tmp_path,
        "reject_unknown_recipient_domain",
        records=records,
        smtpd_relay_restrictions="permit_mynetworks reject_unauth_destination",
        mynetworks="192.0.2.0/24",
    )
    assert await asked.rcpt("a@b.example") == recipient.format(not_found)


async def test_our_own_domains_are_not_looked_up(tmp_path: Path) -> None:
    asked = policy(tmp_path, "reject_unknown_sender_domain reject_unknown_recipient_domain")
    assert await asked.rcpt(sender=Address("a", "local.example")) == "OK"
    assert await asked.rcpt(sender=Address("a", "[192.0.2.1]")) == "OK"
    assert asked.names.asked == []


async def test_unknown_domain_codes_follow_their_parameters(tmp_path: Path) -> None:
    asked = policy(tmp_path, "reject_unknown_sender_domain", unknown_address_reject_code=550)
    assert (await asked.rcpt()).startswith("550 5.1.8 ")
    down = policy(
        tmp_path,
        "reject_unknown_sender_domain, reject",
        records={("sender.example", "MX"): AGAIN},
        unknown_address_reject_code=550,
    )
    # Not known whether to refuse: a later reject refuses for good.
    assert (await down.rcpt()).startswith("554 5.7.1 ")
    at_once = policy(
        tmp_path,
        "reject_unknown_sender_domain, reject",
        records={("sender.example", "MX"): AGAIN},
        unknown_address_tempfail_action="defer",
    )
    assert (await at_once.rcpt()).startswith("450 4.1.8 ")


async def test_reject_unknown_helo_hostname(tmp_path: Path) -> None:
    text = "<helo.example>: Helo command rejected: Host not found"
    assert await policy(tmp_path, "reject_unknown_helo_hostname").rcpt() == f"450 4.7.1 {text}"
    strict = policy(tmp_path, "reject_unknown_helo_hostname", unknown_hostname_reject_code=550)
    assert await strict.rcpt() == f"550 5.7.1 {text}"
    by_mx = policy(tmp_path, "reject_unknown_helo_hostname", records={("helo.example", "MX"): HAS_MX})
    assert await by_mx.rcpt() == "OK"


@pytest.mark.parametrize(
    ("status", "code", "reply"),
    [
        (2, 450, "OK"),
        (4, 550, "450 4.7.25 Client host rejected: cannot find your {0}, [192.0.2.7]"),
        (5, 550, "550 5.7.25 Client host rejected: cannot find your {0}, [192.0.2.7]"),
    ],
)
async def test_clients_without_a_name(tmp_path: Path, status: int, code: int, reply: str) -> None:
    nameless = replace(CLIENT, name="unknown", name_status=status, reverse_name_status=status)
    asked = policy(tmp_path, "reject_unknown_client_hostname", unknown_client_reject_code=code)
    assert await asked.rcpt(client=nameless) == reply.format("hostname")
    asked = policy(tmp_path, "reject_unknown_reverse_client_hostname", unknown_client_reject_code=code)
    assert await asked.rcpt(client=nameless) == reply.format("reverse hostname")


@pytest.mark.parametrize(
    ("recipient", "reply"),
    [
        ("a@local.example", "OK"),
        ("a@relay.example", "OK"),
        ("postmaster", "OK"),
        ("a@b.example", "554 5.7.1 <a@b.example>: Relay access denied"),
        ("a b@b.example", "554 5.7.1 <a b@b.example>: Relay access denied"),
        ("a%b.example@relay.example", "554 5.7.1 <a%b.example@relay.example>: Relay access denied"),
        ("b.example!a@relay.example", "554 5.7.1 <b.example!a@relay.example>: Relay access denied"),
        ("a@b.example@relay.example", "554 5.7.1 <a@b.example@relay.example>: Relay access denied"),
        ("a@broken.example", "451 4.3.0 <a@broken.example>: Temporary lookup failure"),
    ],
)
async def test_reject_unauth_destination(tmp_path: Path, recipient: str, reply: str) -> None:
    asked = Policy(tmp_path, smtpd_relay_restrictions="reject_unauth_destination")
    assert await asked.rcpt(recipient) == reply


async def test_postmaster_without_a_domain_is_always_taken(tmp_path: Path) -> None:
    asked = policy(tmp_path, "reject_non_fqdn_recipient, reject", smtpd_client_restrictions="reject")
    assert await asked.rcpt("Postmaster") == "OK"
    assert (await asked.rcpt("postmaster@local.example")).startswith("554")


async def test_relaying_is_open_to_networks_and_logins(tmp_path: Path) -> None:
    asked = Policy(tmp_path, mynetworks="192.0.2.0/24")
    assert await asked.rcpt("a@b.example") == "OK"
    asked = Policy(tmp_path)
    assert await asked.rcpt("a@b.example") == "454 4.7.1 <a@b.example>: Relay access denied"
    user = replace(CLIENT, sasl_username="user", sasl_method="PLAIN")
    assert await asked.rcpt("a@b.example", client=user) == "OK"


async def test_a_login_is_named_in_reject_lines(tmp_path: Path) -> None:
    user = replace(CLIENT, sasl_username="user", sasl_method="PLAIN")
    verdict = await policy(tmp_path, "reject").engine.decide(rcpt(client=user))
    assert verdict.log[0].endswith(f";{TAIL} sasl_method=PLAIN sasl_username=user")


async def test_allow_untrusted_routing(tmp_path: Path) -> None:
    asked = Policy(tmp_path, allow_untrusted_routing=True)
    assert await asked.rcpt("a%b.example@relay.example") == "OK"


async def test_permit_auth_destination_permits_only_its_list(tmp_path: Path) -> None:
    asked = policy(tmp_path, "permit_auth_destination, reject")
    assert await asked.rcpt() == "OK"
    assert await asked.rcpt("a@b.example") == "454 4.7.1 <a@b.example>: Relay access denied"


@pytest.mark.parametrize(
    ("stage", "earlier", "refused"), [(Stage.RCPT, 0, False), (Stage.RCPT, 1, True), (Stage.DATA, 1, False)]
)
async def test_reject_multi_recipient_bounce(tmp_path: Path, stage: Stage, earlier: int, refused: bool) -> None:
    accepted = (Recipient(Address("a", "local.example"), Address("a", "local.example")),) * earlier
    asked = Policy(
        tmp_path,
        smtpd_recipient_restrictions="reject_multi_recipient_bounce",
        smtpd_data_restrictions="reject_multi_recipient_bounce",
    )
    reply = await asked.rcpt(stage=stage, sender=NULL_SENDER, recipients=accepted)
    expected = "550 5.5.3 <user@local.example>: Recipient address rejected: Multi-recipient bounce"
    assert reply == (expected if refused else "OK")
    assert await asked.rcpt(stage=stage, recipients=accepted) == "OK"


async def test_data_restrictions_name_the_command(tmp_path: Path) -> None:
    asked = Policy(tmp_path, smtpd_data_restrictions="reject_unauth_pipelining", smtpd_end_of_data_restrictions="defer")
    two = (Recipient(Address("a", "local.example"), Address("a", "local.example")),) * 2
    data = rcpt(stage=Stage.DATA, recipients=two, recipient=None)
    assert await asked.ask(data) == "OK"
    verdict = await asked.engine.decide(replace(data, unauthorized_pipelining=True))
    text = "503 5.5.0 <DATA>: Data command rejected: Improper use of SMTP command pipelining"
    assert str(verdict.reply) == text
    client = "mail.client.example[192.0.2.7]"
    assert verdict.log == (
        f"reject: DATA from {client}: {text}; from=<from@sender.example> proto=ESMTP helo=<helo.example>",
    )
    verdict = await asked.engine.decide(replace(data, stage=Stage.END_OF_DATA, recipients=two[:1]))
    assert str(verdict.reply) == "450 4.3.2 <END-OF-MESSAGE>: End-of-data rejected: Try again later"
    assert "END-OF-MESSAGE from" in verdict.log[0]
    assert "to=<a@local.example>" in verdict.log[0]


async def test_unlisted_recipients_are_refused_without_being_asked(tmp_path: Path) -> None:
    unknown = "550 5.1.1 <unknown@local.example>: Recipient address rejected: User unknown in local recipient table"
    assert await Policy(tmp_path).rcpt("unknown@local.example") == unknown
    assert await Policy(tmp_path, soft_bounce=True).rcpt("unknown@local.example") == f"450 4{unknown[5:]}"
    off = Policy(tmp_path, smtpd_reject_unlisted_recipient=False)
    assert await off.rcpt("unknown@local.example") == "OK"
    override = Policy(tmp_path, receive_override_options=("no_unknown_recipient_checks",))
    assert await override.rcpt("unknown@local.example") == "OK"
    assert await Policy(tmp_path).rcpt("broken@local.example") == (
        "451 4.3.0 <broken@local.example>: Temporary lookup failure"
    )


async def test_a_pending_deferral_comes_before_the_unwritten_check(tmp_path: Path) -> None:
    asked = policy(tmp_path, "defer_if_permit")
    assert (await asked.rcpt("unknown@local.example")).startswith("450 4.7.0 ")
    asked = policy(tmp_path, "defer_if_permit, reject_unlisted_recipient")
    assert (await asked.rcpt("unknown@local.example")).startswith("550 5.1.1 ")


async def test_unlisted_senders(tmp_path: Path) -> None:
    sender = Address("unknown", "local.example")
    assert await Policy(tmp_path).rcpt(sender=sender) == "OK"
    implicit = Policy(tmp_path, smtpd_reject_unlisted_sender=True)
    assert (await implicit.rcpt(sender=sender)).startswith("550 5.1.0 <unknown@local.example>: Sender address")
    explicit = Policy(tmp_path, smtpd_sender_restrictions="reject_unlisted_sender")
    assert (await explicit.rcpt(sender=sender)).startswith("550 5.1.0 ")
    assert await implicit.rcpt(sender=NULL_SENDER) == "OK"


async def test_sleep_waits_and_goes_on(tmp_path: Path) -> None:
    asked = policy(tmp_path, "sleep 3, reject")
    assert (await asked.rcpt()).startswith("554")
    assert asked.slept == [3]


async def test_stages_without_delay(tmp_path: Path) -> None:
    asked = Policy(
        tmp_path,
        smtpd_delay_reject=False,
        smtpd_client_restrictions="check_client_access inline:{192.0.2.7=REJECT}",
        smtpd_helo_restrictions="reject_invalid_helo_hostname",
        smtpd_sender_restrictions="reject_non_fqdn_sender",
    )
    connect = AccessContext(Stage.CONNECT, CLIENT)
    verdict = await asked.engine.decide(connect)
    text = "554 5.7.1 <mail.client.example[192.0.2.7]>: Client host rejected: Access denied"
    assert str(verdict.reply) == text
    assert verdict.log == (f"reject: CONNECT from mail.client.example[192.0.2.7]: {text}; proto=ESMTP",)
    helo = AccessContext(Stage.HELO, CLIENT, command="EHLO", helo_name="-")
    verdict = await asked.engine.decide(helo)
    assert verdict.log[0].startswith("reject: EHLO from mail.client.example[192.0.2.7]: 501 5.5.2 <->: ")
    mail = replace(helo, stage=Stage.MAIL, sender=Address("x"))
    assert (await asked.ask(mail)).startswith("504 5.5.2 <x>: Sender")
    assert await asked.rcpt(sender=Address("x"), helo_name="-") == "OK"
    assert await asked.rcpt("a@b.example") == "454 4.7.1 <a@b.example>: Relay access denied"


async def test_a_deferral_of_an_early_stage_waits_for_rcpt(tmp_path: Path) -> None:
    asked = Policy(tmp_path, smtpd_delay_reject=False, smtpd_sender_restrictions="reject_unknown_sender_domain",
                   records={("sender.example", "MX"): AGAIN})  # fmt: skip
    verdict = await asked.engine.decide(rcpt(stage=Stage.MAIL, recipient=None))
    assert verdict.permits
    assert verdict.deferral is not None
    reply = "450 4.1.8 <from@sender.example>: Sender address rejected: Domain not found"
    assert await asked.rcpt(deferrals=(verdict.deferral,)) == reply
    assert (await asked.rcpt("unknown@b.example", deferrals=(verdict.deferral,))).startswith("454 4.7.1")


async def test_with_delay_the_early_stages_say_nothing(tmp_path: Path) -> None:
    asked = Policy(
        tmp_path,
        smtpd_client_restrictions="reject",
        smtpd_helo_restrictions="reject",
        smtpd_sender_restrictions="reject",
    )
    for stage in (Stage.CONNECT, Stage.HELO, Stage.MAIL):
        assert await asked.rcpt(stage=stage) == "OK"
    assert await asked.rcpt() == ("554 5.7.1 <mail.client.example[192.0.2.7]>: Client host rejected: Access denied")
    assert (await asked.rcpt(stage=Stage.VRFY, sender=None)).startswith("554")


async def test_relay_restrictions_stand_before_or_behind(tmp_path: Path) -> None:
    lists = {
        "smtpd_relay_restrictions": "reject_unauth_destination",
        "smtpd_recipient_restrictions": "check_recipient_access static:DEFER",
    }
    before = Policy(tmp_path, **lists)
    behind = Policy(tmp_path, smtpd_relay_before_recipient_restrictions=False, **lists)
    assert (await before.rcpt("a@b.example")).startswith("554 5.7.1 <a@b.example>: Relay")
    assert (await behind.rcpt("a@b.example")).startswith("450 4.7.1 <a@b.example>: Recipient")


async def test_an_ok_in_one_list_does_not_answer_for_the_other(tmp_path: Path) -> None:
    asked = policy(tmp_path, "permit")
    assert (await asked.rcpt("a@b.example")).startswith("454")


async def test_etrn(tmp_path: Path) -> None:
    asked = Policy(
        tmp_path, smtpd_etrn_restrictions="check_etrn_access inline:{example.com=REJECT}, reject_unauth_pipelining"
    )
    context = AccessContext(Stage.ETRN, CLIENT, helo_name="h", etrn_domain="sub.example.com")
    assert await asked.ask(context) == "554 5.7.1 <sub.example.com>: Etrn command rejected: Access denied"
    assert await asked.ask(replace(context, etrn_domain="other.example")) == "OK"


async def test_soft_bounce_makes_everything_temporary(tmp_path: Path) -> None:
    asked = policy(tmp_path, "reject", soft_bounce=True)
    assert (await asked.rcpt()).startswith("454 4.7.1 ")


async def test_a_wrong_reject_code_is_450(tmp_path: Path) -> None:
    asked = policy(tmp_path, "reject", reject_code=250)
    assert (await asked.rcpt()).startswith("450 4.7.1 ")
    assert asked.log.lines == ["SMTP reply code configuration error: 250"]


REJECTED = "<user@local.example>: Recipient address rejected:"
CLIENT_REJECTED = "<mail.client.example[192.0.2.7]>: Client host rejected:"


@pytest.mark.parametrize(
    ("restrictions", "reply"),
    [
        # As Debian's Postfix 3.7 answers them.
        ("defer_if_reject, defer", f"450 4.3.2 {REJECTED} Try again later"),
        ("defer_if_reject, reject", f"450 4.7.0 {REJECTED} defer_if_reject requested"),
        (
            "check_client_access static:{DEFER_IF_PERMIT one}, defer_if_permit",
            f"450 4.7.1 {CLIENT_REJECTED} one",
        ),
        ("defer_if_permit, reject", f"554 5.7.1 {REJECTED} Access denied"),
        ("defer_if_permit, defer_if_reject, reject", f"450 4.7.0 {REJECTED} defer_if_permit requested"),
        ("check_reverse_client_hostname_access static:OK", "451 4.3.5 Server configuration error"),
        ("check_reverse_client_hostname_access static:DUNNO", "OK"),
        ("warn_if_reject check_client_access static:{421 x}, reject", f"554 5.7.1 {REJECTED} Access denied"),
        ("check_helo_access static:OK, reject", "OK"),
        ("warn_if_reject warn_if_reject reject, permit", "OK"),
    ],
)
async def test_combinations(tmp_path: Path, restrictions: str, reply: str) -> None:
    assert await policy(tmp_path, restrictions).rcpt() == reply


async def test_what_only_warns_does_not_end_the_session(tmp_path: Path) -> None:
    asked = policy(tmp_path, "warn_if_reject check_client_access static:{421 x}")
    verdict = await asked.engine.decide(rcpt())
    assert verdict.permits
    assert not verdict.disconnect
    assert verdict.log[0].startswith("reject_warning: RCPT from mail.client.example[192.0.2.7]: 421 4.7.1 ")


async def test_a_lookup_that_fails_under_warn_if_reject_is_only_logged(tmp_path: Path) -> None:
    asked = policy(tmp_path, "warn_if_reject reject_unlisted_recipient", smtpd_reject_unlisted_recipient=False)
    verdict = await asked.engine.decide(rcpt("broken@local.example"))
    assert verdict.permits
    assert "reject_warning" in verdict.log[0]


async def test_an_ok_for_a_domain_does_not_let_routed_mail_through(tmp_path: Path) -> None:
    lists = {
        "smtpd_relay_restrictions": "check_recipient_access inline:{relay.example=OK}, reject_unauth_destination",
        "smtpd_recipient_restrictions": "",
    }
    routed = "a%b.example@relay.example"
    assert (await Policy(tmp_path, **lists).rcpt(routed)).endswith("Relay access denied")
    assert await Policy(tmp_path, **lists).rcpt("a@relay.example") == "OK"
    trusting = Policy(tmp_path, allow_untrusted_routing=True, **lists)
    assert await trusting.rcpt(routed) == "OK"


async def test_each_type_of_record_is_asked_for(tmp_path: Path) -> None:
    asked = policy(tmp_path, "reject_unknown_sender_domain")
    await asked.rcpt()
    assert [rdtype for _, rdtype in asked.names.asked] == ["MX", "A", "AAAA"]
    found = policy(tmp_path, "reject_unknown_sender_domain", records={("sender.example", "AAAA"): FOUND})
    assert await found.rcpt() == "OK"


async def test_a_name_that_dns_cannot_carry_is_not_asked_for(tmp_path: Path) -> None:
    asked = policy(tmp_path, "reject_unknown_sender_domain")
    for domain in ("a..b", "-x.example", "x" * 70 + ".example", "1.2.3.4"):
        assert "Domain not found" in await asked.rcpt(sender=Address("a", domain))
    assert asked.names.asked == []
