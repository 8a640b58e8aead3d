"""Relaying from smtp-source to smtp-sink."""

from __future__ import annotations

import socket
import time

from bench.case import Case, Figure, Meter, System, folder, place, scaled
from bench.measure import memory_kib
from bench.systems import Pymta, Tools, smtp_sink, smtp_source

__all__ = ["CASES", "Case", "Figure", "System", "folder"]

WARM_UP = 200


def _relay(
    system: System, messages: int, *, size: int, options: tuple[str, ...] = (), warm_up: int = WARM_UP, per: float = 1.0
) -> Figure:
    """`per` is how many of the unit a message counts for."""
    with (
        place() as here,
        smtp_sink(messages + warm_up) as (sink, process),
        system(here, {"relayhost": f"[127.0.0.1]:{sink}"}).running() as running,
    ):
        smtp_source(running.port, warm_up, size=size, options=options)
        running.wait_for_sent(warm_up)
        meter = Meter(running.pid)
        smtp_source(running.port, messages, size=size, options=options)
        process.wait(600)
        figure = meter.figure(messages)
        return Figure(figure.value * per, figure.cpu_us_per_message, figure.peak_kib)


def relay_4k(system: System, scale: float) -> Figure:
    """smtp-source -s 20 with one connection per message -> system -> smtp-sink; durable before 250."""
    return _relay(system, scaled(4000, scale), size=4096)


def relay_4k_kept(system: System, scale: float) -> Figure:
    """The same with kept sessions on the sending side."""
    return _relay(system, scaled(5000, scale), size=4096, options=("-d",))


def relay_100k(system: System, scale: float) -> Figure:
    """100 KB messages."""
    return _relay(system, scaled(1200, scale), size=100_000)


def relay_10m(system: System, scale: float) -> Figure:
    """10 MB messages over 20 sessions at once, which is more than one kept in memory would take."""
    return _relay(system, scaled(80, scale), size=10_000_000, warm_up=2, per=10.0)


def _tools(scale: float, messages: int, size: int) -> Figure:
    count = scaled(messages, scale)
    with smtp_sink() as (sink, _):
        start = time.monotonic()
        smtp_source(sink, count, size=size)
        return Figure(count / (time.monotonic() - start))


def tools_4k(system: System, scale: float) -> Figure:
    """smtp-source straight into smtp-sink: what the load alone can do."""
    return _tools(scale, 30_000, 4096)


def tools_100k(system: System, scale: float) -> Figure:
    return _tools(scale, 5000, 100_000)


def big_message_memory(system: System, scale: float) -> Figure:
    """How much resident memory one 50 MB message in and out adds, in MiB."""
    with place() as here, smtp_sink(2) as (sink, process):
        parameters = {"relayhost": f"[127.0.0.1]:{sink}", "message_size_limit": "100000000"}
        with system(here, parameters).running() as running:
            smtp_source(running.port, 1, size=1000, sessions=1)
            time.sleep(1)
            before = memory_kib(running.pid)
            smtp_source(running.port, 1, size=50_000_000, sessions=1)
            process.wait(120)
            return Figure((memory_kib(running.pid, "VmHWM") - before) / 1024)


def idle_connections(system: System, scale: float) -> Figure:
    """Resident KiB per idle SMTP connection after EHLO, 1,000 of them."""
    count = scaled(1000, scale)
    parameters = {"smtpd_client_connection_count_limit": "0", "default_process_limit": str(count + 100)}
    with place() as here, system(here, parameters).running() as running:
        time.sleep(1)
        before = memory_kib(running.pid)
        connections = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(count)]
        for connection in connections:
            connection.settimeout(60)
            connection.recv(1000)
            connection.sendall(b"EHLO client.example.com\r\n")
            connection.recv(1000)
        after = memory_kib(running.pid)
        for connection in connections:
            connection.close()
        return Figure((after - before) / count)


CASES = [
    Case("the load's programs alone, 4 KiB", "messages/s", tools_4k, systems=(Tools,)),
    Case("the load's programs alone, 100 KB", "messages/s", tools_100k, systems=(Tools,)),
    Case("relay 4 KiB, one connection per message", "messages/s", relay_4k),
    Case("relay 4 KiB, kept sessions", "messages/s", relay_4k_kept),
    Case("relay 100 KB", "messages/s", relay_100k),
    Case("relay 10 MB", "MB/s", relay_10m),
    Case("50 MB message, added memory", "MiB", big_message_memory, better="small", systems=(Pymta,)),
    Case("idle connection", "KiB", idle_connections, better="small", systems=(Pymta,)),
]
