"""DKIM verification as the RFCs have it, and as dkimpy signs (RFC 6376, RFC 8463, RFC 8301)."""

from __future__ import annotations

import asyncio
import base64

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from pymta.auth.dkim_verify import MAXIMUM_HEADER, MAXIMUM_LINES, DkimInspection, VerifyRules, verify
from pymta.model.authentication import DkimResult, Result
from pymta.model.dns import Answer
from pymta.testing import FakeResolver
from tests.support.dkim_messages import BODY, HEADER, RFC6376, RFC6376_ZONE, RFC8463, RFC8463_ZONE, resolver

NOW = 1_800_000_000.0
KEY = rsa.generate_private_key(65537, 2048)
SMALL_KEY = rsa.generate_private_key(65537, 1024)
NAME = "sel._domainkey.example.com"
MESSAGE = (
    b"From: a@example.com\r\nTo: b@example.net\r\nSubject:  two  words \r\n\r\nHello  there \r\n\r\nBye\r\n\r\n\r\n"
)


def pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def public(key: rsa.RSAPrivateKey, form: str = "SubjectPublicKeyInfo") -> str:
    der = key.public_key().public_bytes(serialization.Encoding.DER, getattr(serialization.PublicFormat, form))
    return base64.b64encode(der).decode()


def zone(record: str = "", key: rsa.RSAPrivateKey = KEY) -> FakeResolver:
    return FakeResolver({NAME: {"TXT": [record or f"v=DKIM1; k=rsa; p={public(key)}"]}})


def signed(message: bytes = MESSAGE, key: rsa.RSAPrivateKey = KEY, **arguments: object) -> bytes:
    values: dict[str, object] = {"include_headers": [b"from", b"to", b"subject"], **arguments}
    field: bytes = dkim.sign(message, b"sel", b"example.com", pem(key), **values)
    return field + message


async def one(message: bytes, answers: FakeResolver, rules: VerifyRules | None = None, now: float = NOW) -> DkimResult:
    (result,) = await verify(message, answers, rules or VerifyRules(), now)
    return result


async def test_the_message_of_rfc_8463_verifies_with_both_keys() -> None:
    results = await verify(RFC8463, resolver(RFC8463_ZONE), VerifyRules(), NOW)
    assert [(r.result, r.algorithm, r.selector, r.key_bits) for r in results] == [
        (Result.PASS, "ed25519-sha256", "brisbane", 256),
        (Result.PASS, "rsa-sha256", "test", 1024),
    ]
    assert results[0].signed_fields == (
        "from", "to", "subject", "date", "message-id", "from", "subject", "date",
    )  # fmt: skip


async def test_the_message_of_rfc_6376_verifies() -> None:
    result = await one(RFC6376, resolver(RFC6376_ZONE))
    assert (result.result, result.domain, result.identity) == (Result.PASS, "example.com", "joe@football.example.com")


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64])
async def test_the_pieces_in_which_a_message_comes_do_not_matter(step: int) -> None:
    inspection = DkimInspection(VerifyRules(), NOW)
    for start in range(0, len(RFC8463), step):
        inspection.write(RFC8463[start : start + step])
    results = await inspection.results(resolver(RFC8463_ZONE))
    assert [one.result for one in results] == [Result.PASS, Result.PASS]
    assert inspection.author_fields == ("Joe SixPack <joe@football.example.com>",)


@pytest.mark.parametrize("header", [b"relaxed", b"simple"])
@pytest.mark.parametrize("body", [b"relaxed", b"simple"])
@pytest.mark.parametrize(
    "text",
    [b"", b"\r\n", b"\r\n\r\n\r\n", b" \r\n\t\r\n", b"a", b"a \r\n b\t\tc \r\n\r\n", b"\xff\x00\r\n", b"\r\nx\r\n"],
)
async def test_what_dkimpy_signs_verifies(header: bytes, body: bytes, text: bytes) -> None:
    message = signed(
        b"From: a@example.com\r\nTo: b@c\r\nSubject:  x \t y \r\n z\r\n\r\n" + text, canonicalize=(header, body)
    )
    result = await one(message, zone())
    assert (result.result, result.reason) == (Result.PASS, "")
    assert result.covers_body


