"""A submission service beside port 25: `-o` settings, who may relay, who may send as whom, what is completed."""

from __future__ import annotations

import os
import re
import smtplib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.peers import free_port, wait_for_port
from tests.support.system import PymtaSystem, eventually

Start = Callable[..., PymtaSystem]


@pytest.fixture
def submission(pymta_system: Start, tmp_path: Path) -> tuple[PymtaSystem, int]:
    for folder in [tmp_path, *tmp_path.parents]:
        if str(folder) != "/" and folder.stat().st_uid == os.getuid():
            folder.chmod(folder.stat().st_mode | 0o055)
    (tmp_path / "passwd").write_text("joe@example.com:{PLAIN}secret\n")
    (tmp_path / "logins").write_text("joe@example.com joe@example.com\nboss@example.com boss@example.com\n")
    port = free_port()
    overrides = {
        "syslog_name": "postfix/submission",
        "smtpd_sasl_auth_enable": "yes",
        "smtpd_sasl_type": "file",
        "smtpd_sasl_path": f"{tmp_path}/passwd",
        "smtpd_sasl_authenticated_header": "yes",
        "smtpd_client_restrictions": "permit_sasl_authenticated,reject",
        "smtpd_sender_restrictions": "reject_sender_login_mismatch",
        "smtpd_sender_login_maps": f"texthash:{tmp_path}/logins",
        "smtpd_relay_restrictions": "permit_sasl_authenticated,reject",
    }
    options = " ".join(f"-o {name}={value}" for name, value in overrides.items())
    system = pymta_system(
        {"mynetworks": "192.0.2.0/24", "local_header_rewrite_clients": "", "smtpd_error_sleep_time": "0"},
        services=(f"127.0.0.1:{port} inet n - n - - smtpd {options}",),
    )
    wait_for_port(port)
    return system, port


def _refusal(session: smtplib.SMTP, sender: str, recipient: str = "root@mail.example.com") -> str:
    session.ehlo_or_helo_if_needed()
    session.mail(sender)
    code, text = session.rcpt(recipient)
    session.rset()
    return f"{code} {text.decode()}"


def test_port_25_knows_nothing_of_logins(submission: tuple[PymtaSystem, int]) -> None:
    system, _ = submission
    with system.smtp() as session:
        session.ehlo()
        assert "auth" not in session.esmtp_features
        assert session.docmd("AUTH PLAIN AAAA") == (503, b"5.5.1 Error: authentication not enabled")
        assert _refusal(session, "x@example.net", "y@example.net").startswith("454 4.7.1")


def test_only_who_logged_in_may_send_and_only_as_himself(submission: tuple[PymtaSystem, int]) -> None:
    system, port = submission
    with smtplib.SMTP("127.0.0.1", port, timeout=10) as session:
        assert "Client host rejected: Access denied" in _refusal(session, "joe@example.com")
        session.login("joe@example.com", "secret")
        assert _refusal(session, "boss@example.com") == (
            "553 5.7.1 <boss@example.com>: Sender address rejected: not owned by user joe@example.com"
        )
        session.sendmail("joe@example.com", ["root@mail.example.com"], "Subject: bare\r\n\r\nhi\r\n")
    eventually(lambda: "status=sent" in system.log)
    mail = (system.mail / "root").read_text()
    assert re.search(r"^Message-ID: <.+@mail\.example\.com>$", mail, re.MULTILINE | re.IGNORECASE)
    assert re.search(r"^Date: ", mail, re.MULTILINE)
    assert re.search(r"^From: joe@example\.com$", mail, re.MULTILINE)
    assert "(Authenticated sender: joe@example.com)" in mail
    assert "with ESMTPA id" in mail
    rejected = "from=<boss@example.com> to=<root@mail.example.com> proto=ESMTP helo="
    for text in ("postfix/submission/smtpd", "sasl_method=", rejected):
        eventually(lambda text=text: text in system.log)
