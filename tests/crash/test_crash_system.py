"""kill -9 at any moment loses no acknowledged message: the whole program, under load, every message counted."""

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pymta.spool.faults import STEPS
from tests.support.load import Account, Load, Sink, account, maildir_arrivals
from tests.support.system import PymtaSystem, eventually

ROUNDS = int(os.environ.get("PYMTA_CRASH_ROUNDS", "4"))
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
def system(pymta_system: Callable[..., PymtaSystem], tmp_path: Path, sink: Sink) -> PymtaSystem:
    boxes = tmp_path / "boxes"
    boxes.mkdir(mode=0o1777)
    boxes.chmod(0o1777)
    return pymta_system(
        {
            "mydestination": "",
            "virtual_mailbox_domains": "example.com",
            "virtual_mailbox_maps": "inline:{one@example.com=one/, two@example.com=two/}",
            "virtual_mailbox_base": str(boxes),
            "virtual_uid_maps": "static:65534",
            "virtual_gid_maps": "static:65534",
            "virtual_minimum_uid": "1",
            "smtpd_client_connection_count_limit": "0",
            "relayhost": f"[127.0.0.1]:{sink.port}",
            "minimal_backoff_time": "1s",
        }
    )


def settle(system: PymtaSystem, load: Load, sink: Sink, boxes: Path) -> Account:
    eventually(lambda: system.command("postqueue", "-p").stdout == "Mail queue is empty\n", 60)
    arrivals = list(sink.arrivals)
    for user in USERS:
        arrivals += maildir_arrivals(boxes / user, f"{user}@example.com")
    return account(load, arrivals)


def report(load: Load, result: Account) -> None:
    """The numbers, for `make crash-campaign`."""
    print(
        f"{len(load.kills)} kills, {len(load.acknowledged)} messages acknowledged, {len(result.lost)} lost, "
        f"{result.duplicates} deliveries repeated, {len(result.unexplained)} of them without need"
    )


@pytest.mark.timeout(100 + 30 * ROUNDS)
def test_no_acknowledged_message_is_lost_at_any_moment(system: PymtaSystem, sink: Sink, tmp_path: Path) -> None:
    chance = random.Random(os.environ.get("PYMTA_CRASH_SEED", "4711"))
    load = Load(system, RECIPIENTS)
    with load.running():
        for _ in range(ROUNDS):
            time.sleep(chance.uniform(0.3, 1.2))
            system.stop(signal.SIGKILL)
            load.kills.append(time.time())
            system.start()
        time.sleep(0.3)
    assert len(load.acknowledged) > 10 * ROUNDS, "the load was too small to mean anything"
    result = settle(system, load, sink, tmp_path / "boxes")
    report(load, result)
    assert result.lost == []
    assert result.unexplained == []


@pytest.mark.timeout(170)
def test_no_acknowledged_message_is_lost_at_any_named_step(system: PymtaSystem, sink: Sink, tmp_path: Path) -> None:
    chance = random.Random(1)
    load = Load(system, RECIPIENTS)
    with load.running():
        for step in STEPS:
            system.stop(signal.SIGKILL)
            load.kills.append(time.time())
            system.environment = {"PYMTA_FAULT": f"{step}:{chance.randint(1, 10)}"}
            # It may be dead again before anybody could ask it whether it is up.
            with contextlib.suppress(AssertionError):
                system.start()
            if system.process is not None:
                assert killed_itself(system.process), f"never came to {step!r}"
                system.stop()
            load.kills.append(time.time())
        system.environment = {}
        system.start()
    assert len(load.acknowledged) > 20, "the load was too small to mean anything"
    result = settle(system, load, sink, tmp_path / "boxes")
    report(load, result)
    assert result.lost == []
    assert result.unexplained == []
    assert not [path for path in (system.folder / "spool").rglob("content/*/*") if path.is_file()]


def killed_itself(process: subprocess.Popen[bytes]) -> bool:
    try:
        return process.wait(15) == -signal.SIGKILL
    except subprocess.TimeoutExpired:
        return False
