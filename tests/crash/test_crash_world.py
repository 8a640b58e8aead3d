"""Clocks that jump and disks that cannot be synced, for all processes of the program at once."""

import smtplib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.load import Sink, message
from tests.support.peers import free_port
from tests.support.system import PymtaSystem, World, eventually

PROCESS_MODEL = "roles"
DAY = 86400.0
LARGE = 200_000
QUICK = {
    "minimal_backoff_time": "1s",
    "maximal_backoff_time": "1s",
    # When it is tried again to record what was delivered.
    "transport_retry_time": "1s",
    "smtpd_processes": "2",
    "notify_classes": "",
}


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as server, server.running():
        yield server


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "world")


@pytest.fixture
def system(pymta_system: Callable[..., PymtaSystem], world: World) -> PymtaSystem:
    """A program that cannot deliver yet."""
    return pymta_system({"relayhost": f"[127.0.0.1]:{free_port()}", **QUICK}, environment=world.environment)


def deliver_to(system: PymtaSystem, sink: Sink) -> None:
    system.write_main({"relayhost": f"[127.0.0.1]:{sink.port}"})
    system.command("pymta", "reload")


def marks(sink: Sink) -> Counter[str]:
    return Counter(arrival.mark for arrival in sink.arrivals)


def deferred(system: PymtaSystem, count: int) -> bool:
    return [row["queue_name"] for row in system.queue()] == ["deferred"] * count


def send(system: PymtaSystem, mark: str) -> str:
    """A message whose content is a file; the refusal, or nothing."""
    with system.smtp() as session:
        try:
            session.sendmail("s@a.example", ["a@sink.example"], message(mark) + "z" * LARGE)
        except smtplib.SMTPDataError as error:
            return f"{error.smtp_code} {error.smtp_error.decode()}"  # type: ignore[union-attr]
    return ""


def test_the_clock_jumps_both_ways(system: PymtaSystem, world: World, sink: Sink) -> None:
    ids = []
    for number, offset in enumerate((0.0, -DAY, DAY)):
        world.set_clock(offset)
        ids.append(system.send("a@sink.example", message(str(number))))
        eventually(lambda number=number: deferred(system, number + 1))
    assert len(set(ids)) == 3
    # Back in the past, new mail flows at once, and on request what was put off until a day to come.
    world.set_clock(-DAY)
    deliver_to(system, sink)
    system.send("a@sink.example", message("fresh"))
    eventually(lambda: "fresh" in marks(sink))
    system.command("postqueue", "-f")
    eventually(lambda: not system.queue())
    assert marks(sink) == Counter(["0", "1", "2", "fresh"])
    assert "killed" not in system.log, "no process takes another one for hung"


def test_what_cannot_be_synced_is_refused_until_it_can(system: PymtaSystem, world: World, sink: Sink) -> None:
    assert not send(system, "before")
    eventually(lambda: deferred(system, 1))
    with world.broken_disk():
        refusals = {send(system, f"lost-{number}") for number in range(4)}
        assert refusals == {"451 4.3.0 Error: queue file write error"}
        assert "Input/output error" in system.log
        # Deliveries go on meanwhile.
        deliver_to(system, sink)
        eventually(lambda: marks(sink) == Counter(["before"]))
    eventually(lambda: not send(system, "again"))
    eventually(lambda: not system.queue())
    assert marks(sink) == Counter(["before", "again"])
