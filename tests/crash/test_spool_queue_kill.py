"""SIGKILL of a delivering queue manager: every acknowledged message is delivered, at worst once more."""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

# Enqueues from a few tasks and delivers to a file, one line per delivery (`=ID`), per notice (`!ID`) and per
# acknowledgement (`+ID`). With `drain` it only delivers what is there and ends when the spool is empty.
CHILD = """
import asyncio, os, sys, time
from pathlib import Path
from pymta.config import Config, build
from pymta.model.address import Address
from pymta.model.delivery import DeliveryResult, Outcome
from pymta.model.queue import QueuedRecipient, QueueEntry, QueueName
from pymta.model.route import AddressClass, Route
from pymta.qmgr import QueueManager, QueueManagerSettings, transport_limits
from pymta.runtime.clock import SystemClock
from pymta.spool import SqliteSpool, segments, writing
from pymta.spool.faults import from_environment
from pymta.testing import RecordingLog

# So small that messages move to the database.
segments.SEGMENT_BYTES = 1 << 19
writing.FRESH_MESSAGES = 5

DRAIN = sys.argv[3] == "drain"
journal = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def say(text):
    os.write(journal, (text + "\\n").encode())

class Routes:
    def known(self, recipient):
        return None

    async def resolve(self, recipient, sender):
        return Route("smtp", recipient.domain, recipient, AddressClass.DEFAULT)

class Agent:
    async def deliver(self, request, content):
        say("=" + request.queue_id)
        outcome = Outcome.BOUNCED if request.nexthop == "never.example" else Outcome.SENT
        return [DeliveryResult(each.number, outcome, "2.0.0", "ok") for each in request.recipients]

class Notices:
    async def failed(self, entry, results, content):
        say("!" + entry.queue_id)

async def main():
    config = Config.from_values({"myhostname": "mx.example.com"})
    faults = from_environment(os.environ)
    spool = SqliteSpool(Path(sys.argv[1]), RecordingLog(), SystemClock(), faults=faults)
    await spool.open()
    agent = Agent()
    queue = QueueManager(build(QueueManagerSettings, config), spool, Routes(), lambda name: agent,
                         lambda name: transport_limits(name, config.transport_value), Notices(), SystemClock(),
                         RecordingLog(), faults=faults)
    await queue.start()

    async def work(number):
        domain = "never.example" if number == 0 else f"d{number}.example"
        bob = Address("bob", domain)
        while True:
            queue_id = queue.new_queue_id()
            writer = queue.new_content(queue_id)
            writer.write(b"x" * (10 if number % 4 else 70000))
            now = time.time()
            recipients = (QueuedRecipient(0, bob, bob), QueuedRecipient(1, bob.with_domain("good.example"), bob))
            await queue.enqueue(QueueEntry(queue_id, QueueName.INCOMING, Address("a", "example.org"), recipients, now,
                                           now, writer.size), writer)
            say("+" + queue_id)

    if not DRAIN:
        await asyncio.gather(*(work(number) for number in range(8)))
    while await spool.counts():
        await asyncio.sleep(0.02)
    await queue.stop()
    await spool._cleaning
    await spool.close()

asyncio.run(main())
"""

STEPS = ["journal synced", "committed", "delivered", "notice durable", "attempt recorded"]


def run(spool: Path, journal: Path, mode: str, fault: str) -> int:
    environment = dict(os.environ, PYMTA_FAULT=fault)
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(spool), str(journal), mode],
        env=environment,
        timeout=40,
        capture_output=True,
        check=False,
    )
    assert not child.stderr, child.stderr.decode()
    return child.returncode


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("occurrence", [1, 200])
def test_every_acknowledged_message_is_delivered(tmp_path: Path, step: str, occurrence: int) -> None:
    spool, journal = tmp_path / "spool", tmp_path / "journal"
    journal.touch()
    assert run(spool, journal, "load", f"{step}:{occurrence}") == -signal.SIGKILL
    before = journal.read_text().split()
    assert run(spool, journal, "drain", "") == 0
    said = journal.read_text().split()
    acknowledged = {line[1:] for line in said if line[0] == "+"}
    delivered = Counter(line[1:] for line in said if line[0] == "=")
    assert acknowledged <= set(delivered), "acknowledged and lost"
    # Two deliveries per message (two destinations), each at most once more for the one crash.
    assert max(delivered.values(), default=0) <= 4
    twice = [queue_id for queue_id, count in delivered.items() if count > 2]
    assert len(twice) <= len({line[1:] for line in before if line[0] == "="})
    assert not [path for path in (spool / "content").rglob("*") if path.is_file()]


def test_the_child_works_without_a_fault(tmp_path: Path) -> None:
    assert asyncio.run(asyncio.to_thread(run, tmp_path / "spool", tmp_path / "journal", "drain", "")) == 0
