"""Cases about the queue: outages, many recipients, mailboxes, fairness, commands."""

from __future__ import annotations

import contextlib
import re
import socket
import statistics
import time
from collections.abc import Iterator

from bench.cases import Case, Figure, System, folder
from bench.measure import cpu_seconds, memory_kib
from bench.systems import Pymta, Running, command, smtp_sink, smtp_source
from tests.support.peers import free_port

_RECIPIENTS = 50


def local_maildir(system: System, scale: float) -> Figure:
    """smtp-source -s 20 -> system -> one Maildir of a virtual mailbox; every message synced."""
    messages = int(3000 * scale)
    place = folder()
    boxes = place / "boxes"
    boxes.mkdir(mode=0o1777)
    boxes.chmod(0o1777)
    parameters = {
        "virtual_mailbox_domains": "example.net",
        "virtual_mailbox_maps": "inline:{recipient@example.net=box/}",
        "virtual_mailbox_base": str(boxes),
        "virtual_uid_maps": "static:65534",
        "virtual_gid_maps": "static:65534",
        "virtual_minimum_uid": "1",
    }
    with system(place, parameters).running() as running:
        before, start = cpu_seconds(running.pid), time.monotonic()
        smtp_source(running.port, messages, size=4096)
        new = boxes / "box" / "new"
        _wait_for(lambda: new.is_dir() and sum(1 for _ in new.iterdir()) >= messages)
        seconds = time.monotonic() - start
        cpu = (cpu_seconds(running.pid) - before) / messages * 1e6
        return Figure(messages / seconds, cpu, memory_kib(running.pid, "VmHWM"))


def fifty_recipients(system: System, scale: float) -> Figure:
    """50 recipients per message in one domain; recipients per second."""
    messages = int(400 * scale)
    with (
        smtp_sink(messages) as (sink, process),
        system(folder(), {"relayhost": f"[127.0.0.1]:{sink}"}).running() as running,
    ):
        before, start = cpu_seconds(running.pid), time.monotonic()
        smtp_source(running.port, messages, size=4096, options=("-r", str(_RECIPIENTS)))
        process.wait(120)
        seconds = time.monotonic() - start
        cpu = (cpu_seconds(running.pid) - before) / messages / _RECIPIENTS * 1e6
        return Figure(messages * _RECIPIENTS / seconds, cpu, memory_kib(running.pid, "VmHWM"))


def accept_while_down(system: System, scale: float) -> Figure:
    """Messages per second taken in while nobody listens at the destination."""
    messages = int(3000 * scale)
    with system(folder(), {"relayhost": f"[127.0.0.1]:{free_port()}"}).running() as running:
        before, start = cpu_seconds(running.pid), time.monotonic()
        smtp_source(running.port, messages, size=4096)
        seconds = time.monotonic() - start
        cpu = (cpu_seconds(running.pid) - before) / messages * 1e6
        return Figure(messages / seconds, cpu, memory_kib(running.pid, "VmHWM"))


def drain(system: System, scale: float) -> Figure:
    """A queue that an outage left: messages per second from `postqueue -f` to the last delivery."""
    messages = int(3000 * scale)
    port = free_port()
    parameters = {"relayhost": f"[127.0.0.1]:{port}", "minimal_backoff_time": "3000s", "queue_run_delay": "3000s"}
    with system(folder(), parameters).running() as running:
        smtp_source(running.port, messages, size=4096)
        _wait_for(lambda: _active(running) == 0)
        with smtp_sink(messages, port) as (_, process):
            before, start = cpu_seconds(running.pid), time.monotonic()
            command(running, "postqueue", "-f")
            process.wait(120)
            seconds = time.monotonic() - start
            cpu = (cpu_seconds(running.pid) - before) / messages * 1e6
            return Figure(messages / seconds, cpu, memory_kib(running.pid, "VmHWM"))


