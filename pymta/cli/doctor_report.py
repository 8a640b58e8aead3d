"""What `pymta-doctor` finds, and how it is shown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from enum import Enum

from pymta.model.frozen import frozen


class Health(Enum):
    """UNKNOWN is what could not be found out now; WARNING works, but costs reputation or will break."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    UNKNOWN = "unknown"


@frozen
class Finding:
    """One line: what was found, why it matters, and the exact record or command that mends it (`fix`, may be empty)."""

    health: Health
    topic: str
    found: str
    why: str = ""
    fix: str = ""


def ok(topic: str, found: str) -> Finding:
    return Finding(Health.OK, topic, found)


def warning(topic: str, found: str, why: str, fix: str = "") -> Finding:
    return Finding(Health.WARNING, topic, found, why, fix)


def problem(topic: str, found: str, why: str, fix: str = "") -> Finding:
    return Finding(Health.PROBLEM, topic, found, why, fix)


def unknown(topic: str, found: str, why: str = "", fix: str = "") -> Finding:
    return Finding(Health.UNKNOWN, topic, found, why, fix)


_COLOURS = {Health.OK: "32", Health.WARNING: "33", Health.PROBLEM: "31;1", Health.UNKNOWN: "36"}
_WORDS = {Health.OK: "ok", Health.WARNING: "warn", Health.PROBLEM: "BAD", Health.UNKNOWN: "?"}


def as_text(findings: Iterable[Finding], *, colour: bool) -> str:
    """The report for people: a line for each finding, below it why and what to do."""
    lines = []
    for one in findings:
        word = f"{_WORDS[one.health]:>4}"
        shown = f"\033[{_COLOURS[one.health]}m{word}\033[0m" if colour else word
        lines.append(f"{shown}  {one.topic}: {_printable(one.found)}")
        for label, text in (("why", one.why), ("fix", one.fix)):
            if text:
                first, *others = text.splitlines()
                lines.append(f"      {label}: {_printable(first)}")
                lines += [f"           {_printable(other)}" for other in others]
    return "\n".join(lines) + "\n"


def as_json(domain: str, findings: Sequence[Finding]) -> str:
    """The report for programs: one object."""
    rows = [asdict(one) | {"health": one.health.value} for one in findings]
    return json.dumps({"domain": domain, "healthy": is_healthy(findings), "findings": rows}, indent=2) + "\n"


def is_healthy(findings: Iterable[Finding]) -> bool:
    """Whether there is no PROBLEM."""
    return not any(one.health is Health.PROBLEM for one in findings)


def _printable(text: str) -> str:
    """DNS says what strangers like; a terminal must not act on it."""
    return "".join(c if c.isprintable() or c == "\t" else "?" for c in text)
