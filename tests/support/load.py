"""Load on a running pymta, a server that takes what comes of it, and the account of every message.

A message carries a mark of its own in its header; what was acknowledged must arrive, and what arrives twice must have
a reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import smtplib
import socketserver
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from pymta.testing.peer import ScriptedPeer
from tests.support.system import PymtaSystem

_MARK = re.compile(rb"^X-Mark: <(\S+)>", re.MULTILINE)
_QUEUE_ID = re.compile(rb"\bid ([0-9A-Za-z]+)")
_REMOVED = re.compile(r": ([0-9A-Za-z]+): removed$", re.MULTILINE)


@dataclass(frozen=True)
class Arrival:
    """One message at its destination. `queue_id` is the one under which pymta had it."""

    mark: str
    queue_id: str
    recipient: str
    is_notice: bool
    when: float


def parse_arrival(head: bytes, recipient: str, when: float) -> Arrival | None:
    """From the first lines of what arrived; None where it has no mark."""
    mark = _MARK.search(head)
    queue_id = _QUEUE_ID.search(head)
    is_notice = b"multipart/report" in head
    return mark and Arrival(mark[1].decode(), queue_id[1].decode() if queue_id else "", recipient, is_notice, when)


class Sink(socketserver.ThreadingTCPServer):
    """An SMTP server that remembers what it took; recipients that begin with `no-` do not exist here.

    It takes `seconds` for each message; `most` is how many it had under way at once.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int] = ("127.0.0.1", 0), *, seconds: float = 0.0) -> None:
        super().__init__(address, _SinkSession)
        self.arrivals: list[Arrival] = []
        self.seconds = seconds
        self.most = 0
        self._under_way = 0
        self._lock = threading.Lock()
        self.port: int = self.server_address[1]

    @contextlib.contextmanager
    def running(self) -> Iterator[Sink]:
        thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            thread.join()
            self.server_close()

    def spend_time(self) -> None:
        with self._lock:
            self._under_way += 1
            self.most = max(self.most, self._under_way)
        time.sleep(self.seconds)
        with self._lock:
            self._under_way -= 1


class _SinkSession(socketserver.StreamRequestHandler):
    # Several replies to pipelined commands are several writes: the second would wait for the first one's ACK, which a
    # client with nothing to say yet puts off for 40 ms.
    disable_nagle_algorithm = True

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self._serve()

    def _serve(self) -> None:
        recipients: list[str] = []
        self._say("220 sink.example ESMTP")
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"EHLO":
                self._say("250-sink.example", "250-PIPELINING", "250 8BITMIME")
            elif verb == b"RCPT":
                recipient = line.partition(b"<")[2].partition(b">")[0].decode()
                missing = recipient.startswith("no-")
                self._say("550 5.1.1 no such user" if missing else "250 2.1.5 Ok")
                recipients += [] if missing else [recipient]
            elif verb == b"DATA" and not recipients:
                self._say("554 5.5.1 no valid recipients")
            elif verb == b"DATA":
                self._say("354 go on")
                self._take(recipients)
                recipients = []
            elif verb == b"QUIT":
                self._say("221 bye")
                return
            else:
                self._say("250 Ok")

    def _take(self, recipients: Sequence[str]) -> None:
        head: list[bytes] = []
        size = 0
        while (line := self.rfile.readline()) != b".\r\n":
            if not line:
                return
            size += len(line)
            if size < 20_000:
                head.append(line)
        assert isinstance(self.server, Sink)
        if self.server.seconds:
            self.server.spend_time()
        for recipient in recipients:
            if arrival := parse_arrival(b"".join(head), recipient, time.time()):
                self.server.arrivals.append(arrival)
        self._say("250 2.0.0 Ok")

    def _say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())