@settings(max_examples=60, deadline=None)
@given(
    st.text(alphabet="ab \t\r\n", max_size=60),
    st.sampled_from([b"relaxed", b"simple"]),
    st.integers(1, 20),
)
async def test_any_body_that_dkimpy_signs_verifies_in_any_pieces(text: str, canon: bytes, step: int) -> None:
    # A bare CR or LF is a line end to dkimpy and text to us; smtpd lets neither pass. A last line always ends.
    body = text.replace("\r", "").replace("\n", "\r\n").encode() + b"\r\n"
    message = signed(b"From: a@example.com\r\n\r\n" + body, canonicalize=(canon, canon), include_headers=[b"from"])
    inspection = DkimInspection(VerifyRules(), NOW)
    for start in range(0, len(message), step):
        inspection.write(message[start : start + step])
    (result,) = await inspection.results(zone())
    assert result.result is Result.PASS, result


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"Hello", b"Hallo", "body hash did not verify"),
        (b"To: b@", b"To: c@", "signature did not verify"),
        (b"Bye", b"Bye\r\nmore", "body hash did not verify"),
    ],
)
async def test_a_message_that_was_changed_fails(old: bytes, new: bytes, reason: str) -> None:
    result = await one(signed().replace(old, new), zone())
    assert (result.result, result.reason, result.key_bits) == (Result.FAIL, reason, 2048)


async def test_a_signed_field_that_was_absent_may_not_be_added() -> None:
    message = signed(include_headers=[b"from", b"reply-to"])
    assert (await one(message, zone())).result is Result.PASS
    assert (await one(b"Reply-To: evil@example.net\r\n" + message, zone())).result is Result.FAIL


async def test_a_second_from_must_be_signed_too() -> None:
    result = await one(b"From: evil@example.net\r\n" + signed(), zone())
    assert (result.result, result.reason) == (Result.PERMERROR, "a From that is not signed")
    twice = b"From: x@example.net\r\n" + MESSAGE
    assert (await one(signed(twice, include_headers=[b"from", b"from", b"to"]), zone())).result is Result.PASS


async def test_a_message_without_from() -> None:
    message = signed().replace(b"\r\nFrom: a@example.com", b"")
    assert (await one(message, zone())).reason == "no From"


async def test_a_body_signed_in_part_is_reported() -> None:
    message = signed(length=True)
    assert (await one(message, zone())).covers_body
    result = await one(message + b"appended\r\n", zone())
    assert result.result is Result.PASS
    assert not result.covers_body
    assert result.body_length - result.signed_length == len(b"\r\n\r\n") + len(b"appended\r\n")
    inspection = DkimInspection(VerifyRules(), NOW)
    for start in range(0, len(message) + 700, 7):
        inspection.write((message + b"appended\r\n" * 70)[start : start + 7])
    assert [one.result for one in await inspection.results(zone())] == [Result.PASS]
    shorter = message.replace(b"Bye", b"")
    assert (await one(shorter, zone())).reason == "body is shorter than l="


# Keys


@pytest.mark.parametrize(
    ("record", "result", "reason"),
    [
        ("p={p}", Result.PASS, ""),
        ("v=DKIM1; p={p}", Result.PASS, ""),
        ("v=DKIM1; k=rsa; t=y; p={p};", Result.PASS, ""),
        ("v=DKIM1; h=sha1 : sha256; s=email; p={p}", Result.PASS, ""),
        ("v=DKIM1; s=*; n=a note; x=unknown; p={p}", Result.PASS, ""),
        ("k=rsa; v=DKIM1; p={p}", Result.PERMERROR, "key record: v= is not DKIM1, or not first"),
        ("v=DKIM2; p={p}", Result.PERMERROR, "key record: v= is not DKIM1, or not first"),
        ("v=DKIM1; p=", Result.PERMERROR, "key was revoked"),
        ("v=DKIM1; k=rsa", Result.PERMERROR, "key record: no p="),
        ("v=DKIM1; p=!!", Result.PERMERROR, "key record: p= is not base64"),
        ("v=DKIM1; p=AAAA", Result.PERMERROR, "p= holds no rsa key that can be read"),
        ("v=DKIM1; k=ed25519; p={p}", Result.PERMERROR, "key is of kind ed25519, signature of rsa"),
        ("v=DKIM1; k=dsa; p={p}", Result.PERMERROR, "key is of kind dsa, signature of rsa"),
        ("v=DKIM1; h=sha1; p={p}", Result.PERMERROR, "key does not allow sha256"),
        ("v=DKIM1; s=tlsrpt; p={p}", Result.PERMERROR, "key is not for e-mail"),
        ("nonsense", Result.PERMERROR, "key record: bad syntax: nonsense"),
        ("v=DKIM1; p=" + "A" * 65000, Result.PERMERROR, "key record: too long"),
    ],
)
async def test_key_records(record: str, result: Result, reason: str) -> None:
    found = await one(signed(), zone(record.replace("{p}", public(KEY))))
    assert (found.result, found.reason) == (result, reason)
    assert found.testing == ("t=y" in record)


async def test_a_bare_rsa_key_is_a_key_too() -> None:
    assert (await one(signed(), zone(f"v=DKIM1; p={public(KEY, 'PKCS1')}"))).result is Result.PASS


