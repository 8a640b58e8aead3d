"""Cases of many at once: 10,000 idle connections, a list of 50,000, a destination that is dead with 10,000 waiting."""

from __future__ import annotations

import contextlib
import re
import smtplib
import socket
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.case import Case, Figure, Meter, System, place, scaled
from bench.cases_queue import wait_for
from bench.measure import shared_out_kib
from bench.systems import Pymta, Running, smtp_sink, smtp_source
from pymta.runtime.descriptors import raise_limit
from tests.support.load import Sink, message

_GREETING_SECONDS = 10.0
_HELD_SECONDS = 5.0
_ROOM_SECONDS = 4.0


def ten_thousand_idle(system: System, scale: float) -> Figure:
    """Milliseconds until a newcomer is greeted while 10,000 idle; PSS each, and how many of them were greeted at all.

    Postfix has a process for each, default_process_limit (100) of them; the others wait for a greeting. A newcomer who
    is not greeted within 10 seconds counts for those.
    """
    count = scaled(10_000, scale)
    with place() as here, system(here, {"smtpd_client_connection_count_limit": "0"}).running() as running:
        with _connection(running.port) as first:
            first.settimeout(_GREETING_SECONDS)
            first.recv(1000)
        before = shared_out_kib(running.pid)
        with _many_connections(running.port, count) as idle:
            held = _greeted(idle)
            each = (shared_out_kib(running.pid) - before) / max(1, held)
            waits = [_greeting_milliseconds(running.port) for _ in range(5 if held == count else 1)]
            more = {"greeted": held, "KiB each": each, "worst newcomer, ms": max(waits)}
            return Figure(statistics.median(waits), peak_kib=shared_out_kib(running.pid), more=more)


def _connection(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), _GREETING_SECONDS)


@contextlib.contextmanager
def _many_connections(port: int, count: int) -> Iterator[list[socket.socket]]:
    """As many as there is room for, the backlog included: one that is not let in after two repetitions ends it."""
    raise_limit()
    with contextlib.ExitStack() as stack:
        connections = []
        with contextlib.suppress(TimeoutError):
            for _ in range(count):
                connections.append(stack.enter_context(socket.create_connection(("127.0.0.1", port), _ROOM_SECONDS)))
        yield connections


def _greeted(connections: Sequence[socket.socket]) -> int:
    """How many have their greeting once none has come for five seconds."""
    waiting = list(connections)
    for connection in waiting:
        connection.setblocking(False)
    quiet_since = time.monotonic()
    while waiting and time.monotonic() < quiet_since + _HELD_SECONDS:
        left = [connection for connection in waiting if not _has_data(connection)]
        if len(left) < len(waiting):
            waiting, quiet_since = left, time.monotonic()
        time.sleep(0.1)
    return len(connections) - len(waiting)


def _has_data(connection: socket.socket) -> bool:
    try:
        return bool(connection.recv(1000))
    except BlockingIOError:
        return False


def _greeting_milliseconds(port: int) -> float:
    start = time.monotonic()
    with contextlib.suppress(TimeoutError), _connection(port) as fresh:
        fresh.recv(1000)
    return 1000 * (time.monotonic() - start)


