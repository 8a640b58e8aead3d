"""What a process and its descendants cost, from /proc."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def family(pid: int) -> list[int]:
    """`pid` and its living descendants."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (fields := _stat(int(entry.name))):
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of the family, ended and waited-for children included.

    stat has whole hundredths of user and of system time, which for the many short processes of Postfix loses half a
    second in all; schedstat has nanoseconds, of living threads.
    """
    total = 0.0
    for one in family(pid):
        if fields := _stat(one):
            own, ended = sum(map(int, fields[11:13])) / _TICKS, sum(map(int, fields[13:15])) / _TICKS
            total += max(own, _thread_seconds(one)) + ended
    return total


def _thread_seconds(pid: int) -> float:
    nanoseconds = 0
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            nanoseconds += int((task / "schedstat").read_text().split()[0])
    except OSError:
        return 0.0
    return nanoseconds / 1e9


def user_and_system(pid: int) -> tuple[float, float]:
    """Seconds of one process, its children not included; zeros where it is gone."""
    fields = _stat(pid)
    return (int(fields[11]) / _TICKS, int(fields[12]) / _TICKS) if fields else (0.0, 0.0)


def memory_kib(pid: int, field: str = "VmRSS") -> int:
    """Sum over the family of a field of /proc/PID/status, such as VmRSS or VmHWM (the peak)."""
    return sum(_kib(Path(f"/proc/{one}/status"), field) for one in family(pid))


def shared_out_kib(pid: int) -> int:
    """PSS of the family: what processes share is divided among them, so that the sum is what they take."""
    return sum(_kib(Path(f"/proc/{one}/smaps_rollup"), "Pss") for one in family(pid))


def _kib(path: Path, field: str) -> int:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(field + ":"))