def one_dead_of_ten(system: System, scale: float) -> Figure:
    """p99 in milliseconds from acceptance to delivery for nine live destinations, the tenth dead with mail waiting."""
    waiting, probes = int(2000 * scale), int(300 * scale)
    with _live_sinks(9) as ports:
        dead = free_port()
        routes = [f"live{number}.example=smtp:[127.0.0.1]:{port}" for number, port in enumerate(ports)]
        maps = ", ".join([*routes, f"dead.example=smtp:[127.0.0.1]:{dead}"])
        with system(folder(), {"transport_maps": f"inline:{{{maps}}}"}).running() as running:
            smtp_source(running.port, waiting, size=1000, recipient="x@dead.example")
            for number in range(probes):
                smtp_source(running.port, 1, size=1000, sessions=1, recipient=f"p{number}@live{number % 9}.example")
            delays = _delays(running, probes)
    return Figure(1000 * statistics.quantiles(delays, n=100)[98])


def sendmail_loop(system: System, scale: float) -> Figure:
    """`sendmail` once per message, one after the other; messages per second."""
    messages = int(60 * scale)
    with system(folder(), {"default_transport": "discard:"}).running() as running:
        start = time.monotonic()
        for _ in range(messages):
            command(running, "sendmail", "user@example.net", input=b"Subject: x\n\nbody\n")
        return Figure(messages / (time.monotonic() - start))


def ten_thousand_idle(system: System, scale: float) -> Figure:
    """Milliseconds until a new client is greeted while 10,000 connections idle."""
    count = int(10_000 * scale)
    parameters = {"smtpd_client_connection_count_limit": "0", "default_process_limit": str(count + 100)}
    with system(folder(), parameters).running() as running:
        idle = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(count)]
        for one in idle:
            one.settimeout(60)
            one.recv(1000)
        start = time.monotonic()
        with socket.create_connection(("127.0.0.1", running.port)) as fresh:
            fresh.settimeout(60)
            fresh.recv(1000)
        milliseconds = 1000 * (time.monotonic() - start)
        for one in idle:
            one.close()
        return Figure(milliseconds, peak_kib=memory_kib(running.pid))


def _wait_for(check: object, seconds: float = 120.0) -> None:
    assert callable(check)
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            raise TimeoutError("the system under test did not get there")
        time.sleep(0.02)


def _active(running: Running) -> int:
    """Messages that are not yet deferred."""
    text = _log(running)
    return len(re.findall(r"queue active", text)) - len(re.findall(r"status=deferred", text))


def _log(running: Running) -> str:
    return "".join(path.read_text(errors="replace") for path in running.folder.rglob("mail.log"))


def _delays(running: Running, probes: int) -> list[float]:
    found: dict[str, float] = {}

    def complete() -> bool:
        for match in re.finditer(r"to=<(p\d+)@live\d\.example>.* delay=([\d.]+), .*status=sent", _log(running)):
            found[match[1]] = float(match[2])
        return len(found) >= probes

    _wait_for(complete)
    return list(found.values())


@contextlib.contextmanager
def _live_sinks(count: int) -> Iterator[list[int]]:
    """Tiny SMTP servers in one thread each."""
    from tests.support.peers import program, started

    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(count):
            port = free_port()
            user = ("-u", "nobody")
            stack.enter_context(started(program("smtp-sink"), *user, f"127.0.0.1:{port}", "100", port=port))
            ports.append(port)
        yield ports


CASES = [
    Case("local Maildir", "messages/s", local_maildir),
    Case("50 recipients per message", "recipients/s", fifty_recipients),
    Case("accept while the destination is down", "messages/s", accept_while_down),
    Case("drain of a deferred queue", "messages/s", drain),
    Case("one dead destination of ten, p99 delay of the others", "ms", one_dead_of_ten, better="small"),
    Case("sendmail in a loop", "messages/s", sendmail_loop),
    Case("10,000 idle connections, time to greet one more", "ms", ten_thousand_idle, "small", (Pymta,)),
]
