"""Authentication-Results and Received-SPF: what we write, and which fields of others claim to be ours (RFC 8601)."""

from __future__ import annotations

import email
import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymta.auth.authentication_results import authentication_results, is_from, received_spf, summary
from pymta.model.authentication import (
    AuthenticationResults,
    DkimResult,
    NameResult,
    Result,
    SpfIdentity,
    SpfResult,
)

ID = "mx.example.com"


def spf(result: Result = Result.PASS, identity: SpfIdentity = SpfIdentity.MAIL_FROM, **more: str) -> SpfResult:
    values = {
        "domain": "example.org",
        "sender": "joe@example.org",
        "client_address": "192.0.2.1",
        "helo": "h.example.org",
    }
    return SpfResult(result, identity, **{**values, **more})


def results(
    *found: SpfResult | DkimResult, dkim: bool = False, name: NameResult | None = None
) -> AuthenticationResults:
    return AuthenticationResults(
        ID,
        "192.0.2.1",
        name=name,
        spf=tuple(one for one in found if isinstance(one, SpfResult)),
        checks_dkim=dkim,
        dkim=tuple(one for one in found if isinstance(one, DkimResult)),
    )


PASSED = DkimResult(
    Result.PASS, "example.org", "sel", "@example.org", "rsa-sha256", "Abc+/12345678", 2048, ("from",), 10, 10
)


def test_a_whole_field() -> None:
    found = results(
        PASSED,
        spf(Result.NONE, SpfIdentity.HELO),
        spf(),
        dkim=True,
        name=NameResult(Result.PASS, "192.0.2.1", "h.example.org"),
    )
    assert authentication_results(found) == (
        b"Authentication-Results: mx.example.com;\r\n"
        b"\tdkim=pass (2048-bit key) header.d=example.org header.i=@example.org\r\n"
        b'\theader.s=sel header.a=rsa-sha256 header.b="Abc+/123";\r\n'
        b"\tspf=none smtp.helo=h.example.org;\r\n"
        b"\tspf=pass smtp.mailfrom=joe@example.org;\r\n"
        b"\tiprev=pass (h.example.org) policy.iprev=192.0.2.1\r\n"
    )


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (results(), "none"),
        (results(dkim=True), "dkim=none"),
        (results(spf(Result.FAIL)), "spf=fail smtp.mailfrom=joe@example.org"),
        (
            results(spf(Result.TEMPERROR, problem='DNS "x"')),
            'spf=temperror reason="DNS \\"x\\"" smtp.mailfrom=joe@example.org',
        ),
        (results(spf(sender='a"b c@example.org')), 'spf=pass smtp.mailfrom="a\\"b c"@example.org'),
        (results(spf(sender="u@[192.0.2.1]")), 'spf=pass smtp.mailfrom="u@[192.0.2.1]"'),
        (results(spf(sender="x@a;b")), 'spf=pass smtp.mailfrom="x@a;b"'),
        (results(spf(Result.PASS, SpfIdentity.HELO, helo="[192.0.2.1]")), 'spf=pass smtp.helo="[192.0.2.1]"'),
        (
            results(DkimResult(Result.NEUTRAL, reason="bad syntax: \r\nX: y"), dkim=True),
            'dkim=neutral reason="bad syntax: ??X: y"',
        ),
        (
            results(DkimResult(Result.PASS, "e.org", body_length=20, signed_length=5, key_bits=1024), dkim=True),
            'dkim=pass reason="only 5 of 20 bytes of the body are signed" (1024-bit key) header.d=e.org',
        ),
        (
            results(DkimResult(Result.FAIL, "e.org", key_bits=1024, testing=True, reason="no"), dkim=True),
            'dkim=fail reason="no" (1024-bit key, testing) header.d=e.org',
        ),
        (
            results(name=NameResult(Result.FAIL, "2001:db8::1")),
            'iprev=fail policy.iprev="2001:db8::1"',
        ),
    ],
)
def test_parts(found: AuthenticationResults, text: str) -> None:
    assert summary(found) == text


