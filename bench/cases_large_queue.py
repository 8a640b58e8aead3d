"""A queue of a million (times `--scale`): start-up, listing, search, deletion. The queue is made once and copied."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from bench.cases import Case, Figure, System, folder
from bench.large_queue import fill
from bench.measure import memory_kib
from bench.systems import Pymta, Running
from pymta.runtime.places import SpoolPlaces


@lru_cache(maxsize=1)
def _queue(messages: int) -> Path:
    queue = folder() / "queue"
    fill(queue, messages)
    return queue


@contextlib.contextmanager
def _system(system: System, scale: float) -> Iterator[tuple[Running, int, float]]:
    """A system with the queue, how long that is, and how many seconds the start took until the port answered."""
    messages = int(1_000_000 * scale)
    place = folder()
    queue = SpoolPlaces.below(place / "spool").queue
    shutil.copytree(_queue(messages), queue)
    if os.geteuid() == 0:
        for path in [queue.parent.parent, queue.parent, queue, *queue.iterdir()]:
            shutil.chown(path, "mail")
    start = time.monotonic()
    with system(place, {}).running() as running:
        yield running, messages, time.monotonic() - start
    shutil.rmtree(place, ignore_errors=True)


def _command(running: Running, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "import sys; from pymta.cli.queue import main; sys.exit(main())"]
    arguments = ["-c", str(running.folder / "etc"), *words]
    return subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def _peak(running: Running) -> int:
    return memory_kib(running.pid, "VmHWM")


def start(system: System, scale: float) -> Figure:
    """From exec to the first answer of the SMTP port, the interpreter's own start included."""
    with _system(system, scale) as (running, _, seconds):
        return Figure(seconds, peak_kib=_peak(running))


def first_line(system: System, scale: float) -> Figure:
    with _system(system, scale) as (running, _, _), _command(running, "list") as listing:
        begin = time.monotonic()
        assert listing.stdout is not None
        listing.stdout.readline()
        seconds = time.monotonic() - begin
        listing.stdout.close()
        return Figure(seconds, peak_kib=_peak(running))


def whole_list(system: System, scale: float) -> Figure:
    with _system(system, scale) as (running, messages, _), _command(running, "list", "--json") as listing:
        begin = time.monotonic()
        assert listing.stdout is not None
        found = sum(1 for _ in listing.stdout)
        assert found == messages, found
        return Figure(found / (time.monotonic() - begin), peak_kib=_peak(running))


def one_site(system: System, scale: float) -> Figure:
    with (
        _system(system, scale) as (running, _, _),
        _command(running, "list", "--json", "--site", "d7.example") as found,
    ):
        begin = time.monotonic()
        found.communicate()
        return Figure(time.monotonic() - begin, peak_kib=_peak(running))


def delete_all(system: System, scale: float) -> Figure:
    with _system(system, scale) as (running, messages, _), _command(running, "delete", "ALL") as deleting:
        begin = time.monotonic()
        deleting.communicate()
        return Figure(messages / (time.monotonic() - begin), peak_kib=_peak(running))


CASES = [
    Case("long queue: start", "s", start, better="small", systems=(Pymta,)),
    Case("long queue: first line of a listing", "s", first_line, better="small", systems=(Pymta,)),
    Case("long queue: listing", "messages/s", whole_list, systems=(Pymta,)),
    Case("long queue: one site's mail", "s", one_site, better="small", systems=(Pymta,)),
    Case("long queue: delete ALL", "messages/s", delete_all, systems=(Pymta,)),
]
