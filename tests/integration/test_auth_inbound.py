"""Mail from outside through the whole program: SPF, DKIM, Authentication-Results (walk-through H)."""

from __future__ import annotations

from pathlib import Path

import pytest

from pymta.model.access import Verdict
from pymta.model.authentication import Result
from pymta.model.reply import Reply
from tests.support.authentication import ID, fields, parsed_by_perl, receiver
from tests.support.dkim_messages import BODY, HEADER, RFC8463, RFC8463_ZONE

HERE = {"TXT": ['"v=spf1 ip4:127.0.0.1 -all"']}
ELSEWHERE = {"TXT": ['"v=spf1 ip4:192.0.2.1 -all exp=why.example.org"']}
ZONES = {
    "example.com": HERE,
    "client.example.com": {"A": ["127.0.0.1"]},
    "example.org": ELSEWHERE,
    "why.example.org": {"TXT": ['"%{i} is not one of ours"']},
    "soft.example": {"TXT": ['"v=spf1 ~all"']},
    "broken.example": {"TXT": ['"v=spf1 nonsense"']},
    "down.example": HERE,
    "down._domainkey.football.example.com": {"TXT": ['"v=DKIM1; p=AAAA"']},
    **{
        name: {"TXT": ['"' + text[:250] + '" "' + text[250:] + '"' for text in zone["TXT"]]}
        for name, zone in RFC8463_ZONE.items()
    },
}
MESSAGE = HEADER + b"\r\n" + BODY
TOLD = ("Authentication-Results", "Received-SPF", "Received")


async def test_a_message_arrives_with_what_we_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiver(tmp_path, monkeypatch, ZONES, spf_enable="yes", dkim_verify="yes") as mx:
        assert (await mx.send(RFC8463))[0] == 250
        content = await mx.delivered()
        told = fields(content, TOLD)
        assert told[0].startswith(
            f"Authentication-Results: {ID}; dkim=pass (256-bit key) header.d=football.example.com "
            "header.i=@football.example.com header.s=brisbane header.a=ed25519-sha256 "
        )
        assert "dkim=pass (1024-bit key)" in told[0]
        assert "spf=none smtp.helo=client.example.com; spf=pass smtp.mailfrom=joe@example.com" in told[0]
        assert told[1] == (
            f"Received-SPF: pass ({ID}: domain of joe@example.com designates 127.0.0.1 as permitted sender) "
            'client-ip=127.0.0.1; envelope-from="joe@example.com"; helo=client.example.com; '
            f'receiver={ID}; identity=mailfrom; mechanism="ip4:127.0.0.1"'
        )
        assert told[2].startswith("Received: from client.example.com")
        assert content.endswith(RFC8463)
        (context,) = mx.watcher.seen
        assert context.authentication is not None
        assert [one.result for one in context.authentication.dkim] == [Result.PASS, Result.PASS]
        assert context.authentication.mail_from is not None
        assert context.authentication.mail_from.result is Result.PASS
        assert context.authentication.author_fields == ("Joe SixPack <joe@football.example.com>",)


@pytest.mark.parametrize(
    ("sender", "code", "words"),
    [
        ("joe@example.com", 250, "Ok"),
        ("joe@nobody.example", 250, "Ok"),
        ("joe@soft.example", 250, "Ok"),
        ("joe@broken.example", 250, "Ok"),
        (
            "joe@example.org",
            550,
            "5.7.23 <joe@example.org>: Sender address rejected: SPF fail: "
            "example.org does not let 127.0.0.1 send its mail; "
            "example.org explains: 127.0.0.1 is not one of ours",
        ),
        (
            "joe@down.example",
            451,
            "4.7.24 <joe@down.example>: Sender address rejected: SPF temperror: DNS TXT down.example",
        ),
    ],
)
async def test_spf_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sender: str, code: int, words: str) -> None:
    async with receiver(tmp_path, monkeypatch, ZONES, {"down.example": "servfail"}, spf_enable="yes") as mx:
        reply = await mx.send(MESSAGE, sender)
        assert reply[0] == code
        assert words in reply[1]


