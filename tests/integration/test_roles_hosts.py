"""Two delivery processes and what they must agree on: which hosts are down, how much a destination takes, DNS."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.load import Sink, message
from tests.support.name_servers import NameServers
from tests.support.system import PymtaSystem, eventually, roles

Start = Callable[..., PymtaSystem]
DOMAINS = 17
ZONE = "first A 127.0.0.2\nsecond A 127.0.0.1\none MX 10 second\n" + "".join(
    f"d{number} MX 10 first\nd{number} MX 20 second\n" for number in range(DOMAINS)
)


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NameServers]:
    with NameServers(tmp_path_factory.mktemp("dns"), {"hosts.test": ZONE}).running() as servers:
        yield servers


@pytest.fixture
def second() -> Iterator[Sink]:
    with Sink(seconds=0.3) as sink, sink.running():
        yield sink


@pytest.fixture
def begun(pymta_system: Start, names: NameServers, second: Sink) -> Start:
    """Starts a system whose mail goes to the zone's hosts, on the port of `second`."""
    parameters = {
        "process_model": "roles",
        "smtpd_processes": "1",
        "delivery_processes": "2",
        "dns_nameservers": f"127.0.0.1:{names.port}",
        "disable_dns_lookups": "no",
        "smtp_host_lookup": "dns",
        "smtp_tcp_port": str(second.port),
        "smtp_host_backoff_time": "60s",
        "mydestination": "",
    }
    return lambda **more: pymta_system({**parameters, **more})


def _send(system: PymtaSystem, domains: list[str]) -> None:
    with system.smtp() as session:
        for number, domain in enumerate(domains):
            session.sendmail("s@a.example", [f"u@{domain}"], message(f"{domain}-{number}"))


def _clients(system: PymtaSystem, port: int) -> set[str]:
    """Which delivery processes have a connection to `port` now."""
    sockets = {
        fields[9]
        for fields in map(str.split, Path("/proc/net/tcp").read_text().splitlines()[1:])
        if fields[2].endswith(f":{port:04X}") and fields[3] == "01"
    }
    return {
        name
        for name, pid in roles(system).items()
        if name.startswith("delivery")
        for link in _links(pid)
        if link.startswith("socket:[") and link[8:-1] in sockets
    }


def _links(pid: int) -> Iterator[str]:
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            yield os.readlink(descriptor)


@pytest.mark.timeout(60)
def test_what_one_process_finds_out_about_a_host_the_other_knows(begun: Start, second: Sink) -> None:
    system = begun()
    refused = f"connect to first.hosts.test[127.0.0.2]:{second.port}: Connection refused"
    _send(system, ["d0.hosts.test"])
    eventually(lambda: len(second.arrivals) == 1)
    assert system.log.count(refused) == 1
    # Each takes a part, as all these are under way at once; neither tries the host that one of them found down.
    _send(system, [f"d{number}.hosts.test" for number in range(1, 9)])
    eventually(lambda: _clients(system, second.port) == {"delivery-1", "delivery-2"})
    eventually(lambda: len(second.arrivals) == 9)
    assert system.log.count(refused) == 1
    with Sink(("127.0.0.2", second.port), seconds=0.3) as first, first.running():
        # One of them finds out that the host is back; then both prefer it again.
        _send(system, ["[127.0.0.2]"])
        eventually(lambda: len(first.arrivals) == 1)
        _send(system, [f"d{number}.hosts.test" for number in range(9, 17)])
        eventually(lambda: _clients(system, second.port) == {"delivery-1", "delivery-2"})
        eventually(lambda: len(first.arrivals) == 9)
    assert len(second.arrivals) == 9


@pytest.mark.timeout(60)
def test_a_destination_gets_no_more_at_once_than_it_may_from_both_together(begun: Start, second: Sink) -> None:
    system = begun(smtp_destination_concurrency_limit="3", smtp_initial_destination_concurrency="3")
    _send(system, ["one.hosts.test"] * 12)
    eventually(lambda: _clients(system, second.port) == {"delivery-1", "delivery-2"})
    eventually(lambda: len(second.arrivals) == 12)
    assert second.most == 3


@pytest.mark.timeout(60)
def test_each_process_asks_each_question_once(begun: Start, second: Sink, names: NameServers) -> None:
    second.seconds = 0.01
    before = len(names.asked("one.hosts.test")), len(names.asked("second.hosts.test"))
    _send(begun(), ["one.hosts.test"] * 200)
    eventually(lambda: len(second.arrivals) == 200)
    after = len(names.asked("one.hosts.test")), len(names.asked("second.hosts.test"))
    asked = [one - other for one, other in zip(after, before, strict=True)]
    assert asked in ([1, 1], [2, 2]), names.asked("one.hosts.test")
