"""Keys and certificates from files: what is found in them, and what is said where they cannot be used."""

import contextlib
import hashlib
import os
import shutil
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymta.errors import ConfigError
from pymta.runtime.tls_certificate import CertificateError, parse_certificate
from pymta.runtime.tls_files import PemFiles, pairs_of_text
from pymta.runtime.tls_make import make_own_key, own_key_files
from tests.support.tls import authority, lone_pair, openssl, server_pair

KEY = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


# Certificates.


def test_a_certificate_says_what_openssl_says_of_it() -> None:
    pair = server_pair()
    found = parse_certificate(pair.der)
    assert (found.subject, found.issuer, found.is_self_issued) == ("mx.example.com", "Test CA", False)
    said = openssl("x509", "-in", pair.certificate, "-noout", "-fingerprint", "-sha256")
    assert said.strip().rpartition("=")[2] == found.fingerprint("sha256")
    key = openssl("x509", "-in", pair.certificate, "-noout", "-pubkey")
    der = ssl.PEM_cert_to_DER_cert(key.replace("PUBLIC KEY", "CERTIFICATE"))
    assert found.public_key_fingerprint("sha1") == hashlib.sha1(der).digest().hex(":").upper()
    assert timedelta(days=29) < found.not_after - datetime.now(UTC) < timedelta(days=31)


def test_a_self_signed_certificate() -> None:
    found = parse_certificate(lone_pair().der)
    assert found.is_self_issued and found.issuer == found.subject == "lone.example.com"


def test_an_issuer_without_a_common_name_shows_its_organization(tmp_path: Path) -> None:
    files = ("-keyout", tmp_path / "k", "-out", tmp_path / "c")
    openssl("req", "-x509", "-newkey", "rsa:1024", "-nodes", *files, "-subj", "/O=Some Company/OU=x")
    found = parse_certificate(ssl.PEM_cert_to_DER_cert((tmp_path / "c").read_text()))
    assert (found.subject, found.issuer) == ("", "Some Company")


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2000), st.binary(max_size=4), st.booleans())
def test_broken_certificates_are_an_error_of_one_kind(at: int, patch: bytes, cut: bool) -> None:
    der = server_pair().der
    at = min(at, len(der))
    broken = der[:at] + patch + (b"" if cut else der[at + len(patch) :])
    with contextlib.suppress(CertificateError):
        parse_certificate(broken)


@pytest.mark.parametrize("data", [b"", b"\x30", b"\x30\x80\x00\x00", b"\x30\x85" + b"\xff" * 9, b"hello"])
def test_what_is_no_certificate(data: bytes) -> None:
    with pytest.raises(CertificateError):
        parse_certificate(data)


# Files.


def test_certificate_and_key_in_two_files_or_one(tmp_path: Path) -> None:
    pair = server_pair()
    both = tmp_path / "both.pem"
    both.write_text("a comment\n" + pair.text + authority().file.read_text())
    for certificate, key in ((pair.certificate, pair.key), (both, both)):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        PemFiles().key_pair(str(certificate), str(key)).load(context)