async def test_spf_alone_tells_at_the_top_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiver(tmp_path, monkeypatch, ZONES, spf_enable="yes") as mx:
        await mx.send(MESSAGE, "joe@soft.example")
        told = fields(await mx.delivered(), TOLD)
        assert told[0] == (
            f"Authentication-Results: {ID}; spf=none smtp.helo=client.example.com; spf=softfail "
            "smtp.mailfrom=joe@soft.example; iprev=fail policy.iprev=127.0.0.1"
        )
        assert told[1].startswith("Received-SPF: softfail (")
        assert mx.watcher.seen[0].authentication is not None
        assert not mx.watcher.seen[0].authentication.checks_dkim


async def test_the_null_sender_is_its_helo_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiver(tmp_path, monkeypatch, ZONES, spf_enable="yes") as mx:
        assert (await mx.send(MESSAGE, "", "example.com"))[0] == 250
        told = fields(await mx.delivered(), TOLD)
        assert "spf=pass smtp.helo=example.com" in told[0]
        assert "identity=helo" in told[1]
        code, text = await mx.send(MESSAGE, "", "example.org")
        assert (code, text[:45]) == (550, "5.7.23 <example.org>: Helo command rejected: ")


FORGED = b"Authentication-Results: mx.example.net; dkim=pass header.d=bank.example\r\n"
OTHERS = b"Authentication-Results: relay.example.com; spf=pass\r\n"


@pytest.mark.parametrize("dkim", ["yes", "no"])
async def test_only_results_in_our_name_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dkim: str) -> None:
    async with receiver(tmp_path, monkeypatch, ZONES, spf_enable="yes", dkim_verify=dkim) as mx:
        odd = FORGED.replace(b"mx", b"(x)\r\n MX").replace(b"Results:", b"RESULTS :")
        await mx.send(FORGED + OTHERS + odd + MESSAGE)
        content = await mx.delivered()
        told = fields(content, ["Authentication-Results"])
        assert len(told) == 2
        assert told[0].startswith(f"Authentication-Results: {ID}; ")
        assert told[1].encode() + b"\r\n" == OTHERS
        assert b"bank.example" not in content


async def test_mail_from_our_own_networks_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"spf_enable": "yes", "dkim_verify": "yes", "mynetworks": "127.0.0.0/8"}
    async with receiver(tmp_path, monkeypatch, ZONES, **options) as mx:
        assert (await mx.send(FORGED + MESSAGE, "joe@example.org"))[0] == 250
        assert fields(await mx.delivered(), TOLD)[1:] == [FORGED.decode().strip()]
        assert not mx.dns.queries
        assert mx.watcher.seen[0].authentication is None


async def test_exempt_networks_are_not_checked_for_spf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"spf_enable": "yes", "dkim_verify": "yes", "spf_exempt_networks": "127.0.0.1"}
    async with receiver(tmp_path, monkeypatch, ZONES, **options) as mx:
        assert (await mx.send(MESSAGE, "joe@example.org"))[0] == 250
        told = fields(await mx.delivered(), TOLD)
        assert told[0].startswith(f"Authentication-Results: {ID}; dkim=none; iprev=")
        assert told[1].startswith("Received:")


async def test_without_anything_enabled_nothing_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiver(tmp_path, monkeypatch, ZONES) as mx:
        await mx.send(FORGED + MESSAGE)
        assert len(fields(await mx.delivered(), TOLD)) == 2
        assert not mx.dns.queries


@pytest.mark.parametrize("behaviour", ["servfail", "timeout", "garbage", "refused"])
async def test_a_key_that_nobody_can_give_now_is_a_temperror(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behaviour: str
) -> None:
    behaviours = dict.fromkeys(RFC8463_ZONE, behaviour)
    async with receiver(tmp_path, monkeypatch, ZONES, behaviours, dkim_verify="yes") as mx:
        assert (await mx.send(RFC8463))[0] == 250
        told = fields(await mx.delivered(), TOLD)[0]
        assert told.count('dkim=temperror reason="no answer from DNS"') == 2


