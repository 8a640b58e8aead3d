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
    """User and system time of the family, ended and waited-for children included."""
    return sum(sum(map(int, fields[11:15])) for one in family(pid) if (fields := _stat(one))) / _TICKS


def user_and_system(pid: int) -> tuple[float, float]:
    """Seconds of one process, its children not included; zeros where it is gone."""
    fields = _stat(pid)
    return (int(fields[11]) / _TICKS, int(fields[12]) / _TICKS) if fields else (0.0, 0.0)


def memory_kib(pid: int, field: str = "VmRSS") -> int:
    """Sum over the family of a field of /proc/PID/status, such as VmRSS or VmHWM (the peak)."""
    total = 0
    for one in family(pid):
        try:
            lines = Path(f"/proc/{one}/status").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith(field + ":"))
    return total
