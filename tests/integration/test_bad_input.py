"""A malicious client and a careless administrator against a running pymta: clear errors, no trace in the queue."""

import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.system import PymtaSystem, eventually

Start = Callable[..., PymtaSystem]

EHLO, MAIL = b"EHLO x", b"MAIL FROM:<a@b.example>"
# What the client says, and the code of the last answer; each dialogue ends with the connection.
DIALOGUES: list[tuple[tuple[bytes, ...], str]] = [
    *[
        ((EHLO, b"MAIL FROM:" + each), "501")
        for each in (b"", b"<>x", b"<a@b", b"<@>", b"<a b@c>", b'<"a@c>', b"<-a@c>")
    ],
    *[
        ((EHLO, b"MAIL FROM:<a@" + each + b">"), "501")
        for each in (b"-c", b"c..d", b"[1.2.3]", b"[IPv6:::g]", b"c" * 300)
    ],
    *[((EHLO, b"MAIL FROM:<a@c> " + each), "5") for each in (b"SIZE=x", b"SIZE=" + b"9" * 30, b"BODY=9BIT", b"RET=X")],
    *[((EHLO, b"MAIL FROM:<a@c> " + each), "5") for each in (b"ENVID=", b"FOO", b"=", b"SIZE", b"AUTH")],
    ((EHLO, b"MAIL FROM:<a\x01b@c>"), "501"),
    ((EHLO, b"MAIL FROM:<a@c\x00d>"), "501"),
    ((EHLO, b"MAIL FROM:<\xff@c>"), "500"),
    *[((EHLO, MAIL, b"RCPT TO:" + each), "501") for each in (b"", b"<>", b"<root", b"<-root@localhost>", b"<root@>")],
    *[((EHLO, MAIL, b"RCPT TO:<" + each + b"@localhost>"), "550") for each in (b"|cmd", b"/etc/passwd", b"../../x")],
    ((EHLO, MAIL, b"RCPT TO:<:include:/etc/passwd@localhost>"), "550"),
    ((EHLO, MAIL, b'RCPT TO:<"a\\\rb"@localhost>'), "5"),
    ((EHLO, MAIL, b"RCPT TO:<a@elsewhere.example>"), "250"),
    ((EHLO, MAIL, b"RCPT TO:<root@127.0.0.1>"), "501"),
    *[((EHLO, MAIL, b"RCPT TO:<root> NOTIFY=" + each), "501") for each in (b"", b"X", b"NEVER,SUCCESS")],
    ((EHLO, b"DATA"), "503"),
    ((EHLO, MAIL, b"DATA"), "554"),
    ((EHLO, b"BDAT x"), "521"),
    ((EHLO, MAIL, b"BDAT -1"), "521"),
    ((EHLO, MAIL, b"BDAT " + b"9" * 20), "521"),
    ((b"EHLO",), "501"),
    ((b"VRFY <",), "501"),
    ((b"GET / HTTP/1.0",), "221"),
    ((b"\x16\x03\x01",), "221"),
    ((b"\xff\xfe",), "500"),
    ((b" ",), "500"),
    ((b"X" * 5000,), "500"),
    ((b"XCLIENT ADDR=1.2.3.4",), "5"),
    # Messages that never end.
    ((EHLO, MAIL, b"RCPT TO:<root>", b"DATA", b"Subject: half"), ""),
    ((EHLO, MAIL, b"RCPT TO:<root>", b"BDAT 1000", b"half"), ""),
]
COMMANDS: list[tuple[tuple[str, ...], str]] = [
    (("postsuper", "-d", ".."), "invalid mail queue id"),
    (("postcat", "-q", "../x"), "No such file"),
    (("postcat", "-q", "ABCDEF"), "No such file"),
    (("postqueue", "-s", "a b"), "invalid destination"),
    (("sendmail",), "Recipient addresses must be specified"),
    (("sendmail", "-bx"), "unsupported: -bx"),
    (("sendmail", "-f"), "requires an argument"),
    (("postconf", "nosuch"), "unknown parameter"),
    (("postmap", "-q", "x", "nosuch:/x"), "unsupported table type"),
    (("postmap", "-q", "x", "hash:/nonexistent"), "No such file or directory"),
    (("postalias", "/nonexistent"), "No such file or directory"),
    (("pymta", "foo"), "invalid choice"),
    (("pymta-queue", "delete", "x/y"), "invalid mail queue id"),
]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PymtaSystem]:
    parameters = {
        "alias_maps": "",
        "smtpd_error_sleep_time": "0",
        "message_size_limit": "60000000",
        "smtpd_client_connection_count_limit": "0",
    }
    one = PymtaSystem(tmp_path_factory.mktemp("bad") / "pymta", parameters)
    with one.running():
        yield one


def talk(system: PymtaSystem, lines: tuple[bytes, ...]) -> str:
    """The last answer to `lines`; empty where the last line is none that is answered."""
    with socket.create_connection(("127.0.0.1", system.port), 5) as connection:
        connection.settimeout(5 if not lines[-1].endswith(b"half") else 0.2)
        file = connection.makefile("rb")
        answer = file.readline()
        for line in lines:
            connection.sendall(line + b"\r\n")
            try:
                while (answer := file.readline())[3:4] == b"-":
                    pass
            except TimeoutError:
                return ""
        return answer.decode()


def assert_no_trace(system: PymtaSystem) -> None:
    assert system.command("postqueue", "-p").stdout == "Mail queue is empty\n"
    assert not re.findall(r".*(?:error: |Traceback).*", system.log)
    assert not [path for path in (system.folder / "spool").rglob("content/*/*") if path.is_file()]


def test_what_a_client_should_not_say(system: PymtaSystem) -> None:
    wrong = [(lines, code, answer) for lines, code in DIALOGUES if not (answer := talk(system, lines)).startswith(code)]
    assert wrong == []
    assert_no_trace(system)


@pytest.mark.parametrize(("command", "said"), COMMANDS, ids=lambda value: " ".join(value)[:30])
def test_what_an_administrator_should_not_say(system: PymtaSystem, command: tuple[str, ...], said: str) -> None:
    done = system.command(*command, check=False)
    assert said in done.stderr and "Traceback" not in done.stderr
    assert_no_trace(system)


def memory(system: PymtaSystem) -> int:
    """The most that each process of this instance ever had resident, in bytes."""
    assert system.process is not None
    total = 0
    for path in Path("/proc").glob("[0-9]*"):
        try:
            session = (path / "stat").read_text().rpartition(")")[2].split()[3]
            if int(session) == system.process.pid:
                total += int((path / "status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
        except (OSError, IndexError):
            continue
    return total


def test_fifty_megabytes_and_a_thousand_idle_clients_need_little_memory(system: PymtaSystem) -> None:
    system.send("games@example.com", "Subject: warm\r\n\r\nup\r\n")
    eventually(lambda: not system.queue())
    before = memory(system)
    system.send("games@example.com", "Subject: large\r\n\r\n" + ("x" * 76 + "\r\n") * 650_000)
    eventually(lambda: not system.queue(), 30)
    assert memory(system) - before < 20_000_000
    before = memory(system)
    idle = [socket.create_connection(("127.0.0.1", system.port), 10) for _ in range(1000)]
    assert all(connection.recv(100).startswith(b"220 ") for connection in idle)
    assert memory(system) - before < 100_000 * 1000
    assert talk(system, (EHLO, b"NOOP")).startswith("250")
    for connection in idle:
        connection.close()
    assert_no_trace(system)
