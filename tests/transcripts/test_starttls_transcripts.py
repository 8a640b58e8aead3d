"""Dialogues with STARTTLS, as Postfix 3.7.11 answered: on the bare engine, over loopback, and against Postfix itself.

The form is that of test_smtp_transcripts; `T:` is the handshake. Files that begin with `encrypt` are for a server that
requires TLS, `wrapped` for one that begins with it. ETRN is left out of EHLO's answer.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pymta.model.tls import TlsSession
from pymta.protocol.smtp.commands import COMMANDS, command_table
from pymta.protocol.smtp.server_options import ServerOptions
from pymta.protocol.smtp.server_starttls import with_starttls
from pymta.runtime.loop import run
from tests.support.peers import RealPostfix
from tests.support.smtp_engine import Drive
from tests.support.smtpd import running
from tests.support.tls import server_pair

HOST = "postfix.example.com"
FILES = sorted((Path(__file__).parent / "starttls").glob("*.txt"))
SERVICES = {
    "may": {"smtpd_tls_security_level": "may"},
    "encrypt": {"smtpd_tls_security_level": "encrypt"},
    "wrapped": {"smtpd_tls_security_level": "encrypt", "smtpd_tls_wrappermode": "yes"},
}
_QUEUE_ID = re.compile(r"(queued as )\w+")


@dataclass
class Turn:
    """What the client sends (None: the greeting; empty: the handshake), and the lines that come back."""

    sent: bytes | None
    replies: list[str] = field(default_factory=list)


def _turns(path: Path) -> list[Turn]:
    turns = [Turn(None)]
    for line in path.read_text().splitlines():
        if line.startswith("S: "):
            turns[-1].replies.append(line[3:])
        elif line == "T:":
            turns.append(Turn(b""))
        elif line.startswith("C: "):
            turns.append(Turn(line[3:].encode() + b"\r\n"))
        elif line.startswith("C| "):
            turns.append(Turn(line[3:].encode().decode("unicode_escape").encode("latin-1")))
    return turns


def _service(path: Path) -> str:
    return next((name for name in SERVICES if path.stem.startswith(name)), "may")


def _lines(output: bytes) -> list[str]:
    return [_QUEUE_ID.sub(r"\1QID", line) for line in output.decode().splitlines() if line != "250-ETRN"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("step", [0, 1])
def test_on_the_engine(path: Path, step: int) -> None:
    service = _service(path)
    options = ServerOptions(
        myhostname=HOST,
        banner=f"{HOST} ESMTP Postfix",
        error_sleep_time=0,
        starttls=service != "wrapped",
        enforce_tls=service != "may",
        tls_wrapper=service == "wrapped",
    )
    commands = with_starttls(COMMANDS)
    tls = TlsSession("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256, 256)
    drive = Drive(options, commands=commands, table=command_table(commands), tls=tls, greeted=service != "wrapped")
    output = drive.greeting
    for turn in _turns(path):
        if turn.sent is not None:
            output = drive.send(turn.sent, step) if turn.sent else drive.pump()
        assert _lines(output) + ["<closed>"] * drive.closed == turn.replies, turn


def _dialogue(port: int, path: Path) -> None:
    client = socket.create_connection(("127.0.0.1", port), 10)
    for turn in _turns(path):
        if turn.sent == b"":
            client = ssl._create_unverified_context().wrap_socket(client)
        elif turn.sent:
            client.sendall(turn.sent)
        received = b""
        while len(_lines(received)) < len(turn.replies):
            data = client.recv(10_000)
            received += data or b"<closed>\r\n"
        assert _lines(received) == turn.replies, turn
    client.close()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("service", SERVICES)
def test_over_loopback(loop: str, service: str) -> None:
    async def main() -> None:
        values = {"smtpd_error_sleep_time": "0", "smtputf8_enable": "yes", "myhostname": HOST, "mail_name": "Postfix"}
        async with running(**values, **SERVICES[service]) as server:
            for path in FILES:
                if _service(path) == service:
                    await asyncio.to_thread(_dialogue, server.port, path)

    run(main(), loop)


@pytest.fixture(scope="module", params=SERVICES)
def postfix(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    pair = server_pair()
    parameters = {
        "smtpd_tls_cert_file": str(pair.certificate),
        "smtpd_tls_key_file": str(pair.key),
        "smtpd_error_sleep_time": "0",
        "local_recipient_maps": "",
        "default_transport": "discard",
        "local_transport": "discard",
        "smtpd_peername_lookup": "no",
        "mydestination": f"{HOST}, example.com",
        **SERVICES[request.param],
    }
    with RealPostfix(tmp_path_factory.mktemp("postfix"), parameters).running() as postfix:
        yield request.param, postfix.port


@pytest.mark.needs_root
def test_as_postfix_itself_answers(postfix: tuple[str, int]) -> None:
    service, port = postfix
    for path in FILES:
        if _service(path) == service:
            _dialogue(port, path)
