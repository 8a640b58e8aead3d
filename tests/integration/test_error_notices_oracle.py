"""Transcripts of sessions with errors, for the postmaster: what Debian's Postfix sends for the same sessions."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.peers import RealPostfix, environment, program
from tests.support.system import PymtaSystem, eventually

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="Postfix's master needs root")

CONFIG = {
    "myhostname": "mx.example.com",
    "mail_name": "Postfix",
    "myorigin": "$myhostname",
    "mydestination": "example.com",
    "mynetworks": "192.0.2.0/24",
    "local_recipient_maps": "inline:{good=x}",
    "alias_maps": "",
    "transport_maps": "inline:{{postmaster@mx.example.com=retry:later}, {example.com=discard:}}",
    "notify_classes": "bounce 2bounce data delay policy protocol resource software",
    "smtpd_hard_error_limit": "3",
    "smtpd_error_sleep_time": "0",
    "message_size_limit": "50000",
    # Where Debian's release offers less than we do, nobody is offered it.
    "smtpd_discard_ehlo_keywords": "chunking",
}
_LARGE = "Subject: x\r\n\r\n" + ("y" * 70 + "\r\n") * 900 + "."
# The last word of each list is the class that the errors are of; `!` is a client that goes away.
SESSIONS = (
    ("EHLO c.example", "MAIL FROM:<a@s.example>", "RCPT TO:<u@elsewhere.example>", "QUIT", "policy"),
    ("EHLO c", "FOO", "BAR", "BAZ", "QUIT", "protocol"),
    ("EHLO c", "RCPT TO:<x@y>", "QUIT", "protocol"),
    ("EHLO c", "MAIL FROM:<a@b.example> SIZE=100000000", "QUIT", "policy"),
    ("EHLO c", "MAIL FROM:<a@b.example", "QUIT", "protocol"),
    ("EHLO c", "MAIL FROM:<a@b.example>", "RCPT TO:<nobody@example.com>", "!", "bounce"),
    ("EHLO c", "MAIL FROM:<a@b.example>", "RCPT TO:<good@example.com>", "DATA", _LARGE, "QUIT", "bounce"),
    ("EHLO c", "MAIL FROM:<a@b.example>", "RCPT TO:<good@example.com>", "BAD", "RSET", "QUIT", "protocol"),
    ("EHLO c", "VRFY no@example.com", "QUIT", "bounce"),
)
QUIET = (
    ("EHLO c", "MAIL FROM:<a@b.example>", "RCPT TO:<good@example.com>", "DATA", "Subject: x\r\n\r\nb\r\n.", "QUIT"),
    ("EHLO c", "!"),
    ("GET / HTTP/1.0",),
)


def _talk(port: int, lines: tuple[str, ...]) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as connection, connection.makefile("rb") as replies:
        for line in ("", *lines):
            if line == "!":
                return
            if line:
                connection.sendall(line.encode() + b"\r\n")
            while (reply := replies.readline())[3:4] == b"-":
                pass
            if not reply:
                return


def _notices(texts: list[str]) -> list[str]:
    """Header and text of each, without what differs from run to run, in order of their transcripts."""
    found = []
    for text in texts:
        message = text[text.index("Received: by") :].partition("\n*** ")[0].rstrip()
        message = re.sub(r"<\d{14}\.\w+(?=@mx)|(?<=id )\w{10,20}(?=;)|queued as \w+", "ID", message)
        found.append(re.sub(r"(Date:|ID;) .*", r"\1 NOW", message))
    return sorted(found)


def _files(postfix: RealPostfix) -> list[Path]:
    return [path for path in (postfix.queue / "deferred").rglob("*") if path.is_file()]


def _of_postfix(postfix: RealPostfix) -> list[str]:
    command = [program("postcat"), "-c", str(postfix.config), "-bh"]
    return [
        subprocess.run([*command, str(path)], env=environment(), capture_output=True, text=True, check=False).stdout
        for path in _files(postfix)
    ]


def _of_pymta(system: PymtaSystem) -> list[str]:
    return [system.command("postcat", "-bh", "-q", str(row["queue_id"])).stdout for row in system.queue()]


def test_the_postmaster_reads_what_postfix_writes(
    tmp_path_factory: pytest.TempPathFactory, pymta_system: Callable[..., PymtaSystem]
) -> None:
    postfix = RealPostfix(tmp_path_factory.mktemp("postfix"), CONFIG)
    with postfix.running():
        for *lines, _ in SESSIONS:
            _talk(postfix.port, tuple(lines))
        eventually(lambda: len(_files(postfix)) == len(SESSIONS), 20)
        theirs = _notices(_of_postfix(postfix))
    system = pymta_system(CONFIG)
    for *lines, _ in SESSIONS:
        _talk(system.port, tuple(lines))
    eventually(lambda: len(system.queue()) == len(SESSIONS), 20)
    assert "\n-----\n".join(_notices(_of_pymta(system))) == "\n-----\n".join(theirs)


@pytest.mark.parametrize("kind", ["policy", "protocol", "bounce"])
def test_only_classes_that_are_asked_for(kind: str, pymta_system: Callable[..., PymtaSystem]) -> None:
    system = pymta_system(
        {**CONFIG, "notify_classes": kind, "process_model": "roles" if kind == "bounce" else "single"}
    )
    wanted = [lines for *lines, own in SESSIONS if own == kind]
    for lines in [*QUIET, *(one[:-1] for one in SESSIONS)]:
        _talk(system.port, tuple(lines))
    # The start looked for the port with a connection of its own; notices are on their way before a session ends.
    eventually(lambda: system.log.count("disconnect from") > len(QUIET) + len(SESSIONS))
    eventually(lambda: len(system.queue()) >= len(wanted), 20)
    assert len(system.queue()) == len(wanted)


def test_a_password_is_in_no_transcript(pymta_system: Callable[..., PymtaSystem]) -> None:
    system = pymta_system(CONFIG)
    _talk(system.port, ("EHLO c", "AUTH PLAIN AGpvZQBzM2NyZXQ=", "QUIT"))
    eventually(system.queue, 20)
    (notice,) = _of_pymta(system)
    assert " In:  AUTH PLAIN (not shown)\n" in notice
    assert "AGpvZQBzM2NyZXQ" not in notice
