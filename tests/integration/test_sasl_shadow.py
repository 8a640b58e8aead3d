"""`smtpd_sasl_type = shadow`: a process that keeps root answers; those that face the network never read the file."""

from __future__ import annotations

import os
import signal
import smtplib
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pymta.auth import libcrypt
from tests.support.system import PymtaSystem, eventually

Start = Callable[..., PymtaSystem]
pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not libcrypt.is_available(), reason="needs root and libcrypt")


@pytest.fixture(params=["single", "roles"])
def system(request: pytest.FixtureRequest, pymta_system: Start, tmp_path: Path) -> PymtaSystem:
    stored = libcrypt.crypt(b"s3cret pass", "$y$j9T$saltsaltsaltsalt") if _knows_yescrypt() else _sha512()
    shadow = tmp_path / "shadow"
    shadow.write_text(
        f"root:*:19000:0:99999:7:::\njoe:{stored}:19000:0:99999:7:::\nann:!{stored}:19000:0:99999:7:::\n"
        f"old:{stored}:19000:0:99999:7::19001:\n"
    )
    shadow.chmod(0o600)
    return pymta_system(
        {
            "process_model": request.param,
            "smtpd_sasl_auth_enable": "yes",
            "smtpd_sasl_type": "shadow",
            "smtpd_sasl_path": str(shadow),
            "smtpd_error_sleep_time": "0",
        }
    )


def _knows_yescrypt() -> bool:
    try:
        return libcrypt.crypt(b"x", "$y$j9T$saltsaltsaltsalt").startswith("$y$")
    except libcrypt.CryptUnavailable:
        return False


def _sha512() -> str:
    return libcrypt.crypt(b"s3cret pass", "$6$saltsalt")


def _log_in(system: PymtaSystem, user: str, password: str = "s3cret pass") -> int:
    with system.smtp() as session:
        session.ehlo()
        assert session.esmtp_features["auth"].split() == ["PLAIN", "LOGIN"]
        try:
            return session.login(user, password)[0]
        except smtplib.SMTPAuthenticationError as error:
            return error.smtp_code


def test_who_may_log_in(system: PymtaSystem) -> None:
    assert _log_in(system, "joe") == 235
    assert _log_in(system, "joe@mail.example.com") == 235
    assert _log_in(system, "joe", "wrong") == 535
    for user in ("ann", "old", "root", "nobody-here", "joe@elsewhere.example"):
        assert _log_in(system, user) == 535, user
    place = system.folder / "spool/pymta/passwords"
    assert place.stat().st_mode & 0o777 == 0o600


def test_nobody_else_may_ask(system: PymtaSystem) -> None:
    """Not even a process of another user that got hold of the socket's name."""
    place = system.folder / "spool/pymta/passwords"
    place.chmod(0o666)
    question = b"".join(len(text).to_bytes(2) + text for text in (b"joe", b"s3cret pass", b"smtp", b""))
    ask = (
        "import os, socket, sys\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "s = socket.socket(socket.AF_UNIX); s.settimeout(10); s.connect(sys.argv[1])\n"
        "try: s.sendall(bytes.fromhex(sys.argv[2]))\n"
        "except OSError: pass\n"
        "try: print(s.recv(100))\n"
        "except OSError: print(b'')\n"
    )
    command = [sys.executable, "-c", ask, str(place), question.hex()]
    assert subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout == "b''\n"


@pytest.mark.parametrize("garbage", [b"", b"\xff\xff", b"\0\1", b"\0\3joe\0\0", b"x" * 5000])
def test_garbage_harms_nobody(system: PymtaSystem, garbage: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as asker:
        asker.connect(str(system.folder / "spool/pymta/passwords"))
        asker.sendall(garbage)
    assert _log_in(system, "joe") == 235


def test_without_the_process_nothing_can_be_said(system: PymtaSystem) -> None:
    (keeper,) = _listeners(system)
    os.kill(keeper, signal.SIGKILL)
    eventually(lambda: _log_in(system, "joe") == 454)
    eventually(lambda: "cannot connect to saslauthd server" in system.log)


def _listeners(system: PymtaSystem) -> list[int]:
    """Processes of the system that have root."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
                status = (entry / "status").read_text()
                ours = str(system.folder / "etc").encode() in b" ".join(arguments)
                files = [os.readlink(one) for one in (entry / "fd").iterdir()]
            except OSError:
                continue
            is_root = "\nUid:\t0\t0\t0\t0" in status
            if ours and is_root and sum("socket:" in one for one in files) == 2:
                found.append(int(entry.name))
    return found