async def test_of_several_records_the_first_that_is_a_key_counts() -> None:
    answers = FakeResolver({NAME: {"TXT": ["some other text", f"v=DKIM1; p={public(KEY)}"]}})
    assert (await one(signed(), answers)).result is Result.PASS


async def test_no_key_and_no_answer_are_told_apart() -> None:
    assert (await one(signed(), FakeResolver({}))).result is Result.PERMERROR
    result = await one(signed(), FakeResolver({}, failures=[NAME]))
    assert (result.result, result.reason) == (Result.TEMPERROR, "no answer from DNS")


async def test_a_key_may_forbid_subdomains() -> None:
    message = signed(identity=b"@sub.example.com")
    assert (await one(message, zone())).result is Result.PASS
    strict = zone(f"v=DKIM1; t=s; p={public(KEY)}")
    assert (await one(message, strict)).reason == "key does not allow subdomains in i="
    assert (await one(signed(identity=b"u@example.com"), strict)).result is Result.PASS


async def test_small_keys_and_old_hashes_prove_nothing() -> None:
    message = signed(key=SMALL_KEY)
    assert (await one(message, zone(key=SMALL_KEY))).result is Result.PASS
    result = await one(message, zone(key=SMALL_KEY), VerifyRules(minimum_key_bits=2048))
    assert (result.result, result.reason) == (Result.POLICY, "key of 1024 bits is too small")
    sha1 = await one(signed(signature_algorithm=b"rsa-sha1"), zone())
    assert (sha1.result, sha1.algorithm, sha1.reason) == (Result.POLICY, "rsa-sha1", "rsa-sha1 proves nothing")


# Signatures that are wrong in themselves

GOOD = b"v=1; a=rsa-sha256; d=example.com; s=sel; h=from; bh=AAAA; b=AAAA"


@pytest.mark.parametrize(
    ("tags", "result", "reason"),
    [
        (GOOD + b"; x=1700000000", Result.POLICY, "signature expired"),
        (GOOD + b"; t=1900000000", Result.POLICY, "signature is from the future"),
        (GOOD + b"; t=1700000000; x=1600000000", Result.NEUTRAL, "x= is before t="),
        (GOOD + b"; t=now", Result.NEUTRAL, "t= is not a number that we can use"),
        (GOOD + b"; x=" + b"9" * 400, Result.NEUTRAL, "x= is not a number that we can use"),
        (GOOD + b"; l=", Result.NEUTRAL, "l= is not a number that we can use"),
        (GOOD + b"; l=-1", Result.NEUTRAL, "l= value is not a decimal integer (-1)"),
        (GOOD + b"; c=odd/simple", Result.NEUTRAL, "c= has no canonicalization that we know"),
        (GOOD + b"; c=relaxed/odd", Result.NEUTRAL, "c= has no canonicalization that we know"),
        (GOOD + b"; q=http", Result.NEUTRAL, "q= has no method that we know"),
        (GOOD + b"; d=example.net", Result.NEUTRAL, "bad syntax: d"),
        (
            GOOD + b"; i=@example.net",
            Result.NEUTRAL,
            "i= domain is not a subdomain of d= (i=@example.net d=example.com)",
        ),
        (GOOD + b"; i=example.com", Result.NEUTRAL, None),
        (GOOD.replace(b"h=from", b"h=to:subject"), Result.NEUTRAL, "From is not signed"),
        (GOOD.replace(b"h=from", b"h=from::to"), Result.NEUTRAL, "h= has an empty name"),
        (GOOD.replace(b"h=from; ", b""), Result.NEUTRAL, "missing h="),
        (GOOD.replace(b"v=1", b"v=2"), Result.NEUTRAL, "v= value is not 1 (2)"),
        (GOOD.replace(b"rsa-sha256", b"dsa"), Result.NEUTRAL, "unknown signature algorithm: dsa"),
        (GOOD.replace(b"b=AAAA", b"b=\x80"), Result.NEUTRAL, None),
        (GOOD.replace(b"bh=AAAA", b"bh=A!AA"), Result.NEUTRAL, None),
        (b"", Result.NEUTRAL, None),
        (b";;;;", Result.NEUTRAL, None),
        (b"=;=", Result.NEUTRAL, None),
        (b"v", Result.NEUTRAL, None),
        (GOOD.replace(b"b=AAAA", b"b=" + b" " * 8100), Result.NEUTRAL, None),
        (GOOD.replace(b"bh=AAAA", b"bh=" + b"A " * 4000), Result.FAIL, "body hash did not verify"),
        (GOOD + b"; z=" + b"x" * 100_000, Result.NEUTRAL, "field larger than 8192 bytes"),
    ],
)
async def test_signatures_that_cannot_be_used(tags: bytes, result: Result, reason: str | None) -> None:
    message = b"DKIM-Signature: " + tags + b"\r\nFrom: a@example.com\r\n\r\nx\r\n"
    found = await one(message, zone())
    assert found.result is result, found
    assert reason is None or found.reason == reason


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=100))
async def test_no_content_whatever_raises(header: bytes, body: bytes) -> None:
    for message in (header + body, b"DKIM-Signature: " + header + b"\r\n\r\n" + body, GOOD.join([header, body])):
        for result in await verify(message, zone(), VerifyRules(), NOW):
            assert result.result is not Result.PASS