@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=300))
def test_no_value_breaks_out_of_the_field(sender: str, helo: str, reason: str) -> None:
    found = results(
        spf(sender=f"{sender}@{helo}", helo=helo, problem=reason, mechanism=reason),
        DkimResult(Result.FAIL, domain=helo, selector=sender, identity=reason, reason=reason),
        dkim=True,
        name=NameResult(Result.PASS, helo, sender),
    )
    for field in (
        authentication_results(found),
        received_spf(found.spf[0], ID),
        authentication_results(found, smtputf8=True),
        received_spf(found.spf[0], ID, smtputf8=True),
    ):
        assert field.endswith(b"\r\n")
        lines = field.split(b"\r\n")[:-1]
        assert all(line.startswith(b"\t") and line.strip() for line in lines[1:])
        assert b"\r" not in field.replace(b"\r\n", b"") and b"\n" not in field.replace(b"\r\n", b"")
        assert len(email.message_from_bytes(field + b"\r\n", policy=email.policy.SMTPUTF8).keys()) == 1


def test_only_internationalized_mail_gets_more_than_ascii() -> None:
    found = results(spf(sender="jö@example.org"))
    assert b"smtp.mailfrom=j?@example.org" in authentication_results(found)
    assert "smtp.mailfrom=jö@example.org".encode() in authentication_results(found, smtputf8=True)
    assert "of jö@example.org".encode() in received_spf(found.spf[0], ID, smtputf8=True)


def test_received_spf_in_the_form_that_people_look_for() -> None:
    field = received_spf(spf(mechanism="ip4:192.0.2.0/24"), ID)
    assert field == (
        b"Received-SPF: pass (mx.example.com: domain of joe@example.org designates 192.0.2.1 as permitted sender)\r\n"
        b'\tclient-ip=192.0.2.1; envelope-from="joe@example.org"; helo=h.example.org;\r\n'
        b'\treceiver=mx.example.com; identity=mailfrom; mechanism="ip4:192.0.2.0/24"\r\n'
    )


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (Result.FAIL, "does not designate 192.0.2.1 as permitted sender)"),
        (Result.SOFTFAIL, "(mx.example.com: transitioning domain of joe@example.org does not designate"),
        (Result.NEUTRAL, "192.0.2.1 is neither permitted nor denied by domain of joe@example.org)"),
        (Result.NONE, "domain of joe@example.org does not designate permitted sender hosts)"),
        (Result.TEMPERROR, "error in processing during lookup of joe@example.org)"),
        (Result.PERMERROR, "permanent error in processing domain of joe@example.org)"),
    ],
)
def test_received_spf_says_each_result(result: Result, words: str) -> None:
    field = received_spf(spf(result), ID).decode()
    assert field.startswith(f"Received-SPF: {result.value} (")
    assert words in field


def test_received_spf_of_a_helo_name() -> None:
    field = received_spf(spf(Result.PASS, SpfIdentity.HELO), ID)
    assert b"domain of h.example.org designates" in field
    assert b"identity=helo" in field and b"envelope-from" not in field


@pytest.mark.parametrize(
    "value",
    [
        b" mx.example.com; spf=pass",
        b"mx.example.com;spf=pass",
        b" MX.Example.COM; none",
        b" mx.example.com. ; none",
        b" mx.example.com 1; none",
        b" mx.example.com/1; none",
        b"\r\n\tmx.example.com;\r\n\tspf=pass",
        b' "mx.example.com"; none',
        b' "mx\\.example.com"; none',
        b" (a (nested \\) comment)) (another)\r\n mx.example.com (c); none",
        b" mx.example.com\r\n",
        b" mx.example.com(comment); none",
    ],
)
def test_fields_in_our_name(value: bytes) -> None:
    assert is_from(value, ID)
    assert is_from(value, ID.upper() + ".")


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" ;",
        b" other.example.com; spf=pass",
        b" xmx.example.com; spf=pass",
        b" mx.example.com.evil.example; spf=pass",
        b" spf=pass (sender IP is 192.0.2.1)\r\n smtp.mailfrom=example.com; mx.example.com",
        b" (mx.example.com) other; none",
        b' "mx.example.com',
        b" (mx.example.com; none",
        b" (" * 5000 + b"mx.example.com",
        b"\xff\xfe; none",
    ],
)
def test_fields_in_the_name_of_others(value: bytes) -> None:
    assert not is_from(value, ID)


@given(st.binary(max_size=200))
def test_any_value_is_somebodys(value: bytes) -> None:
    assert is_from(value, ID) in (True, False)
