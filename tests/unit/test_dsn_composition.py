"""RFC 3464 text: folding, xtext, and that no input can add a line."""

from __future__ import annotations

import email

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymta.protocol.dsn import Report, ReportedRecipient, decode_xtext, delivery_status, explanation, wrap


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        ("QQ+2B314", "QQ+314"),
        ("plain", "plain"),
        ("a+3Db", "a=b"),
        ("+2b+4", "+2b+4"),
        (r"\x{FC}x", "üx"),
        (r"\x{FFFFFF}", r"\x{FFFFFF}"),
    ],
)
def test_xtext(text: str, decoded: str) -> None:
    assert decode_xtext(text) == decoded


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("short", ["short"]),
        ("", [""]),
        ("a" * 79, ["a" * 79]),
        ("a" * 200, ["a" * 200]),
        (f"{'a' * 78} b c", [f"{'a' * 78}", "    b c"]),
        (f"{'a' * 77} b c", [f"{'a' * 77} b", "    c"]),
        (f"{'a' * 100} b", ["a" * 100, "    b"]),
        (f"x {'b' * 74} {'c' * 74} d", [f"x {'b' * 74}", f"    {'c' * 74}", "    d"]),
    ],
)
def test_wrap(text: str, lines: list[str]) -> None:
    assert wrap(text).split("\r\n") == lines


@given(st.text(max_size=400))
@settings(max_examples=100, deadline=None)
def test_wrapping_keeps_every_character(text: str) -> None:
    lines = wrap(text).split("\r\n")
    assert sum(len(line.removeprefix("    ") if number else line) for number, line in enumerate(lines)) + len(
        lines
    ) - 1 == len(text)
    assert all(line.isprintable() or " " in line or not line.isascii() for line in lines)


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
@settings(max_examples=100, deadline=None)
def test_no_input_adds_a_field(reason: str, orcpt: str, envid: str, address: str) -> None:
    recipient = ReportedRecipient(
        address, "failed", "5.0.0", reason, original=address, orcpt=f"rfc822;{orcpt}", remote_mta=reason
    )
    report = Report("mx.example", "Q1", address, "date", (recipient,), envid=envid)
    text = delivery_status(report)
    groups = text.encode("utf-8", "surrogatepass").split(b"\r\n\r\n")
    assert groups[2:] == [b""]
    names = [[line.split(b":")[0] for line in group.split(b"\r\n") if line[:1] != b" "] for group in groups[:2]]
    expected = [b"Reporting-MTA", b"Original-Envelope-Id", b"X-Postfix-Queue-ID", b"X-Postfix-Sender", b"Arrival-Date"]
    assert names[0] == [name for name in expected if envid or name != b"Original-Envelope-Id"]
    fields = [b"Final-Recipient", b"Original-Recipient", b"Action", b"Status", b"Remote-MTA", b"Diagnostic-Code"]
    assert names[1] == [name for name in fields if reason or name != b"Remote-MTA"]
    assert b"\n" not in explanation(recipient).encode("utf-8", "surrogatepass").replace(b"\r\n", b"")


def test_the_email_package_reads_the_fields_back() -> None:
    recipient = ReportedRecipient("x@a.example", "delayed", "4.4.1", "try later, " * 20, remote_mta="h.example")
    report = Report("mx.example", "Q1", "a@b.example", "date", (recipient,), retry_until="later")
    message = email.message_from_string("Content-Type: message/delivery-status\r\n\r\n" + delivery_status(report))
    first, second = message.get_payload()[:2]  # type: ignore[misc]
    assert first["X-Postfix-Sender"] == "rfc822; a@b.example"  # type: ignore[index, call-overload]
    assert second["Will-Retry-Until"] == "later"  # type: ignore[index, call-overload]
    diagnostic = " ".join(str(second["Diagnostic-Code"]).split())  # type: ignore[index, call-overload]
    assert diagnostic == "X-Postfix; " + ("try later, " * 20).strip()
