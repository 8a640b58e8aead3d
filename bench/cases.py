"""The cases. Each gives one figure per run and system; larger is better unless the unit says otherwise."""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.measure import cpu_seconds, memory_kib
from bench.systems import Postfix, Pymta, smtp_sink, smtp_source

System = type[Pymta] | type[Postfix]


@dataclass(frozen=True)
class Figure:
    """One run: the figure and what it cost."""

    value: float
    cpu_us_per_message: float = 0.0
    peak_kib: int = 0


@dataclass(frozen=True)
class Case:
    """`better` tells whether the ratio pymta/Postfix should be large or small."""

    name: str
    unit: str
    run: Callable[[System, float], Figure]
    better: str = "large"
    systems: tuple[System, ...] = (Pymta, Postfix)


def folder() -> Path:
    """A new folder that both systems can reach."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    folder.chmod(0o755)  # both systems give up root and must still reach it
    return folder


def _relay(system: System, messages: int, *, size: int, options: tuple[str, ...] = ()) -> Figure:
    with smtp_sink(messages) as (sink, process):
        parameters = {"relayhost": f"[127.0.0.1]:{sink}"}
        with system(folder(), parameters).running() as running:
            before = cpu_seconds(running.pid)
            start = time.monotonic()
            smtp_source(running.port, messages, size=size, options=options)
            process.wait(600)
            seconds = time.monotonic() - start
            cpu = (cpu_seconds(running.pid) - before) / messages * 1e6
            return Figure(messages / seconds, cpu, memory_kib(running.pid, "VmHWM"))


def relay_4k(system: System, scale: float) -> Figure:
    """smtp-source -s 20 with one connection per message -> system -> smtp-sink; durable before 250."""
    return _relay(system, int(5000 * scale), size=4096)


def relay_4k_kept(system: System, scale: float) -> Figure:
    """The same with kept sessions on the sending side."""
    return _relay(system, int(5000 * scale), size=4096, options=("-d",))


def relay_100k(system: System, scale: float) -> Figure:
    """100 KB messages."""
    return _relay(system, int(1000 * scale), size=100_000)


def big_message_memory(system: System, scale: float) -> Figure:
    """How much resident memory one 50 MB message in and out adds, in MiB."""
    with smtp_sink(2) as (sink, process):
        parameters = {"relayhost": f"[127.0.0.1]:{sink}", "message_size_limit": "100000000"}
        with system(folder(), parameters).running() as running:
            smtp_source(running.port, 1, size=1000, sessions=1)
            time.sleep(1)
            before = memory_kib(running.pid)
            smtp_source(running.port, 1, size=50_000_000, sessions=1)
            process.wait(120)
            return Figure((memory_kib(running.pid, "VmHWM") - before) / 1024)


def idle_connections(system: System, scale: float) -> Figure:
    """Resident KiB per idle SMTP connection, 1,000 of them."""
    count = int(1000 * scale)
    parameters = {"smtpd_client_connection_count_limit": "0", "default_process_limit": str(count + 100)}
    with system(folder(), parameters).running() as running:
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
    Case("relay 4 KiB, one connection per message", "messages/s", relay_4k),
    Case("relay 4 KiB, kept sessions", "messages/s", relay_4k_kept),
    Case("relay 100 KB", "messages/s", relay_100k),
    Case("50 MB message, added memory", "MiB", big_message_memory, better="small", systems=(Pymta,)),
    Case("idle connection", "KiB", idle_connections, better="small", systems=(Pymta,)),
]
