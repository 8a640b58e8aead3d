"""smtpd_command_filter, beside Debian's Postfix: replies, and what the log says of them."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.peers import RealPostfix
from tests.support.system import PymtaSystem, eventually

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="Postfix's master needs root")

RULES = (
    r"/^(HELO|EHLO)[[:space:]]*$/ HELO domain.invalid",
    r"/^(MAIL[[:space:]]+FROM:[[:space:]]*<[^>]*>).*AUTH=.*/ $1",
    r"/^nono/ NOOP",
    r"/^bye/ QUIT",
)
COMMANDS = ("EHLO", "  nono x", "MAIL FROM:<a@b.example> AUTH=<>", "RSET", "nono", "FOO", "bye")


def _talk(port: int) -> list[str]:
    replies = []
    with socket.create_connection(("127.0.0.1", port), 10) as connection, connection.makefile("rb") as lines:
        for command in ("", *COMMANDS):
            if command:
                connection.sendall(command.encode() + b"\r\n")
            replies.append(lines.readline().decode())
    return replies[1:]


def _said(log: str) -> list[str]:
    return re.findall(r"localhost\[127.0.0.1\]: replacing command .*|disconnect from .* quit=.*", log)


def test_commands_are_replaced(
    tmp_path_factory: pytest.TempPathFactory, pymta_system: Callable[..., PymtaSystem]
) -> None:
    folder: Path = tmp_path_factory.mktemp("filter")
    (folder / "rules").write_text("".join(f"{rule}\n" for rule in RULES))
    config = {"smtpd_command_filter": f"regexp:{folder}/rules", "myhostname": "mx.example.com"}
    postfix = RealPostfix(folder, config)
    with postfix.running():
        theirs = _talk(postfix.port)
        eventually(lambda: any("disconnect" in line for line in _said(postfix.log.read_text())))
    system = pymta_system(config)
    assert _talk(system.port) == theirs
    eventually(lambda: any("disconnect" in line for line in _said(system.log)))
    assert _said(system.log) == _said(postfix.log.read_text())


def test_a_table_that_cannot_tell_changes_nothing(pymta_system: Callable[..., PymtaSystem]) -> None:
    system = pymta_system({"smtpd_command_filter": "fail:x"})
    replies = _talk(system.port)
    assert replies[0].startswith("501 ")
    assert replies[3].startswith("250 2.0.0 Ok")
    eventually(lambda: 'warning: smtpd_command_filter: looking up "RSET"' in system.log)
