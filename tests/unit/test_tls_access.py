"""Restrictions about TLS and client certificates."""

from __future__ import annotations

from pathlib import Path

import pytest

from pymta.model.tls import PeerCertificate, TlsSession
from tests.support.access import Policy, rcpt

SHOWN = PeerCertificate("client.example.net", "Test CA", "AA:BB:CC", "DD:EE:FF")
ELSEWHERE = "user@elsewhere.example"
REFUSED = "454 4.7.1 <user@elsewhere.example>: Relay access denied"


def _tls(certificate: PeerCertificate | None = SHOWN, trusted: bool = False) -> TlsSession:
    return TlsSession("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256, 256, certificate=certificate, is_trusted=trusted)


def _relay(tmp_path: Path, rule: str, **values: str) -> Policy:
    return Policy(tmp_path, smtpd_relay_restrictions=f"{rule}, defer_unauth_destination", **values)


@pytest.mark.parametrize(
    ("known", "tls", "permitted"),
    [
        ("AA:BB:CC", _tls(), True),
        ("DD:EE:FF", _tls(), True),
        ("AA:BB:CC", _tls(trusted=True), True),
        ("11:22:33", _tls(trusted=True), False),
        ("AA:BB:CC", _tls(None), False),
        ("AA:BB:CC", None, False),
    ],
)
async def test_permit_tls_clientcerts(tmp_path: Path, known: str, tls: TlsSession | None, permitted: bool) -> None:
    table = tmp_path / "clients"
    table.write_text(f"{known} client\n")
    policy = _relay(tmp_path, "permit_tls_clientcerts", relay_clientcerts=f"texthash:{table}")
    reply = await policy.ask(rcpt(ELSEWHERE, tls=tls))
    assert (reply == "OK") is permitted, reply


async def test_permit_tls_clientcerts_without_a_table(tmp_path: Path) -> None:
    assert await _relay(tmp_path, "permit_tls_clientcerts").ask(rcpt(ELSEWHERE, tls=_tls())) != "OK"


async def test_permit_tls_clientcerts_that_cannot_know(tmp_path: Path) -> None:
    policy = _relay(tmp_path, "permit_tls_clientcerts", relay_clientcerts="fail:down")
    assert (await policy.ask(rcpt(ELSEWHERE, tls=_tls()))).startswith("451 4.3.0")


@pytest.mark.parametrize(
    ("tls", "permitted"),
    [(_tls(trusted=True), True), (_tls(), False), (_tls(None, trusted=True), False), (None, False)],
)
async def test_permit_tls_all_clientcerts(tmp_path: Path, tls: TlsSession | None, permitted: bool) -> None:
    reply = await _relay(tmp_path, "permit_tls_all_clientcerts").ask(rcpt(ELSEWHERE, tls=tls))
    assert (reply == "OK") is permitted, reply


async def test_reject_plaintext_session(tmp_path: Path) -> None:
    policy = Policy(tmp_path, smtpd_recipient_restrictions="reject_plaintext_session", plaintext_reject_code=450)
    assert await policy.ask(rcpt()) == "450 4.7.1 Session encryption is required"
    assert await policy.ask(rcpt(tls=_tls(None))) == "OK"
    policy = Policy(tmp_path, smtpd_recipient_restrictions="reject_plaintext_session", plaintext_reject_code=550)
    assert await policy.ask(rcpt()) == "550 5.7.1 Session encryption is required"


@pytest.mark.parametrize(
    ("entry", "reply"),
    [
        ("AA:BB:CC REJECT", "554 5.7.1 <AA:BB:CC>: Client certificate rejected: Access denied"),
        ("DD:EE:FF 450 later", "450 4.7.1 <AA:BB:CC>: Client certificate rejected: later"),
        ("AA:BB REJECT", "OK"),
    ],
)
async def test_check_ccert_access(tmp_path: Path, entry: str, reply: str) -> None:
    table = tmp_path / "certificates"
    table.write_text(f"{entry}\n")
    policy = Policy(tmp_path, smtpd_recipient_restrictions=f"check_ccert_access texthash:{table}")
    assert await policy.ask(rcpt(tls=_tls())) == reply
    assert await policy.ask(rcpt(tls=_tls(None))) == "OK"
    assert await policy.ask(rcpt()) == "OK"