class Sender(threading.Thread):
    """Sends numbered messages until told to stop; remembers which were acknowledged and what was refused."""

    def __init__(self, system: PymtaSystem, label: str, recipients: Sequence[str], stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.system = system
        self.label = label
        self.recipients = list(recipients)
        self.stop_event = stop
        self.acknowledged: list[str] = []
        self.refusals: list[smtplib.SMTPException] = []
        self._chance = random.Random(label)

    def run(self) -> None:
        number = 0
        while not self.stop_event.is_set():
            try:
                with self.system.smtp() as session:
                    while not self.stop_event.is_set():
                        mark = f"{self.label}-{number}"
                        number += 1
                        session.sendmail("sender@sink.example", self.recipients, message(mark, self._chance))
                        self.acknowledged.append(mark)
            except smtplib.SMTPResponseException as error:
                self.refusals.append(error)
            except (OSError, smtplib.SMTPException):
                time.sleep(0.02)


def message(mark: str, chance: random.Random | None = None) -> str:
    size = chance.choice([10, 5000, 200_000]) if chance else 10
    return f"Subject: {mark}\r\nX-Mark: <{mark}>\r\n\r\n" + ("x" * 70 + "\r\n") * (size // 72 + 1)


@dataclass
class Load:
    """Several senders, one for each list of recipients; `kills` are the moments at which pymta was killed."""

    system: PymtaSystem
    recipients: Sequence[Sequence[str]]
    kills: list[float] = field(default_factory=list)
    senders: list[Sender] = field(default_factory=list)

    @contextlib.contextmanager
    def running(self) -> Iterator[Load]:
        stop = threading.Event()
        self.senders = [Sender(self.system, f"s{n}", each, stop) for n, each in enumerate(self.recipients)]
        for sender in self.senders:
            sender.start()
        try:
            yield self
        finally:
            stop.set()
            for sender in self.senders:
                sender.join(30)

    @property
    def acknowledged(self) -> dict[str, Sequence[str]]:
        """Mark to recipients."""
        return {mark: sender.recipients for sender in self.senders for mark in sender.acknowledged}

    @property
    def refusals(self) -> list[smtplib.SMTPException]:
        return [error for sender in self.senders for error in sender.refusals]


@dataclass(frozen=True)
class Account:
    """What became of every message: the marks that are lost, and how many deliveries were repeated."""

    lost: list[str]
    duplicates: int
    unexplained: list[str]


def account(load: Load, arrivals: Sequence[Arrival]) -> Account:
    """A delivery may be repeated only across a kill, and only where the first was not recorded (`removed`) before.

    A recipient that begins with `no-` is answered by a notice, or by two where the kill came between the notice and
    its record.
    """
    found: dict[tuple[str, str], list[Arrival]] = defaultdict(list)
    for arrival in arrivals:
        found[arrival.mark, "notice" if arrival.is_notice else arrival.recipient].append(arrival)
    lost = [
        f"{mark} to {recipient}"
        for mark, recipients in load.acknowledged.items()
        for recipient in recipients
        if not found[mark, "notice" if recipient.startswith("no-") else recipient]
    ]
    removals = _removals(load.system.log)
    duplicates, unexplained = 0, []
    for (mark, recipient), copies in found.items():
        copies.sort(key=lambda arrival: (arrival.queue_id, arrival.when))
        for first, second in pairwise(copies):
            duplicates += 1
            crossed = any(
                begin <= kill + 1 and kill <= end for kill in load.kills for begin, end in [_decisions(first, second)]
            )
            if not crossed or removals.get(first.queue_id, 0) > 1:
                unexplained.append(f"{mark} to {recipient}")
    return Account(lost, duplicates, unexplained)


def _decisions(first: Arrival, second: Arrival) -> tuple[float, float]:
    """When what was done twice was done: two deliveries of one message, or two notices, as their short ids tell."""
    if first.queue_id == second.queue_id:
        return first.when, second.when
    return int(first.queue_id, 16) / 1e6, int(second.queue_id, 16) / 1e6


def _removals(log: str) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for queue_id in _REMOVED.findall(log):
        counts[queue_id] += 1
    return counts


def maildir_arrivals(folder: Path, recipient: str) -> list[Arrival]:
    """What lies in a Maildir. A file's time is that of its delivery."""
    found = []
    for path in (folder / "new").glob("*"):
        with path.open("rb") as file:
            arrival = parse_arrival(file.read(20_000), recipient, path.stat().st_mtime)
        found += [arrival] if arrival else []
    return found


class PeerThread:
    """A `ScriptedPeer` on a thread of its own, for tests that talk to another process."""

    def __init__(self, peer: ScriptedPeer) -> None:
        self.peer = peer
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> ScriptedPeer:
        self._thread.start()
        return self._run(self.peer.__aenter__())

    def __exit__(self, *_: object) -> None:
        self._run(self.peer.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)
