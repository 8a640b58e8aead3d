"""TLS: handshakes, relaying, idle sessions. The load comes from tls_load.c, as smtp-source knows no TLS.

Where there is no C compiler, or no OpenSSL to build against, a client in Python stands in: it costs more than either
server, so that the rates say little then, and the CPU per message still does.
"""

from __future__ import annotations

import contextlib
import functools
import resource
import shutil
import smtplib
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.cases import Case, Figure, System, folder
from bench.measure import cpu_seconds, memory_kib
from bench.systems import Pymta, Running, smtp_sink
from tests.support.tls import server_pair

_SESSIONS = 20
_WARM_UP = 200
_SIZE = 4096


@contextlib.contextmanager
def _offering_tls(system: System, **parameters: str) -> Iterator[Running]:
    """Both systems show the same certificate, of a P-256 key."""
    pair = server_pair()
    tls = {
        "smtpd_tls_security_level": "may",
        "smtpd_tls_cert_file": str(pair.certificate),
        "smtpd_tls_key_file": str(pair.key),
        "smtpd_client_connection_count_limit": "0",
    }
    with system(folder(), {**tls, **parameters}).running() as running:
        yield running


@functools.cache
def _program() -> str | None:
    """tls_load, built once per run; None where that cannot be done."""
    compiler = shutil.which("cc")
    if not compiler:
        return None
    program = Path(tempfile.mkdtemp(prefix="tls-load-"), "tls_load")
    source = Path(__file__).with_name("tls_load.c")
    command = [compiler, "-O2", "-o", str(program), str(source), "-lssl", "-lcrypto"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        sys.stderr.write(f"bench: tls_load.c cannot be built here, using Python: {done.stderr[-200:]}\n")
        return None
    return str(program)


def _load(port: int, count: int, size: int) -> None:
    """`count` sessions (`size` 0) or messages; returns when the last was answered."""
    program = _program()
    if program:
        subprocess.run([program, str(port), str(_SESSIONS), str(count), str(size)], check=True, timeout=600)
        return
    work = _sessions if size == 0 else _messages
    with ThreadPoolExecutor(_SESSIONS) as pool:
        list(pool.map(work, [port] * _SESSIONS, [count // _SESSIONS] * _SESSIONS))


def _connect(port: int) -> smtplib.SMTP:
    session = smtplib.SMTP("127.0.0.1", port, local_hostname="client.example.com", timeout=60)
    session.starttls(context=ssl._create_unverified_context())
    session.ehlo()
    return session


def _sessions(port: int, count: int) -> None:
    for _ in range(count):
        _connect(port).quit()


def _messages(port: int, count: int) -> None:
    session = _connect(port)
    message = b"Subject: load\r\n\r\n" + (b"x" * 76 + b"\r\n") * (_SIZE // 78)
    for _ in range(count):
        session.sendmail("sender@example.com", ["recipient@example.net"], message)
    session.quit()


def starttls_handshakes(system: System, scale: float) -> Figure:
    """Connect, EHLO, STARTTLS, full handshake, EHLO, QUIT; twenty clients at once."""
    count = int(4000 * scale)
    with _offering_tls(system) as running:
        _load(running.port, _WARM_UP, 0)
        work_before, start = cpu_seconds(running.pid), time.monotonic()
        _load(running.port, count, 0)
        seconds = time.monotonic() - start
        return Figure(count / seconds, (cpu_seconds(running.pid) - work_before) / count * 1e6)


def relay_over_tls(system: System, scale: float) -> Figure:
    """4 KiB messages over twenty kept TLS sessions -> system -> smtp-sink in clear."""
    count = int(4000 * scale)
    with smtp_sink(count) as (sink, process), _offering_tls(system, relayhost=f"[127.0.0.1]:{sink}") as running:
        _load(running.port, _WARM_UP, 0)
        work_before, start = cpu_seconds(running.pid), time.monotonic()
        _load(running.port, count, _SIZE)
        process.wait(600)
        seconds = time.monotonic() - start
        return Figure(count / seconds, (cpu_seconds(running.pid) - work_before) / count * 1e6)


def idle_tls_sessions(system: System, scale: float) -> Figure:
    """Resident KiB per idle session under TLS, 2,000 of them."""
    count = int(2000 * scale)
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with _offering_tls(system) as running:
        warm = [_connect(running.port) for _ in range(50)]
        before = memory_kib(running.pid)
        sessions = [_connect(running.port) for _ in range(count)]
        after = memory_kib(running.pid)
        for session in warm + sessions:
            session.close()
        return Figure((after - before) / count)


TLS_CASES = [
    Case("STARTTLS handshakes", "sessions/s", starttls_handshakes),
    Case("relay 4 KiB over TLS", "messages/s", relay_over_tls),
    Case("idle TLS session", "KiB", idle_tls_sessions, better="small", systems=(Pymta,)),
]
