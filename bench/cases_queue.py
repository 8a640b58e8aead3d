"""Cases about the queue: outages, many recipients, mailboxes, commands."""

from __future__ import annotations

import re
import resource
import time
from collections.abc import Callable
from pathlib import Path

from bench.case import Case, Figure, Meter, System, place, scaled
from bench.cases import WARM_UP
from bench.systems import Running, command, smtp_sink, smtp_source
from tests.support.peers import free_port

_RECIPIENTS = 50
_SENDMAIL_WARM_UP = 3


def local_maildir(system: System, scale: float) -> Figure:
    """smtp-source -s 20 -> system -> one Maildir of a virtual mailbox; every message synced."""
    messages = scaled(3000, scale)
    with place() as here:
        boxes = here / "boxes"
        boxes.mkdir()
        boxes.chmod(0o1777)
        with system(here, _mailboxes(boxes)).running() as running:
            smtp_source(running.port, WARM_UP, size=4096)
            new = boxes / "box" / "new"
            wait_for(lambda: _entries(new) >= WARM_UP)
            meter = Meter(running.pid)
            smtp_source(running.port, messages, size=4096)
            wait_for(lambda: _entries(new) >= messages + WARM_UP)
            return meter.figure(messages)


def _mailboxes(boxes: Path) -> dict[str, str]:
    return {
        "virtual_mailbox_domains": "example.net",
        "virtual_mailbox_maps": "inline:{recipient@example.net=box/}",
        "virtual_mailbox_base": str(boxes),
        "virtual_uid_maps": "static:65534",
        "virtual_gid_maps": "static:65534",
        "virtual_minimum_uid": "1",
    }


def _entries(directory: Path) -> int:
    return sum(1 for _ in directory.iterdir()) if directory.is_dir() else 0


def fifty_recipients(system: System, scale: float) -> Figure:
    """50 recipients per message in one domain; recipients per second."""
    messages, warm_up = scaled(500, scale), 10
    options = ("-r", str(_RECIPIENTS))
    with (
        place() as here,
        smtp_sink(messages + warm_up) as (sink, process),
        system(here, {"relayhost": f"[127.0.0.1]:{sink}"}).running() as running,
    ):
        smtp_source(running.port, warm_up, size=4096, options=options)
        running.wait_for_sent(warm_up * _RECIPIENTS)
        meter = Meter(running.pid)
        smtp_source(running.port, messages, size=4096, options=options)
        process.wait(120)
        return meter.figure(messages * _RECIPIENTS)


def accept_while_down(system: System, scale: float) -> Figure:
    """Messages per second taken in while nobody listens at the destination."""
    messages = scaled(4000, scale)
    with place() as here, system(here, {"relayhost": f"[127.0.0.1]:{free_port()}"}).running() as running:
        smtp_source(running.port, WARM_UP, size=4096)
        meter = Meter(running.pid)
        smtp_source(running.port, messages, size=4096)
        return meter.figure(messages)


def drain(system: System, scale: float) -> Figure:
    """A queue that an outage left: messages per second from `postqueue -f` to the last delivery."""
    messages = scaled(4000, scale)
    port = free_port()
    parameters = {"relayhost": f"[127.0.0.1]:{port}", "minimal_backoff_time": "3000s", "queue_run_delay": "3000s"}
    with place() as here, system(here, parameters).running() as running:
        smtp_source(running.port, messages, size=4096)
        wait_for(lambda: _active(running) == 0)
        with smtp_sink(messages, port) as (_, process):
            meter = Meter(running.pid)
            command(running, "postqueue", "-f")
            process.wait(120)
            return meter.figure(messages)


def _active(running: Running) -> int:
    """Messages that are not yet deferred."""
    text = running.log.read_text(errors="replace")
    return len(re.findall(r"queue active", text)) - len(re.findall(r"status=deferred", text))


def sendmail_loop(system: System, scale: float) -> Figure:
    """`sendmail` once per message, one after the other; messages per second. Its own CPU time counts."""
    messages = scaled(100, scale)
    with place() as here, system(here, {"default_transport": "discard:"}).running() as running:
        for _ in range(_SENDMAIL_WARM_UP):
            _submit(running)
        meter, before = Meter(running.pid), _children_seconds()
        for _ in range(messages):
            _submit(running)
        spent = _children_seconds() - before
        figure = meter.figure(messages)
        return Figure(figure.value, figure.cpu_us_per_message + spent / messages * 1e6, figure.peak_kib)


def _submit(running: Running) -> None:
    command(running, "sendmail", "user@example.net", input=b"Subject: x\n\nbody\n")


def _children_seconds() -> float:
    """User and system time of commands that we ran and that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def wait_for(check: Callable[[], object], seconds: float = 120.0) -> None:
    """Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            raise TimeoutError("the system under test did not get there")
        time.sleep(0.05)


CASES = [
    Case("local Maildir", "messages/s", local_maildir),
    Case("50 recipients per message", "recipients/s", fifty_recipients),
    Case("accept while the destination is down", "messages/s", accept_while_down),
    Case("drain of a deferred queue", "messages/s", drain),
    Case("sendmail in a loop", "messages/s", sendmail_loop),
]
