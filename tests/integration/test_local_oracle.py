"""local(8) and pipe(8) beside Debian's Postfix: the same aliases, the same mail, the same outcomes and mailboxes."""

import asyncio
import os
import pwd
import re
import smtplib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pymta.config import Config, build
from pymta.delivery.local import LocalAgent
from pymta.delivery.local_settings import LocalSettings, LocalTables
from pymta.delivery.mailbox_helper import HelperActions
from pymta.delivery.mailbox_worker import JobServer, KeeperRules
from pymta.model.address import Address
from pymta.model.delivery import DeliveryRequest
from pymta.model.queue import QueuedRecipient
from pymta.runtime.privileged import PrivilegedHelper
from pymta.tables import Maps
from pymta.testing import ManualClock, RecordingLog
from tests.support.local_delivery import Bytes, FakeAddresses, FakeIntake, FakeTable, FakeUsers, User
from tests.support.peers import RealPostfix
from tests.support.system import eventually

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become other users"),
]

GAMES = pwd.getpwnam("games")
DOMAIN = "example.com"
ALIASES = {
    "team": "games, nosuch, out@outside.example",
    "fail": '"|/bin/false"',
    "temp": '"|exit 75"',
    "odd": '"|echo hello there; exit 99"',
    "nouser": '"|exit 67"',
    "full": '"|echo 4.2.2 full; exit 1"',
    "fun": '"|echo 5.7.1 fun; exit 0"',
    "killed": '"|kill -9 $$"',
    "loop1": "loop2",
    "loop2": "loop1",
    "none": "(nobody)",
    "tilde": "~/x",
    "null": "/dev/null",
    "twice": "games, games",
    "noinc": ":include:/nonexistent/list",
    "relative": ":include:list",
}
USERS = ["games", "Games+ext", "NoSuch+x", "postmaster", "uucp", *ALIASES]


@pytest.fixture
def place() -> Iterator[Path]:
    root = Path(f"/tmp/pymta-oracle-{os.getpid()}-{time.monotonic_ns()}")
    root.mkdir(mode=0o755)
    for name in ("theirs", "ours"):
        (root / name).mkdir()
        (root / name).chmod(0o777)
        (root / name / "uucp.lock").touch()
    yield root
    subprocess.run(["rm", "-rf", str(root)], check=True)


def _theirs(place: Path) -> dict[str, set[tuple[str, str]]]:
    (place / "aliases").write_text("".join(f"{name} {text}\n" for name, text in ALIASES.items()))
    postfix = RealPostfix(
        place / "postfix",
        {
            "alias_maps": f"texthash:{place}/aliases",
            "mail_spool_directory": str(place / "theirs"),
            "mydestination": DOMAIN,
            "myorigin": DOMAIN,
            "default_transport": "discard:x",
            "recipient_delimiter": "+",
            "local_recipient_maps": "",
            "deliver_lock_attempts": "1",
        },
    )
    with postfix.running():
        with smtplib.SMTP("127.0.0.1", postfix.port) as client:
            for user in USERS:
                _deliver(client, f"{user}@{DOMAIN}", postfix.log)
        return _outcomes(postfix.log.read_text())


def _deliver(client: smtplib.SMTP, recipient: str, log: Path) -> None:
    """One after the other: deliveries at once to one mailbox would find its lock taken."""
    client.mail("s@outside.example")
    client.rcpt(recipient)
    _, reply = client.data("Subject: x\n\nFrom me\nhi\n")
    over = re.compile(rf" {reply.decode().split()[-1]}: (removed|.* status=deferred )")
    eventually(lambda: over.search(log.read_text()), 20)


def _outcomes(log: str) -> dict[str, set[tuple[str, str]]]:
    """For each queue recipient the status and reason of its parts, in the log of local(8)."""
    found: dict[str, set[tuple[str, str]]] = {}
    pattern = r"postfix/local\[.*: to=<([^>]*)@[^>]*>,(?: orig_to=<([^@>]*)@[^>]*>,)? .* dsn=([0-9.]+), .* \((.*)\)$"
    for match in re.finditer(pattern, log, re.MULTILINE):
        found.setdefault((match[2] or match[1]).lower(), set()).add((match[3], _plain(match[4])))
    return found


def _plain(reason: str) -> str:
    """A reason without what must differ: queue ids, folders, and the blank that Postfix leaves after output."""
    return re.sub(r"forwarded as \S+", "forwarded", re.sub(r"/\S*/(theirs|ours)/", "/", reason)).strip()


async def _ours(place: Path) -> dict[str, set[tuple[str, str]]]:
    helper = PrivilegedHelper.start(JobServer(KeeperRules(str(place / "ours"))))
    actions = HelperActions(helper)
    values = {
        "myhostname": "mx.example.com",
        "mail_spool_directory": str(place / "ours"),
        "recipient_delimiter": "+",
        "deliver_lock_attempts": "1",
    }
    accounts = [pwd.getpwnam(name) for name in ("games", "uucp")]
    agent = LocalAgent(
        build(LocalSettings, Config.from_values(values)),
        LocalTables(Maps([FakeTable(ALIASES)])),
        FakeAddresses(),
        FakeIntake(),
        actions,
        ManualClock(),
        RecordingLog(),
        users=FakeUsers(*[User(user.pw_name, user.pw_uid, user.pw_gid, "/nonexistent") for user in accounts]),
    )
    found = {}
    for user in USERS:
        address = Address(user, DOMAIN)
        request = DeliveryRequest(
            "4ABC", "local", DOMAIN, Address("s", "outside.example"), (QueuedRecipient(0, address, address),), 9, 0.0
        )
        [result] = await agent.deliver(request, Bytes(b"Subject: x\r\n\r\nFrom me\r\nhi\r\n"))
        parts = [(part.status, part.reason) for part in result.parts] or [(result.status, result.reason)]
        found[user.lower()] = {(status, _plain(reason)) for status, reason in parts}
    actions.close()
    await asyncio.sleep(0)
    helper.close()
    return found


async def test_outcomes_and_mailboxes_are_postfixs(place: Path) -> None:
    theirs = await asyncio.to_thread(_theirs, place)
    ours = await _ours(place)
    assert ours == theirs
    boxes = [(place / name / "games").read_text() for name in ("theirs", "ours")]
    theirs_lines, ours_lines = ([line for line in box.splitlines() if _is_local(line)] for box in boxes)
    # Theirs arrive in any order, ours in the order of USERS.
    assert sorted(ours_lines) == sorted(theirs_lines)
    assert boxes[1].startswith("From s@outside.example  ") and boxes[1].endswith("\nhi\n\n")


def _is_local(line: str) -> bool:
    return line.startswith((">From", "Return-Path", "X-Original-To", "Delivered-To"))
