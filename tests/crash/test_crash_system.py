"""kill -9 at any moment loses no acknowledged message: the whole program, in a loop under load, counted."""

import contextlib
import random
import re
import signal
import smtplib
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.system import PymtaSystem, eventually

ROUNDS = 5
SENDERS = 6


class _Sender(threading.Thread):
    """Sends numbered messages until told to stop; remembers which were acknowledged."""

    def __init__(self, system: PymtaSystem, name: str, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.system = system
        self.label = name
        self.stop_event = stop
        self.acknowledged: list[str] = []

    def run(self) -> None:
        number = 0
        while not self.stop_event.is_set():
            with contextlib.suppress(OSError, smtplib.SMTPException), self.system.smtp() as session:
                while not self.stop_event.is_set():
                    mark = f"{self.label}-{number}"
                    number += 1
                    text = f"Subject: {mark}\r\nX-Mark: <{mark}>\r\n\r\n" + "x" * random.choice([10, 5000, 100_000])
                    session.sendmail("sender@a.example", ["one@example.com", "two@example.com"], text)
                    self.acknowledged.append(mark)


def _marks(folder: Path) -> dict[str, int]:
    counts: dict[str, int] = {}
    for path in folder.rglob("new/*"):
        mark = re.search(rb"X-Mark: <(\S+)>", path.read_bytes()[:4000])
        if mark:
            counts[mark[1].decode()] = counts.get(mark[1].decode(), 0) + 1
    return counts


@pytest.mark.timeout(170)
def test_no_acknowledged_message_is_lost(pymta_system: Callable[..., PymtaSystem], tmp_path: Path) -> None:
    boxes = tmp_path / "boxes"
    boxes.mkdir(mode=0o1777)
    boxes.chmod(0o1777)
    system = pymta_system(
        {
            "mydestination": "",
            "virtual_mailbox_domains": "example.com",
            "virtual_mailbox_maps": "inline:{one@example.com=one/, two@example.com=two/}",
            "virtual_mailbox_base": str(boxes),
            "virtual_uid_maps": "static:65534",
            "virtual_gid_maps": "static:65534",
            "virtual_minimum_uid": "1",
            "smtpd_client_connection_count_limit": "0",
        }
    )
    stop = threading.Event()
    senders = [_Sender(system, f"s{number}", stop) for number in range(SENDERS)]
    for sender in senders:
        sender.start()
    generator = random.Random(4711)
    for _ in range(ROUNDS):
        time.sleep(generator.uniform(0.5, 1.5))
        system.stop(signal.SIGKILL)
        system.start()
    stop.set()
    for sender in senders:
        sender.join(30)
    acknowledged = {mark for sender in senders for mark in sender.acknowledged}
    assert len(acknowledged) > 20, "the load was too small to mean anything"
    eventually(lambda: system.command("postqueue", "-p").stdout == "Mail queue is empty\n", 60)
    delivered = _marks(boxes)
    lost = sorted(mark for mark in acknowledged if delivered.get(mark, 0) < 2)
    assert lost == []