def test_the_chain_goes_along(tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_text(server_pair().text + authority().file.read_text())
    assert len(PemFiles().key_pair(str(both), str(both)).chain) == 2


def test_chain_files_hold_several_keys_in_any_cut(tmp_path: Path) -> None:
    rsa, ecdsa = server_pair(kind="rsa"), server_pair()
    one, two = tmp_path / "one.pem", tmp_path / "two.pem"
    one.write_text(rsa.text + authority().file.read_text() + ecdsa.key.read_text())
    two.write_text(ecdsa.certificate.read_text())
    pairs = PemFiles().chains([str(one), str(two)])
    assert [(pair.key_file, pair.chain_file) for pair in pairs] == [(str(one), str(one)), (str(one), str(two))]
    assert [len(pair.chain) for pair in pairs] == [2, 1]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for pair in pairs:
        pair.load(context)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "neither a private key nor a certificate"),
        ("junk", "neither a private key nor a certificate"),
        (KEY, "no certificate follows the private key"),
        (CERTIFICATE, "the private key must come before its certificates"),
        (KEY + KEY + CERTIFICATE, "is not followed by a certificate"),
        (KEY + CERTIFICATE + KEY, "no certificate follows the private key"),
    ],
)
def test_chain_files_out_of_order(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        pairs_of_text(text.encode(), "chain.pem")


def _refusal(certificate: Path, key: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        PemFiles().key_pair(str(certificate), str(key)).load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    return str(caught.value)


def test_errors_name_the_file_and_the_cause(tmp_path: Path) -> None:
    pair, other = server_pair(), lone_pair()
    absent, empty, secret = tmp_path / "absent.pem", tmp_path / "empty.pem", tmp_path / "secret.pem"
    empty.touch()
    assert _refusal(absent, pair.key) == f"{absent}: cannot be read: No such file or directory"
    assert _refusal(empty, pair.key) == f"{empty}: there is no certificate in this file"
    assert _refusal(pair.certificate, empty) == f"{empty}: there is no private key in this file"
    mismatch = f"{other.key}: the private key does not match the certificate in {pair.certificate}"
    assert _refusal(pair.certificate, other.key) == mismatch
    openssl("pkey", "-in", pair.key, "-aes128", "-passout", "pass:secret", "-out", secret)
    assert _refusal(pair.certificate, secret).startswith(f"{secret}: the private key is encrypted")
    broken = tmp_path / "broken.pem"
    broken.write_text(CERTIFICATE)
    assert str(broken) in _refusal(broken, pair.key)
    assert "Is a directory" in _refusal(tmp_path, pair.key)


def test_an_expired_certificate_is_a_warning() -> None:
    pair = server_pair()
    loaded = PemFiles().key_pair(str(pair.certificate), str(pair.key))
    now = datetime.now(UTC)
    assert loaded.warnings(now) == []
    (late,) = loaded.warnings(now + timedelta(days=60))
    assert late.startswith(f"{pair.certificate}: the certificate of mx.example.com expired on 20")
    (early,) = loaded.warnings(now - timedelta(days=60))
    assert "is not valid before" in early


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to give up root and take it back")
def test_what_root_could_read_stays_known_until_it_changes(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and str(folder) not in ("/", "/tmp"):
            folder.chmod(folder.stat().st_mode | 0o055)
    path = tmp_path / "key.pem"
    path.write_text("old")
    path.chmod(0o600)
    files = PemFiles()
    files.read(str(path))
    os.seteuid(65534)
    try:
        assert files.read(str(path)) == b"old"
        with pytest.raises(ConfigError, match="Permission denied"):
            PemFiles().read(str(path))
        os.seteuid(0)
        path.write_text("new!")
        os.seteuid(65534)
        with pytest.raises(ConfigError, match="it has changed: restart, or let this user read it"):
            files.read(str(path))
    finally:
        os.seteuid(0)


def test_a_key_of_our_own_is_made_once(tmp_path: Path) -> None:
    place = tmp_path / "tls"
    assert make_own_key(place, "mail.example.com") is True
    certificate, key = own_key_files(place)
    assert key.stat().st_mode & 0o777 == 0o600 and place.stat().st_mode & 0o777 == 0o700
    assert parse_certificate(ssl.PEM_cert_to_DER_cert(certificate.read_text())).subject == "mail.example.com"
    before = certificate.read_bytes()
    assert make_own_key(place, "mail.example.com") is False
    assert certificate.read_bytes() == before


def test_a_key_for_a_host_with_a_very_long_name(tmp_path: Path) -> None:
    host = f"{'a' * 60}.{'b' * 60}.example.com"
    make_own_key(tmp_path, host)
    assert f"DNS:{host}" in openssl("x509", "-in", own_key_files(tmp_path)[0], "-noout", "-ext", "subjectAltName")


def test_of_several_processes_one_makes_the_key(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here")
    code = (
        "import sys; from pathlib import Path; from pymta.runtime.tls_make import make_own_key;"
        "print(make_own_key(Path(sys.argv[1]), 'mx.example.com'))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "tls")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert sorted(one.communicate(timeout=60)[0] for one in running) == ["False\n", "False\n", "True\n"]
    certificate, key = own_key_files(tmp_path / "tls")
    PemFiles().key_pair(str(certificate), str(key)).load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