def fan_out(system: System, scale: float) -> Figure:
    """A list of 50,000 addresses from an included file, to one destination; recipients per second.

    `a letter meanwhile` is how long one ordinary message for the same destination takes that comes behind the list.
    """
    members = scaled(50_000, scale)
    with (
        place() as here,
        smtp_sink() as (sink, _),
        system(here, _list(system, here, members, sink)).running() as running,
    ):
        _send(running, "first@example.net")
        running.wait_for_sent(1)
        meter = Meter(running.pid)
        domain = "pymta.example.com" if running.name == "pymta" else "postfix.example.com"
        _send(running, f"everybody@{domain}")
        # What local(8) forwards is one delivery in its log as well.
        running.wait_for_sent(members // 100 + 2, 300)
        begin = time.monotonic()
        _send(running, "letter@example.net")
        letter = _wait_for_letter(running) - begin
        running.wait_for_sent(members + 3, 300)
        return meter.figure(members, more={"a letter meanwhile, ms": 1000 * letter})


def _list(system: System, here: Path, members: int, sink: int) -> dict[str, str]:
    (here / "members").write_text("".join(f"member{number}@example.net\n" for number in range(members)))
    # Postfix reads texthash as it reads any table, without the colon of aliases(5).
    colon = ":" if system is Pymta else ""
    (here / "aliases").write_text(f"everybody{colon} :include:{here}/members\n")
    return {
        "alias_maps": f"texthash:{here}/aliases",
        "relayhost": f"[127.0.0.1]:{sink}",
        "local_recipient_maps": "",
    }


def _wait_for_letter(running: Running) -> float:
    log = running.log
    wait_for(lambda: re.search(r"to=<letter@example\.net>.*status=sent", log.read_text(errors="replace")), 300)
    return time.monotonic()


def _send(running: Running, recipient: str) -> None:
    with smtplib.SMTP("127.0.0.1", running.port, local_hostname="client.example.com", timeout=120) as session:
        session.sendmail("sender@example.com", [recipient], "Subject: x\r\n\r\nbody\r\n")


def one_dead_of_ten(system: System, scale: float) -> Figure:
    """p99 in milliseconds from acceptance to arrival at nine live destinations.

    First all ten are alive (`without`); then the tenth takes connections and says nothing, with 10,000 messages for it
    in the active queue.
    """
    waiting, probes = scaled(10_000, scale), scaled(1000, scale)
    with place() as here, _live_sinks(9) as sinks, _silent() as dead:
        routes = [f"live{number}.example=smtp:[127.0.0.1]:{sink.port}" for number, sink in enumerate(sinks)]
        maps = ", ".join([*routes, f"dead.example=smtp:[127.0.0.1]:{dead}"])
        with system(here, {"transport_maps": f"inline:{{{maps}}}"}).running() as running:
            _delays(running, sinks, "warm", 20)
            without = _delays(running, sinks, "without", probes)
            smtp_source(running.port, waiting, size=1000, recipient="x@dead.example")
            delays = _delays(running, sinks, "with", probes)
    names = ("p50 with", "p99 with", "p50 without", "p99 without")
    figures = [statistics.quantiles(each, n=100)[rank] for each in (delays, without) for rank in (49, 98)]
    ratio = figures[1] / figures[3]
    return Figure(figures[1], more={**dict(zip(names, figures, strict=True)), "p99 with/without": ratio})


def _delays(running: Running, sinks: Sequence[Sink], label: str, probes: int) -> list[float]:
    """Milliseconds of each probe, sent one after the other over one session."""
    accepted = {}
    with smtplib.SMTP("127.0.0.1", running.port, local_hostname="client.example.com", timeout=60) as session:
        for number in range(probes):
            mark = f"{label}-{number}"
            session.sendmail("s@example.com", [f"p@live{number % len(sinks)}.example"], message(mark))
            accepted[mark] = time.time()
    arrived: dict[str, float] = {}

    def complete() -> bool:
        arrived.update({one.mark: one.when for sink in sinks for one in sink.arrivals if one.mark in accepted})
        return len(arrived) == probes

    wait_for(complete)
    return [max(0.0, 1000 * (arrived[mark] - accepted[mark])) for mark in accepted]


@contextlib.contextmanager
def _live_sinks(count: int) -> Iterator[list[Sink]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Sink().running()) for _ in range(count)]


@contextlib.contextmanager
def _silent() -> Iterator[int]:
    """A port whose connections the kernel takes and nobody answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as listener:
        yield listener.getsockname()[1]


CASES = [
    Case("10,000 idle connections, a newcomer's greeting", "ms", ten_thousand_idle, better="small"),
    Case("list of 50,000", "recipients/s", fan_out),
    Case("one dead destination of ten, p99 delay of the others", "ms", one_dead_of_ten, better="small"),
]
