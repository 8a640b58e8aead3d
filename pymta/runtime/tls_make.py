"""A key and a certificate that nobody vouches for, so that TLS works on a host without any (openssl-req(1))."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

from pymta.errors import ConfigError

_DAYS = 3650


def own_key_files(directory: Path) -> tuple[Path, Path]:
    """Where certificate and key of our own making are."""
    return directory / "certificate.pem", directory / "key.pem"


def make_own_key(directory: Path, host: str) -> bool:
    """Make certificate and key for `host` in `directory` unless they are there; whether they were made.

    Of several processes that want them at once one makes them. Needs the program `openssl`. Raises ConfigError.
    """
    if all(file.exists() for file in own_key_files(directory)):
        return False
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return _make(directory, host)
    except OSError as error:
        raise ConfigError(f"cannot make a certificate: {error.strerror}", name=str(directory)) from error


def _make(directory: Path, host: str) -> bool:
    certificate, key = own_key_files(directory)
    if certificate.exists() and key.exists():
        return False
    new_certificate, new_key = certificate.with_suffix(".new"), key.with_suffix(".new")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", str(_DAYS), "-subj", f"/CN={_common_name(host)}", "-addext", f"subjectAltName=DNS:{host}"]
    command += ["-keyout", str(new_key), "-out", str(new_certificate)]
    try:
        os.close(os.open(new_key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise ConfigError(
                f"openssl could not make a certificate: {done.stderr.strip()[-200:]}", name=str(directory)
            )
        new_key.rename(key)
        new_certificate.rename(certificate)
    except FileNotFoundError as error:
        text = "no certificate is set, and the program openssl is not here to make one"
        raise ConfigError(text, name="smtpd_tls_cert_file") from error
    return True


def _common_name(host: str) -> str:
    """A common name has at most 64 characters; the full name is in subjectAltName."""
    return host[:64]