@pytest.mark.parametrize(
    ("zone", "behaviour", "code", "result"),
    [
        ({"TXT": ['"v=spf1 +all"']}, "timeout", 451, ""),
        ({"TXT": ['"v=spf1 +all"']}, "garbage", 451, ""),
        ({"TXT": ['"v=spf1 +all"']}, "truncate", 250, "pass"),
        ({"TXT": ['"v=spf1 +all"']}, "late", 250, "pass"),
        ({"CNAME": ["odd.example."]}, "", 250, "none"),
        ({"CNAME": ["elsewhere.example."]}, "no-chase", 250, "none"),
        ({"TXT": [" ".join(['"' + "x" * 250 + '"'] * 250)]}, "truncate", 250, "none"),
        ({"TXT": ['"v=spf1 " ' + " ".join(['"' + "ip4:192.0.2.1 " * 17 + '"'] * 250)]}, "truncate", 250, "permerror"),
        ({"TXT": ['"v=spf1 -all"', '"v=spf1 +all"']}, "", 250, "permerror"),
        ({"TXT": ['"v=spf1 include:odd.example -all"']}, "", 250, "permerror"),
    ],
)
async def test_name_servers_that_misbehave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: dict[str, list[str]], behaviour: str, code: int, result: str
) -> None:
    zones, behaviours = {**ZONES, "odd.example": zone}, {"odd.example": behaviour}
    async with receiver(tmp_path, monkeypatch, zones, behaviours, spf_enable="yes") as mx:
        assert (await mx.send(MESSAGE, "joe@odd.example"))[0] == code
        if code == 250:
            assert f"spf={result} " in fields(await mx.delivered(), TOLD)[0]


async def test_a_key_of_64_kilobytes_is_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huge = {name: {"TXT": [" ".join(['"' + "A" * 250 + '"'] * 250)]} for name in RFC8463_ZONE}
    behaviours = dict.fromkeys(RFC8463_ZONE, "truncate")
    async with receiver(tmp_path, monkeypatch, {**ZONES, **huge}, behaviours, dkim_verify="yes") as mx:
        assert (await mx.send(RFC8463))[0] == 250
        assert fields(await mx.delivered(), TOLD)[0].count('dkim=permerror reason="key record: too long"') == 2


async def test_a_rule_of_the_app_may_refuse_by_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiver(tmp_path, monkeypatch, ZONES, spf_enable="yes", dkim_verify="yes") as mx:
        mx.watcher.verdict = Verdict(Reply.of(550, "This message proves no sender", "5.7.26"))
        assert await mx.send(MESSAGE) == (550, "5.7.26 This message proves no sender")
        assert not mx.inbox.messages


async def test_fields_are_read_by_others_as_they_are_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Perl's Mail::AuthenticationResults, a parser that knows nothing of ours."""
    async with receiver(tmp_path, monkeypatch, ZONES, spf_enable="yes", dkim_verify="yes") as mx:
        await mx.send(RFC8463.replace(b"Hi.", b"Ho."), "joe@soft.example")
        (field,) = fields(await mx.delivered(), ["Authentication-Results"])
        assert parsed_by_perl(field.partition(": ")[2]) == [
            "id mx.example.net",
            "dkim fail header.d=football.example.com header.i=@football.example.com header.s=brisbane "
            "header.a=ed25519-sha256 header.b=/gCrinpc reason=body hash did not verify",
            "dkim fail header.d=football.example.com header.i=@football.example.com header.s=test "
            "header.a=rsa-sha256 header.b=F45dVWDf reason=body hash did not verify",
            "spf none smtp.helo=client.example.com",
            "spf softfail smtp.mailfrom=joe@soft.example",
            "iprev fail policy.iprev=127.0.0.1",
        ]


async def test_a_large_message_is_verified_as_it_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiver(tmp_path, monkeypatch, ZONES, dkim_verify="yes", message_size_limit="0") as mx:
        body = b"0123456789 abcdefgh\r\n" * 250_000
        assert (await mx.send(RFC8463 + body))[0] == 250
        content = await mx.delivered()
        assert content.endswith(RFC8463 + body)
        assert fields(content, TOLD)[0].count('dkim=fail reason="body hash did not verify"') == 2


async def test_a_restriction_by_name_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"smtpd_recipient_restrictions": "reject_spf_fail"}
    async with receiver(tmp_path, monkeypatch, ZONES, **options) as mx:
        assert (await mx.send(MESSAGE, "joe@example.org"))[0] == 550
        assert (await mx.send(MESSAGE))[0] == 250
        assert len(fields(await mx.delivered(), TOLD)) == 1
