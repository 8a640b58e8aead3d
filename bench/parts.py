"""Which part of the program a sampled stack belongs to."""

from __future__ import annotations

import linecache
import re
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec

EVENT_LOOP = "event loop, reading from sockets"
WRITES = "writing to sockets"
REST = "rest"
_WRITES = re.compile(r"(transport|wire)\.write(lines)?\(")

# The longest prefix of a module's name decides.
_PARTS = {
    "pymta.access": "access",
    "pymta.app": "wiring",
    "pymta.app.remote_": "between processes",
    "pymta.auth": "authentication",
    "pymta.bounce": "notices",
    "pymta.checks": "cleanup",
    "pymta.cleanup": "cleanup",
    "pymta.config": "configuration",
    "pymta.control": "commands",
    "pymta.delivery": "delivery",
    "pymta.dns": "DNS",
    "pymta.pickup": "pickup",
    "pymta.protocol": "protocol",
    "pymta.qmgr": "queue manager",
    "pymta.qmgr.destinations": "scheduler",
    "pymta.qmgr.feedback": "scheduler",
    "pymta.qmgr.jobs": "scheduler",
    "pymta.qmgr.lanes": "scheduler",
    "pymta.qmgr.scheduler": "scheduler",
    "pymta.rewrite": "rewrite",
    "pymta.runtime.ipc": "between processes",
    "pymta.runtime.logging": "log",
    "pymta.smtpd": "smtpd",
    "pymta.spool": "spool",
    "pymta.tables": "tables",
}
_THREADS = {"spool": "spool: commits", "spool-files": "spool: content files", "log": "log"}
_LOOPS = ("asyncio.runners", "asyncio.base_events", "asyncio.events", "pymta.runtime.supervisor")

# Innermost first: module, function, line.
Stack = Sequence[tuple[str, str, int]]


def part(stack: Stack) -> str:
    """The part of the innermost function of ours that has one; values (pymta.model) and libraries count for callers.

    A transport writes to its socket at once, so the lines that hand it data stand for the system call.
    """
    if stack and _WRITES.search(_line(*stack[0])):
        return WRITES
    for module, _, _ in stack:
        if module in _LOOPS:
            return EVENT_LOOP
        if found := _of_module(module):
            return found
    return REST


def of_thread(name: str) -> str:
    return _THREADS.get(name, f"thread: {name}")


def above_loop(stack: Stack) -> Stack:
    """The calls that the event loop made, without its own and what lies below."""
    loop = next((number for number, (module, _, _) in enumerate(stack) if module in _LOOPS), len(stack))
    return stack[:loop]


@lru_cache
def _line(module: str, _: str, number: int) -> str:
    if not module.startswith("pymta."):
        return ""
    found = find_spec(module)
    return linecache.getline(found.origin, number) if found and found.origin else ""


@lru_cache
def _of_module(module: str) -> str:
    fitting = [prefix for prefix in _PARTS if module.startswith(prefix)]
    return _PARTS[max(fitting, key=len)] if fitting else ""
