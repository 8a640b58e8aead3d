"""SCRAM-SHA-256-PLUS: a login is good on the TLS channel that it was made for, and on no other (RFC 5802 6)."""

from __future__ import annotations

import base64
import hashlib
import smtplib
import ssl
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pymta.auth.passdb import make_stored
from pymta.protocol.sasl.scram import scram_client
from pymta.runtime.tls_session import channel_bindings
from tests.support.peers import environment, program
from tests.support.system import PymtaSystem, eventually
from tests.support.tls import authority, client_context, server_pair

Start = Callable[..., PymtaSystem]
USER, PASSWORD = "joe@example.com", "a long password"
ALL = "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN"


def _server(pymta_system: Start, folder: Path, **values: str) -> PymtaSystem:
    pair = server_pair()
    file = folder / "passwords"
    file.write_text(f"{USER}:{make_stored(PASSWORD, 'SCRAM-SHA-256')}\n")
    file.chmod(0o644)
    return pymta_system(
        {
            "smtpd_tls_security_level": "may",
            "smtpd_tls_cert_file": str(pair.certificate),
            "smtpd_tls_key_file": str(pair.key),
            "smtpd_sasl_auth_enable": "yes",
            "smtpd_sasl_type": "file",
            "smtpd_sasl_path": str(file),
            **values,
        }
    )


def _secured(system: PymtaSystem, version: ssl.TLSVersion) -> smtplib.SMTP:
    context = client_context()
    context.maximum_version = version
    session = system.smtp()
    session.starttls(context=context)
    session.ehlo()
    return session


def _log_in(session: smtplib.SMTP, mechanism: str, kind: str, binding: bytes) -> int:
    """The last reply's code. `kind` of binding, `y` and `n` stand in the header as they are."""
    client = scram_client(USER, PASSWORD, "a-nonce", binding or None, binding_type=kind, could_bind=kind == "y")
    first = next(client)
    assert first is not None
    code, text = session.docmd("AUTH", f"{mechanism} {base64.b64encode(first).decode()}")
    while code == 334:
        answer = client.send(base64.b64decode(text))
        code, text = session.docmd(base64.b64encode(answer or b"").decode())
    return code


def _bindings(session: smtplib.SMTP) -> Mapping[str, bytes]:
    assert isinstance(session.sock, ssl.SSLSocket)
    return channel_bindings(session.sock, is_server=False)  # type: ignore[arg-type]  # it has what is asked for


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        (ssl.TLSVersion.TLSv1_2, "tls-server-end-point"),
        (ssl.TLSVersion.TLSv1_2, "tls-unique"),
        (ssl.TLSVersion.TLSv1_3, "tls-server-end-point"),
        (ssl.TLSVersion.TLSv1_3, "tls-exporter"),
    ],
)
def test_every_kind_of_binding(pymta_system: Start, tmp_path: Path, version: ssl.TLSVersion, kind: str) -> None:
    system = _server(pymta_system, tmp_path)
    with _secured(system, version) as session, _secured(system, version) as other:
        assert session.esmtp_features["auth"].split() == ALL.split()
        good = _bindings(session)[kind]
        if kind == "tls-unique":
            assert session.sock is not None
            assert good == session.sock.get_channel_binding("tls-unique")  # type: ignore[attr-defined]  # an SSLSocket
        if kind == "tls-server-end-point":
            assert good == hashlib.sha256(server_pair().der).digest()
        else:
            # What somebody in the middle would have: the binding of his own channel.
            assert _log_in(session, "SCRAM-SHA-256-PLUS", kind, _bindings(other)[kind]) == 535
        assert _log_in(session, "SCRAM-SHA-256-PLUS", kind, bytes(32)) == 535
        assert _log_in(session, "SCRAM-SHA-256-PLUS", kind, good) == 235
    eventually(lambda: "SASL SCRAM-SHA-256-PLUS authentication failed: channel binding" in system.log)


def test_somebody_who_hides_plus_from_the_client_is_found_out(pymta_system: Start, tmp_path: Path) -> None:
    system = _server(pymta_system, tmp_path)
    with _secured(system, ssl.TLSVersion.TLSv1_3) as session:
        assert _log_in(session, "SCRAM-SHA-256", "y", b"") == 535
        assert _log_in(session, "SCRAM-SHA-256", "n", b"") == 235
    with system.smtp() as session:
        # Without TLS there is nothing to bind to, and nothing to hide.
        session.ehlo()
        assert "SCRAM-SHA-256-PLUS" not in session.esmtp_features["auth"]
        assert _log_in(session, "SCRAM-SHA-256", "y", b"") == 235


def test_a_filter_takes_plus_away_without_harm(pymta_system: Start, tmp_path: Path) -> None:
    system = _server(pymta_system, tmp_path, smtpd_sasl_mechanism_filter="!SCRAM-SHA-256-PLUS, static:all")
    with _secured(system, ssl.TLSVersion.TLSv1_3) as session:
        assert session.esmtp_features["auth"].split() == ALL.split()[1:]
        assert _log_in(session, "SCRAM-SHA-256", "y", b"") == 235


@pytest.mark.parametrize(
    ("values", "method"),
    [({}, "SCRAM-SHA-256-PLUS"), ({"smtp_sasl_mechanism_filter": "scram-sha-256"}, "SCRAM-SHA-256")],
)
def test_our_client(pymta_system: Start, tmp_path: Path, values: dict[str, str], method: str) -> None:
    server = _server(pymta_system, tmp_path, mynetworks="192.0.2.0/24")
    (tmp_path / "accounts").write_text(f"[127.0.0.1]:{server.port} {USER}:{PASSWORD}\n")
    client = pymta_system(
        {
            "relayhost": f"[127.0.0.1]:{server.port}",
            "mydestination": "",
            "smtp_sasl_auth_enable": "yes",
            "smtp_sasl_password_maps": f"texthash:{tmp_path}/accounts",
            "smtp_tls_security_level": "verify",
            "smtp_tls_verify_cert_match": "mx.example.com",
            "smtp_tls_CAfile": str(authority().file),
            **values,
        }
    )
    with client.smtp() as session:
        session.sendmail("a@example.org", ["root@mail.example.com"], "Subject: x\r\n\r\nhi\r\n")
    eventually(lambda: f"sasl_method={method}, sasl_username={USER}" in server.log)
    eventually(lambda: "status=sent" in client.log)


@pytest.mark.parametrize("options", [[], ["--priority=NORMAL:-VERS-TLS1.3"]])
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256-PLUS", "PLAIN", "LOGIN"])
def test_gnu_sasl(pymta_system: Start, tmp_path: Path, mechanism: str, options: list[str]) -> None:
    """Somebody else's client: it binds to the exporter of TLS 1.3, and to tls-unique before."""
    system = _server(pymta_system, tmp_path)
    call = [program("gsasl"), "--smtp", f"--connect=127.0.0.1:{system.port}", "--hostname=mx.example.com", "--starttls"]
    call += ["--x509-ca-file=", f"--mechanism={mechanism}", *options]
    call += [f"--authentication-id={USER}", f"--password={PASSWORD}"]
    done = subprocess.run(call, input=b"", capture_output=True, timeout=30, check=False, env=environment())
    assert b"235 2.7.0" in done.stdout, (done.stdout, done.stderr)
