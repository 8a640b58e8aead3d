"""`python -m bench.costs [commands] [queue] [tables]`: the single figures that docs/ state, each as its page words it.

Commands: least CPU time of 25 runs. Queue: a spool of 1,000,000 messages (`--messages`), without the program around it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import islice
from pathlib import Path

from bench.case import place
from bench.large_queue import fill
from bench.systems import Pymta, command_line
from pymta.model.queue import QueueFilter
from pymta.runtime.clock import SystemClock
from pymta.spool import SqliteSpool
from pymta.tables import entries
from pymta.testing import RecordingLog

_RUNS = 25
_AT_ONCE = 1000


def commands() -> None:
    """docs/commands.md."""
    with place() as here, Pymta(here, {"default_transport": "discard:"}).running() as running:
        python = ([sys.executable, "-c", "pass"], dict(os.environ))
        sendmail = command_line(running, "sendmail", "user@example.net")
        for name, (call, environment) in {
            "python -c pass": python,
            "sendmail": sendmail,
            "postqueue -p": command_line(running, "postqueue", "-p"),
        }.items():
            least = min(_cpu(call, environment) for _ in range(_RUNS))
            print(f"{name}: {1000 * least:.0f} ms")


def _cpu(call: list[str], environment: dict[str, str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(call, env=environment, input=b"20 bytes of mail...\n", stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def queue(messages: int) -> None:
    """docs/queue.md, "A long queue"."""
    with place() as here:
        fill(here / "queue", messages)
        asyncio.run(_queue(here / "queue"))
    print(f"memory throughout: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")


async def _queue(directory: Path) -> None:
    spool = SqliteSpool(directory, RecordingLog(), SystemClock())

    async def start() -> None:
        await spool.open()
        await spool.due(time.time(), 1000)

    await _timed("open the spool, find what is due", start)
    await _timed("first entry of a listing", lambda: _first(spool))
    await _timed("count by queue", spool.counts)
    for name, query in {
        "one site": QueueFilter(site="d7.example"),
        "one recipient": QueueFilter(recipient="user7@d7.example"),
        "one sender": QueueFilter(sender="sender7@example.com"),
        "all": QueueFilter(),
    }.items():
        await _timed(f"find {name}", partial(_found, spool, query))
    await _timed("list, each entry with its recipients", lambda: _listed(spool))
    ids = [found.queue_id async for page in spool.find(QueueFilter()) for found in page]
    await _timed("delete", lambda: _delete(spool, ids))
    await spool.close()


async def _timed(what: str, work: Callable[[], Awaitable[object]]) -> None:
    start = time.monotonic()
    count = await work()
    seconds = time.monotonic() - start
    rate = f", {count / seconds:,.0f} per second" if isinstance(count, int) else ""
    print(f"{what}: {seconds:.3f} s{rate}", flush=True)


async def _first(spool: SqliteSpool) -> None:
    async for _ in spool.entries(QueueFilter()):
        return


async def _found(spool: SqliteSpool, query: QueueFilter) -> int:
    return sum([len(page) async for page in spool.find(query)])


async def _listed(spool: SqliteSpool) -> int:
    count = 0
    async for _ in spool.entries(QueueFilter()):
        count += 1
    return count


async def _delete(spool: SqliteSpool, ids: list[str]) -> int:
    numbers = iter(ids)
    while some := list(islice(numbers, _AT_ONCE)):
        await asyncio.gather(*map(spool.remove, some))
    return len(ids)


def tables(lines: int) -> None:
    """docs/tables.md: a file of a million lines."""
    text = "".join(f"user{number}@example.com mailbox{number}\n" for number in range(lines))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    entries.index(text)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    print(f"{lines:,} lines of a table: {time.process_time() - start:.1f} s of CPU, {grown} MiB more at the peak")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="bench.costs")
    parser.add_argument("parts", nargs="*", help="commands, tables, queue; all without any")
    parser.add_argument("--messages", type=int, default=1_000_000, help="of the queue; lines of the table")
    options = parser.parse_args()
    # Tables before the queue: the peak of memory is that of the whole process.
    parts = {
        "commands": commands,
        "tables": partial(tables, options.messages),
        "queue": partial(queue, options.messages),
    }
    for name in options.parts or parts:
        parts[name]()


if __name__ == "__main__":
    main()
