"""A queue of any length, made at once: `python -m bench.large_queue SPOOL [MESSAGES [SITES]]`.

Messages are written as the spool's own writer writes them, thousands to a transaction.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from pymta.model.address import Address
from pymta.model.queue import QueuedRecipient, QueueEntry, QueueName
from pymta.spool.ids import QueueIds
from pymta.spool.rows import NewMessage, encode
from pymta.spool.sqlite import Writer

_AT_ONCE = 5000
_CONTENT = b"From: s@example.com\r\nSubject: waiting\r\n\r\n" + b"x" * 460 + b"\r\n"
_REASON = "connect to mx.{site}[192.0.2.1]:25: Connection timed out"


def fill(spool: Path, messages: int, sites: int = 1000, *, due_in: float = 86400.0) -> None:
    """Add deferred messages for recipients at `d0.example`, `d1.example` ..., due within a day after `due_in`.

    `spool` is a spool directory that nobody has open; arrival times go back five days.
    """
    spool.mkdir(mode=0o700, parents=True, exist_ok=True)
    now = time.time()
    moment = now - 432_000
    step = 400_000 / max(1, messages)

    def clock() -> float:
        nonlocal moment
        moment += step
        return moment

    writer = Writer(spool / "queue.db")
    ids = QueueIds(clock, floor=writer.last_id_time())
    numbers = iter(range(messages))
    try:
        while batch := list(_messages(ids, numbers, sites, now + due_in)):
            writer.apply(batch, [], [], ids.last)
    finally:
        writer.close()


def _messages(ids: QueueIds, numbers: Iterator[int], sites: int, due: float) -> Iterator[NewMessage]:
    for number in islice(numbers, _AT_ONCE):
        site = f"d{number % sites}.example"
        address = Address(f"user{number}", site)
        recipient = QueuedRecipient(0, address, address, status="4.4.1", reason=_REASON.format(site=site))
        queue_id = ids.new()
        arrival = ids.last / 1e6
        yield encode(
            QueueEntry(
                queue_id,
                QueueName.DEFERRED,
                Address(f"sender{number % 97}", "example.com"),
                (recipient,),
                arrival,
                arrival,
                len(_CONTENT),
                next_attempt=due + number % 86400,
                attempts=3,
            ),
            _CONTENT,
        )


if __name__ == "__main__":
    fill(Path(sys.argv[1]), *(int(word) for word in sys.argv[2:4]))