@pytest.mark.parametrize(
    "top",
    [
        b" folded from nothing\r\n", b"From nobody Sat Nov 21\r\n", b"no colon here\r\n", b"X-A : blank\r\n", b": \r\n",
        b"\xff\xfe: x\r\n", b"X: \r bare \n lf\r\n", b"X:" + b" " * 100_000 + b"\r\n",
    ],
)  # fmt: skip
async def test_odd_header_lines_do_no_harm_to_a_good_signature(top: bytes) -> None:
    assert (await one(top + signed(), zone())).result is Result.PASS


async def test_only_so_many_signatures_are_looked_at() -> None:
    message = signed()
    field, _, rest = message.partition(b"\r\nFrom:")
    answers = zone()
    results = await verify((field + b"\r\n") * 100 + b"From:" + rest, answers, VerifyRules(signature_limit=3), NOW)
    assert [r.result for r in results] == [Result.PASS] * 3 + [Result.NEUTRAL]
    assert results[3].reason == "one of 100 signatures; only 3 are looked at"
    assert len(answers.queries) == 1


async def test_a_header_without_end_is_not_kept() -> None:
    inspection = DkimInspection(VerifyRules(), NOW)
    for _ in range(100):
        inspection.write(b"X: " + b"y" * 100_000 + b"\r\n")
    (result,) = await inspection.results(zone())
    assert (result.result, result.reason) == (Result.NEUTRAL, f"header larger than {MAXIMUM_HEADER} bytes")


@pytest.mark.parametrize("message", [b"", b"\r\n", b"From: a@b\r\n", b"From: a@b\r\n\r\n", HEADER + b"\r\n" + BODY])
async def test_without_signatures_there_are_no_results(message: bytes) -> None:
    assert await verify(message, zone(), VerifyRules(), NOW) == ()


@pytest.mark.parametrize("unit", [b" ", b"\t", b" \t", b"\r\n", b" \r\n", b"\r", b"\n", b"\r\n\n", b"a "])
async def test_a_megabyte_of_anything_takes_little_time(unit: bytes) -> None:
    import time

    message = b"DKIM-Signature: " + GOOD + b"; c=relaxed/relaxed\r\nFrom: a@b\r\n\r\n" + unit * (1_000_000 // len(unit))
    start = time.process_time()
    inspection = DkimInspection(VerifyRules(), NOW)
    for position in range(0, len(message), 65536):
        inspection.write(message[position : position + 65536])
    await inspection.results(zone())
    assert time.process_time() - start < 1.0


async def test_many_names_and_many_fields_take_little_time() -> None:
    import time

    names = b":".join(b"f%d" % number for number in range(1200))
    tags = GOOD.replace(b"h=from", b"h=from:" + names)
    message = b"DKIM-Signature: " + tags + b"\r\nFrom: a@b\r\n" + b"f1:\r\n" * 40_000 + b"\r\n"
    start = time.process_time()
    assert (await one(message, zone())).reason == f"header of more than {MAXIMUM_LINES} lines"
    assert (await one(message.replace(b"f1:\r\n", b"", 36_000), zone())).result is Result.FAIL
    assert time.process_time() - start < 1.0


async def test_keys_are_asked_for_while_the_body_comes() -> None:
    asked: list[str] = []

    class Slow(FakeResolver):
        async def query(self, name: str, rdtype: str) -> Answer:
            asked.append(name)
            await asyncio.sleep(0)
            return await super().query(name, rdtype)

    names = Slow(RFC8463_ZONE)
    inspection = DkimInspection(VerifyRules(), NOW, names)
    header, _, body = RFC8463.partition(b"\r\n\r\n")
    inspection.write(header + b"\r\n\r\n")
    await asyncio.sleep(0)
    assert sorted(asked) == sorted(RFC8463_ZONE)
    inspection.write(body)
    assert [one.result for one in await inspection.results(names)] == [Result.PASS, Result.PASS]
    assert len(asked) == 2


async def test_a_message_that_is_given_up_asks_nobody() -> None:
    inspection = DkimInspection(VerifyRules(), NOW, FakeResolver({}))
    inspection.write(RFC8463)
    inspection.cancel()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
