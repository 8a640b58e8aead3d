"""A queue of 50,000 (times `--scale`) deferred messages: start, listing, search, deletion."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench import large_queue, postfix_queue
from bench.case import Case, Figure, System, place, scaled
from bench.measure import shared_out_kib
from bench.systems import Pymta, Running, command_line
from pymta.runtime.places import SpoolPlaces


def _fill(system: System, here: Path, messages: int) -> None:
    if system is not Pymta:
        postfix_queue.fill(here / "spool", messages)
        return
    queue = SpoolPlaces.below(here / "spool").queue
    large_queue.fill(queue, messages)
    if os.geteuid() == 0:
        for path in [queue.parent.parent, queue.parent, queue, *queue.iterdir()]:
            shutil.chown(path, "mail")


def long_queue(system: System, scale: float) -> Figure:
    """Messages listed per second. `start` is from exec to the SMTP port's first answer."""
    messages = scaled(50_000, scale)
    with place() as here:
        _fill(system, here, messages)
        begin = time.monotonic()
        with system(here, {}).running() as running:
            more = {"start, s": time.monotonic() - begin}
            more["first line, s"] = _first_line(running)
            begin = time.monotonic()
            _listed(running, messages)
            listing = time.monotonic() - begin
            peak = shared_out_kib(running.pid)
            if system is Pymta:
                more["one site's mail, s"] = _one_site(running)
            begin = time.monotonic()
            with _output(running, "postsuper", "-d", "ALL") as deleting:
                deleting.wait()
            more["deleted per second"] = messages / (time.monotonic() - begin)
            return Figure(messages / listing, peak_kib=peak, more=more)


@contextlib.contextmanager
def _output(running: Running, name: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    call, environment = command_line(running, name, *arguments)
    with subprocess.Popen(call, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        yield process


def _first_line(running: Running) -> float:
    """Seconds until a listing prints its first message; the head line comes before it."""
    with _output(running, "postqueue", "-p") as listing:
        begin = time.monotonic()
        assert listing.stdout is not None
        listing.stdout.readline()
        listing.stdout.readline()
        seconds = time.monotonic() - begin
        listing.stdout.close()
        return seconds


def _listed(running: Running, messages: int) -> None:
    with _output(running, "postqueue", "-j") as listing:
        assert listing.stdout is not None
        found = sum(1 for _ in listing.stdout)
    if found != messages:
        raise AssertionError(f"{found} of {messages} messages were listed")


def _one_site(running: Running) -> float:
    main = [sys.executable, "-c", "import sys; from pymta.cli.queue import main; sys.exit(main())"]
    begin = time.monotonic()
    subprocess.run(
        [*main, "-c", str(running.folder / "etc"), "list", "--json", "--site", "d7.example"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return time.monotonic() - begin


CASES = [Case("long queue, listing", "messages/s", long_queue)]
