"""kill -9 at any moment loses no acknowledged message: the whole program, under load, every message counted.

In one process and in several: there one of them dies, or all do. `make crash-campaign` is the long form.
"""

import contextlib
import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pymta.spool.faults import ROLE_STEPS, STEPS
from tests.support.load import Account, Load, Sink, account, maildir_arrivals, message
from tests.support.system import PymtaSystem, eventually, roles

ROUNDS = int(os.environ.get("PYMTA_CRASH_ROUNDS", "0"))
MODELS = ("single", "roles")
# All of them in the campaign; otherwise those that no test of the spool or the queue manager alone has.
ALL_STEPS = {"single": STEPS, "roles": STEPS + ROLE_STEPS}
SHORT_STEPS = {"single": ("journal synced", "moved to database", "delivered"), "roles": ROLE_STEPS}
# A message on hold is moved when the program stops, if not before.
STEPS_OF_STOPPING = ("transaction begun", "rows written", "committed", "moved to database")
USERS = ("one", "two")
# Each sender's recipients: two Maildirs, one other host, a mixture, and one who does not exist.
RECIPIENTS = (
    ["one@example.com", "two@example.com"],
    ["far@sink.example"],
    ["far@sink.example", "one@example.com"],
    ["no-one@sink.example"],
)


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as server, server.running():
        yield server


@pytest.fixture
def system(pymta_system: Callable[..., PymtaSystem], tmp_path: Path, sink: Sink, model: str) -> PymtaSystem:
    boxes = tmp_path / "boxes"
    boxes.mkdir(mode=0o1777)
    boxes.chmod(0o1777)
    return pymta_system(
        {
            "process_model": model,
            "smtpd_processes": "2",
            "delivery_processes": "2",
            "mydestination": "",
            "virtual_mailbox_domains": "example.com",
            "virtual_mailbox_maps": "inline:{one@example.com=one/, two@example.com=two/}",
            "virtual_mailbox_base": str(boxes),
            "virtual_uid_maps": "static:65534",
            "virtual_gid_maps": "static:65534",
            "virtual_minimum_uid": "1",
            "smtpd_client_connection_count_limit": "0",
            "relayhost": f"[127.0.0.1]:{sink.port}",
            "smtpd_sender_restrictions": "check_sender_access inline:{held@a.example=HOLD}",
            "minimal_backoff_time": "1s",
        }
    )


def settle(system: PymtaSystem, load: Load, sink: Sink, boxes: Path) -> Account:
    """Everything delivered, the queue sound and empty; what became of every message."""
    eventually(lambda: system.command("postqueue", "-p").stdout == "Mail queue is empty\n", 60)
    arrivals = list(sink.arrivals)
    for user in USERS:
        arrivals += maildir_arrivals(boxes / user, f"{user}@example.com")
    spool = system.folder / "spool" / "pymta" / "queue"
    # What the dead left is removed beside the mail that flows, and by the successor of each of them.
    eventually(lambda: not files_of_messages(spool), 30)
    system.stop()
    assert not files_of_messages(spool)
    with contextlib.closing(sqlite3.connect(spool / "queue.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        for table in ("messages", "recipients", "content"):
            assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    return account(load, arrivals)


def files_of_messages(spool: Path) -> list[Path]:
    """Content, of messages or of what was going to be one."""
    return [path for name in ("content", "drafts") for path in spool.glob(f"{name}/*/*") if path.is_file()]


def report(what: str, load: Load, result: Account) -> None:
    """The numbers, for `make crash-campaign`."""
    print(
        f"\n{what}: {len(load.kills)} kills, {len(load.acknowledged)} messages acknowledged, {len(result.lost)} lost, "
        f"{result.duplicates} deliveries repeated, {len(result.unexplained)} of them without need"
    )


def kill_something(system: PymtaSystem, chance: random.Random) -> None:
    """One process, whichever it is, which is started again by its supervisor; or all of them, and start again."""
    there = list(roles(system).values())
    victim = chance.choice([0, *there])
    if victim:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        return
    system.stop(signal.SIGKILL)
    system.start()


@contextlib.contextmanager
def deaths_noted(system: PymtaSystem, load: Load) -> Iterator[None]:
    """Note the moments at which the supervisor found a process dead."""
    ends = threading.Event()

    def watch() -> None:
        seen = 0
        while not ends.wait(0.02):
            count = system.log.count("killed by signal 9")
            if count > seen:
                seen = count
                load.kills.append(time.time())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.timeout(100 + 30 * ROUNDS)
def test_no_acknowledged_message_is_lost_at_any_moment(
    system: PymtaSystem, sink: Sink, tmp_path: Path, model: str
) -> None:
    chance = random.Random(os.environ.get("PYMTA_CRASH_SEED", "4711"))
    rounds = ROUNDS or {"single": 2, "roles": 4}[model]
    load = Load(system, RECIPIENTS)
    with load.running():
        for _ in range(rounds):
            time.sleep(chance.uniform(0.1, 0.8))
            load.kills.append(time.time())
            kill_something(system, chance)
            load.kills.append(time.time())
        # So many that it means something.
        eventually(lambda: len(load.acknowledged) > 5 * rounds, 30)
    result = settle(system, load, sink, tmp_path / "boxes")
    report(f"{model}, at random moments", load, result)
    assert result.lost == []
    assert result.unexplained == []


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.timeout(300)
def test_no_acknowledged_message_is_lost_at_any_named_step(
    system: PymtaSystem, sink: Sink, tmp_path: Path, model: str
) -> None:
    chance = random.Random(os.environ.get("PYMTA_CRASH_SEED", "1"))
    load = Load(system, RECIPIENTS)
    with load.running(), deaths_noted(system, load):
        for step in ALL_STEPS[model] if ROUNDS else SHORT_STEPS[model]:
            system.stop(signal.SIGKILL)
            load.kills.append(time.time())
            is_of_stopping = step in STEPS_OF_STOPPING
            system.environment = {"PYMTA_FAULT": f"{step}:{1 if is_of_stopping else chance.randint(1, 10)}"}
            before = system.log.count("killed by signal 9")
            # It may be dead again before anybody could ask it whether it is up.
            with contextlib.suppress(AssertionError):
                system.start()
            if is_of_stopping:
                system.send("far@sink.example", message("held"), sender="held@a.example")
                system.stop()
            eventually(lambda before=before: has_died(system, before))
            load.kills.append(time.time())
        system.environment = {}
        system.stop(signal.SIGKILL)
        load.kills.append(time.time())
        system.start()
        eventually(lambda: len(load.acknowledged) > 20, 30)
    system.command("postsuper", "-d", "ALL", "hold")
    result = settle(system, load, sink, tmp_path / "boxes")
    report(f"{model}, at named steps", load, result)
    assert result.lost == []
    assert result.unexplained == []


def has_died(system: PymtaSystem, before: int) -> bool:
    """The one process, or one of several."""
    ended = system.process is None or system.process.poll() is not None
    return ended or system.log.count("killed by signal 9") > before
