"""TLS: handshakes, relaying, idle sessions. smtp-source knows no TLS, so the client is Python's."""

from __future__ import annotations

import contextlib
import smtplib
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from bench.cases import Case, Figure, System, folder
from bench.measure import cpu_seconds, memory_kib
from bench.systems import Pymta, Running, smtp_sink
from tests.support.tls import server_pair

_SESSIONS = 8


@contextlib.contextmanager
def _offering_tls(system: System, **parameters: str) -> Iterator[Running]:
    pair = server_pair()
    tls = {
        "smtpd_tls_security_level": "may",
        "smtpd_tls_cert_file": str(pair.certificate),
        "smtpd_tls_key_file": str(pair.key),
        "smtpd_client_connection_count_limit": "0",
    }
    with system(folder(), {**tls, **parameters}).running() as running:
        yield running


def _connect(port: int, context: ssl.SSLContext) -> smtplib.SMTP:
    session = smtplib.SMTP("127.0.0.1", port, local_hostname="client.example.com", timeout=60)
    session.starttls(context=context)
    return session


def starttls_handshakes(system: System, scale: float) -> Figure:
    """Connect, EHLO, STARTTLS, close; several clients at once, full handshakes."""
    count = int(1600 * scale)
    context = ssl._create_unverified_context()

    def work(port: int) -> None:
        for _ in range(count // _SESSIONS):
            _connect(port, context).close()

    with _offering_tls(system) as running, ThreadPoolExecutor(_SESSIONS) as pool:
        work_before, start = cpu_seconds(running.pid), time.monotonic()
        list(pool.map(work, [running.port] * _SESSIONS))
        seconds = time.monotonic() - start
        return Figure(count / seconds, (cpu_seconds(running.pid) - work_before) / count * 1e6)


def relay_over_tls(system: System, scale: float) -> Figure:
    """4 KiB messages over kept TLS sessions -> system -> smtp-sink in clear."""
    count = int(1600 * scale)
    context = ssl._create_unverified_context()
    message = b"Subject: bench\r\n\r\n" + (b"x" * 76 + b"\r\n") * 52

    def work(port: int) -> None:
        session = _connect(port, context)
        for _ in range(count // _SESSIONS):
            session.sendmail("sender@example.com", ["recipient@example.net"], message)
        session.quit()

    with smtp_sink(count) as (sink, process):
        parameters = {"relayhost": f"[127.0.0.1]:{sink}"}
        with _offering_tls(system, **parameters) as running, ThreadPoolExecutor(_SESSIONS) as pool:
            work_before, start = cpu_seconds(running.pid), time.monotonic()
            list(pool.map(work, [running.port] * _SESSIONS))
            process.wait(600)
            seconds = time.monotonic() - start
            return Figure(count / seconds, (cpu_seconds(running.pid) - work_before) / count * 1e6)


def idle_tls_sessions(system: System, scale: float) -> Figure:
    """Resident KiB per idle session under TLS, 2,000 of them."""
    count = int(2000 * scale)
    context = ssl._create_unverified_context()
    with _offering_tls(system) as running:
        warm = [_connect(running.port, context) for _ in range(50)]
        before = memory_kib(running.pid)
        sessions = [_connect(running.port, context) for _ in range(count)]
        after = memory_kib(running.pid)
        for session in warm + sessions:
            session.close()
        return Figure((after - before) / count)


TLS_CASES = [
    Case("STARTTLS handshakes", "sessions/s", starttls_handshakes),
    Case("relay 4 KiB over TLS", "messages/s", relay_over_tls),
    Case("idle TLS session", "KiB", idle_tls_sessions, better="small", systems=(Pymta,)),
]
