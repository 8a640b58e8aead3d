"""Debian's Postfix and pymta exchange mail both ways, and agree on what a message's first lines become."""

import smtplib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.peers import RealPostfix, free_port
from tests.support.system import PymtaSystem, eventually

Start = Callable[..., PymtaSystem]
PROCESS_MODEL = "roles"

LETTERS = {
    "plain": "Subject: plain\r\n\r\nbody\r\n",
    "blank": " Subject: blank\r\n\r\nbody\r\n",
    "tab": "\tSubject: tab\r\n\r\nbody\r\n",
    "from": "From someone  Sat Nov 21\r\nSubject: from\r\n\r\nbody\r\n",
    "quoted": ">From someone\r\n>>From other\r\nSubject: quoted\r\n\r\nbody\r\n",
    "dots": "Subject: dots\r\n\r\n..\r\n.x\r\n\r\n",
    "empty": "\r\n",
}
USERS = ("backup", "games", "irc", "list", "lp", "man", "news")  # system users that Debian has


@pytest.fixture
def pair(pymta_system: Start, tmp_path: Path) -> Iterator[tuple[PymtaSystem, RealPostfix]]:
    """pymta is mail.example.com, Postfix postfix.example.com; each relays to the other."""
    port = free_port()
    folder = tmp_path / "boxes"
    postfix = RealPostfix(
        tmp_path / "postfix",
        {
            "mydestination": "postfix.example.com",
            "local_recipient_maps": "",
            "mail_spool_directory": f"{folder}/",
            "relayhost": f"[127.0.0.1]:{port}",
        },
    )
    folder.mkdir()
    folder.chmod(0o1777)
    system = pymta_system(
        {"relayhost": f"[127.0.0.1]:{postfix.port}", "mail_spool_directory": f"{tmp_path}/mail/", "alias_maps": ""},
        port=port,
    )
    (tmp_path / "mail").mkdir()
    (tmp_path / "mail").chmod(0o1777)
    with postfix.running():
        yield system, postfix


def letters(folder: Path) -> list[str]:
    return [path.read_text() for path in sorted(folder.glob("*/new/*"))]


def send(port: int, recipient: str, text: str) -> None:
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.example.com", timeout=20) as session:
        session.ehlo()
        session.mail("s@a.example")
        assert session.rcpt(recipient)[0] == 250
        code, reply = session.data(text)
        assert code == 250, reply


def below_received(letter: str) -> str:
    """What the client sent: everything under the first Received field."""
    lines = letter.split("\n")
    start = next(number for number, line in enumerate(lines) if line.startswith("Received:"))
    end = next(number for number in range(start + 1, len(lines)) if not lines[number].startswith("\t"))
    return "\n".join(lines[end:])


def test_mail_goes_both_ways(pair: tuple[PymtaSystem, RealPostfix], tmp_path: Path) -> None:
    system, postfix = pair
    send(system.port, "games@postfix.example.com", LETTERS["plain"])
    send(postfix.port, "games@mail.example.com", LETTERS["plain"])
    eventually(lambda: len(letters(tmp_path / "boxes")) == 1 and len(letters(tmp_path / "mail")) == 1, 30)
    [there], [here] = letters(tmp_path / "boxes"), letters(tmp_path / "mail")
    assert "by mail.example.com (pymta)" in there and "by postfix.example.com (Postfix)" in there
    assert "by mail.example.com (pymta)" in here and "by postfix.example.com (Postfix)" in here


def test_first_lines_become_what_postfix_makes_of_them(pair: tuple[PymtaSystem, RealPostfix], tmp_path: Path) -> None:
    system, postfix = pair
    for user, letter in zip(USERS, LETTERS.values(), strict=True):
        send(system.port, f"{user}@mail.example.com", letter)
        send(postfix.port, f"{user}@postfix.example.com", letter)
    eventually(lambda: len(letters(tmp_path / "boxes")) == len(letters(tmp_path / "mail")) == len(USERS), 30)

    def seen(folder: str) -> list[list[str]]:
        texts = [below_received(letter).split("\n") for letter in letters(tmp_path / folder)]
        return [[line for line in text if not line.startswith(("Message-Id:", "Date:", "From: s@"))] for text in texts]

    assert seen("mail") == seen("boxes")
