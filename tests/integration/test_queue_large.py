"""A long queue on the running program: start, list, search, flush, delete, and mail that flows meanwhile."""

import contextlib
import json
import os
import pty
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from bench.large_queue import fill
from bench.measure import cpu_seconds, memory_kib
from pymta.runtime.places import SpoolPlaces
from tests.support.system import PymtaSystem, eventually

# PYMTA_QUEUE_LENGTH=1000000 for the real thing; see docs/queue.md for what it showed.
LENGTH = int(os.environ.get("PYMTA_QUEUE_LENGTH", "20000"))
SITES = 1000
TIMEOUT = 60 + LENGTH // 1000


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PymtaSystem]:
    folder = tmp_path_factory.mktemp("queue")
    system = PymtaSystem(
        folder,
        {"fast_flush_domains": "d7.example, d8.example", "transport_maps": "inline:{{* = discard:}}"},
    )
    system.prepare()
    queue = SpoolPlaces.below(folder / "spool").queue
    fill(queue, LENGTH, SITES)
    if os.geteuid() == 0:
        for path in [folder / "spool", queue.parent, queue, *queue.iterdir()]:
            shutil.chown(path, "mail")
    system.start()
    assert system.process is not None
    # Of CPU: how long that takes is a matter of what else the machine does.
    system.environment = {"START_SECONDS": str(cpu_seconds(system.process.pid))}
    yield system
    system.stop()


def test_it_starts_within_two_seconds_in_bounded_memory(system: PymtaSystem) -> None:
    assert float(system.environment["START_SECONDS"]) < 2.0  # the interpreter's own start included
    assert system.process is not None
    assert memory_kib(system.process.pid, "VmHWM") < 250 * 1024


def test_mail_flows_beside_it(system: PymtaSystem) -> None:
    queue_id = system.send("bob@other.example")
    eventually(lambda: f"{queue_id}: removed" in system.log, 5)


@pytest.mark.timeout(TIMEOUT)
def test_the_first_line_of_a_listing_is_there_at_once(system: PymtaSystem) -> None:
    system.command("postqueue", "-i", "NOSUCH0")
    environment = {**os.environ, "MAIL_CONFIG": str(system.config)}
    start = time.monotonic()
    with subprocess.Popen(
        [str(system.folder / "bin" / "postqueue"), "-p"], stdout=subprocess.PIPE, env=environment
    ) as listing:
        assert listing.stdout is not None
        first = listing.stdout.readline()
        seconds = time.monotonic() - start
        listing.stdout.close()
    assert first.startswith(b"-") and seconds < 2.0


def read_terminal(descriptor: int) -> bytes:
    shown = b""
    with contextlib.suppress(OSError):
        while piece := os.read(descriptor, 65536):
            shown += piece
    return shown


@pytest.mark.timeout(TIMEOUT)
def test_a_terminal_shows_how_far_a_listing_is(system: PymtaSystem) -> None:
    system.command("postqueue", "-i", "NOSUCH0")
    environment = {**os.environ, "MAIL_CONFIG": str(system.config)}
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [str(system.folder / "bin" / "postqueue"), "-j"], stdout=subprocess.PIPE, stderr=theirs, env=environment
    ) as listing:
        os.close(theirs)
        assert listing.stdout is not None
        with ThreadPoolExecutor(1) as reader:
            # A terminal that nobody reads would hold up who writes to it.
            screen = reader.submit(read_terminal, ours)
            count = sum(1 for _ in listing.stdout)
        shown = screen.result()
    os.close(ours)
    assert count == LENGTH
    assert f"of {LENGTH}".encode() in shown


def listed(system: PymtaSystem, *arguments: str) -> list[dict[str, object]]:
    done = system.command("pymta-queue", "list", "--json", *arguments)
    return [json.loads(line) for line in done.stdout.splitlines()]


FILTERS = [
    (("--site", "d5.example"), LENGTH // SITES),
    (("--recipient", "user77@d77.example"), 1),
    (("--recipient", "@d3.example", "--sender", "sender3@example.com"), 1),
    (("--queue", "hold"), 0),
]


@pytest.mark.parametrize(("arguments", "count"), FILTERS)
def test_filters_find_what_they_mean(system: PymtaSystem, arguments: tuple[str, ...], count: int) -> None:
    start = time.monotonic()
    found = len(listed(system, *arguments))
    assert time.monotonic() - start < 2.0 + LENGTH / 500_000
    assert found == count if LENGTH < 97_000 else found >= count


def test_etrn_and_postqueue_s_flush_one_site(system: PymtaSystem) -> None:
    with system.smtp() as session:
        session.ehlo()
        assert session.has_extn("etrn")
        assert session.docmd("ETRN", "d9.example") == (459, b"<d9.example>: service unavailable")
        assert session.docmd("ETRN", "d7.example") == (250, b"Queuing started")
    eventually(lambda: listed(system, "--site", "d7.example") == [], 20)
    refused = system.command("postqueue", "-s", "d9.example", check=False)
    assert refused.returncode == 69
    assert 'Flush service is not configured for destination "d9.example"' in refused.stderr
    refused = system.command("postqueue", "-s", "a b", check=False)
    assert refused.returncode == 69 and 'invalid destination: "a b"' in refused.stderr
    assert "fatal" in system.command("sendmail", "-qRd9.example", check=False).stderr
    system.command("sendmail", "-qRd8.example")
    eventually(lambda: listed(system, "--site", "d8.example") == [], 20)
    assert len(listed(system, "--site", "d9.example")) == LENGTH // SITES, "others wait on"


@pytest.mark.timeout(TIMEOUT)
def test_deleting_by_filter_and_all(system: PymtaSystem) -> None:
    # The test before has flushed two sites, where it ran.
    before = sum(1 for _ in listed(system))
    done = system.command("pymta-queue", "delete", "--site", "d5.example")
    assert done.stderr.endswith(f"Deleted: {LENGTH // SITES} messages\n")
    left = before - LENGTH // SITES
    assert system.process is not None
    start = cpu_seconds(system.process.pid)
    everything = system.command("postsuper", "-d", "ALL")
    seconds = cpu_seconds(system.process.pid) - start
    assert everything.stderr.endswith(f"Deleted: {left} messages\n")
    assert left / seconds > 2000
    assert system.command("postqueue", "-p").stdout == "Mail queue is empty\n"
