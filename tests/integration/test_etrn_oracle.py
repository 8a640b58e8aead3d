"""ETRN as Debian's Postfix answers it, line by line."""

import contextlib
import smtplib
from pathlib import Path

from tests.support.peers import RealPostfix
from tests.support.system import PymtaSystem

LINES = [
    "ETRN example.net",
    "EHLO client.example.com",
    "ETRN",
    "ETRN a b",
    "ETRN @example.net",
    "ETRN #queue",
    "ETRN EXAMPLE.net",
    "ETRN other.example",
    "ETRN sub.example.net",
    "ETRN [127.0.0.1]",
    "ETRN [::1]",
    "ETRN -bad-",
    "MAIL FROM:<a@b.example>",
    "ETRN example.net",
    "RSET",
    "ETRN example.net",
]
PARAMETERS = {
    "fast_flush_domains": "example.net, .sub.example",
    "relay_domains": "example.net",
    "smtpd_error_sleep_time": "0",
    "smtpd_etrn_restrictions": "permit_mynetworks, reject",
}


def replies(port: int) -> list[tuple[int, bytes]]:
    with contextlib.closing(smtplib.SMTP("127.0.0.1", port, timeout=20)) as session:
        found = [session.docmd(line) for line in LINES]
        return [(code, text if b"\n" not in text else b"") for code, text in found]


def test_replies_are_postfix_s(tmp_path: Path) -> None:
    postfix = RealPostfix(tmp_path / "postfix", PARAMETERS)
    postfix.prepare()
    with postfix.running():
        theirs = replies(postfix.port)
    with PymtaSystem(tmp_path / "pymta", PARAMETERS).running() as system:
        ours = replies(system.port)
    assert ours == theirs
