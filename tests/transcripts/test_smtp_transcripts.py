"""Dialogues with Postfix's answers, on the bare engine, over loopback, and against Postfix itself.

`C: ` is a line that the client sends, `C| ` bytes with Python's escapes; `S: ` are the replies, `S: <closed>` the
end of the connection. QID stands for any queue id. Postfix 3.7.11 answered first; ETRN is left out of EHLO's answer.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pymta.protocol.smtp.server_events import CommandKind
from pymta.protocol.smtp.server_options import ServerOptions
from pymta.runtime.loop import run
from tests.support.peers import RealPostfix
from tests.support.smtp_engine import Drive
from tests.support.smtpd import running

HOST = "postfix.example.com"
FILES = sorted(Path(__file__).parent.glob("*.txt"))
PARAMETERS = {
    "smtpd_forbid_bare_newline": "normalize",
    "smtpd_forbid_bare_newline_exclusions": "",
    "smtpd_forbid_unauth_pipelining": "yes",
    "smtpd_error_sleep_time": "0",
    "smtputf8_enable": "yes",
}
_QUEUE_ID = re.compile(r"(queued as )\w+")

Turn = tuple[bytes, list[str]]


def _turns(path: Path) -> list[Turn]:
    """What the client sends, and the lines that come back before it sends again; the first turn is the greeting."""
    turns: list[Turn] = [(b"", [])]
    for line in path.read_text().splitlines():
        if line.startswith("S: "):
            turns[-1][1].append(line[3:])
        elif line.startswith("C: "):
            turns.append((line[3:].encode() + b"\r\n", []))
        elif line.startswith("C| "):
            turns.append((line[3:].encode().decode("unicode_escape").encode("latin-1"), []))
    return turns


def _lines(output: bytes) -> list[str]:
    return [_QUEUE_ID.sub(r"\1QID", line) for line in output.decode().splitlines() if line != "250-ETRN"]


def _kind(verb: str) -> CommandKind:
    return CommandKind.FORBIDDEN if verb in ("GET", "POST", "CONNECT") or not verb[0].isalpha() else CommandKind.OTHER


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("step", [0, 1])
def test_on_the_engine(path: Path, step: int) -> None:
    if step and path.stem.startswith("pipelining_"):
        pytest.skip("bytes that come one by one are never ahead of a reply")
    options = ServerOptions(myhostname=HOST, banner=f"{HOST} ESMTP Postfix", error_sleep_time=0)
    drive = Drive(options, kind=_kind)
    for number, (sent, expected) in enumerate(_turns(path)):
        output = _lines(drive.send(sent, step) if number else drive.greeting)
        assert output + ["<closed>"] * drive.closed == expected, sent


def _dialogue(port: int, path: Path) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        stream = client.makefile("rb")
        for sent, expected in _turns(path):
            client.sendall(sent)
            received: list[str] = []
            while len(received) < len(expected):
                line = stream.readline()
                received += _lines(line) if line else ["<closed>"]
            assert received == expected, sent


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_over_loopback(loop: str) -> None:
    async def main() -> None:
        values = {**PARAMETERS, "myhostname": HOST, "mail_name": "Postfix"}
        async with running(**values) as server:
            for path in FILES:
                await asyncio.to_thread(_dialogue, server.port, path)

    run(main(), loop)


@pytest.fixture(scope="module")
def postfix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealPostfix]:
    parameters = {
        **PARAMETERS,
        "local_recipient_maps": "",
        "default_transport": "discard",
        "local_transport": "discard",
        "smtpd_peername_lookup": "no",
        "mydestination": f"{HOST}, example.com",
    }
    with RealPostfix(tmp_path_factory.mktemp("postfix"), parameters).running() as postfix:
        yield postfix


@pytest.mark.needs_root
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_as_postfix_itself_answers(postfix: RealPostfix, path: Path) -> None:
    _dialogue(postfix.port, path)
