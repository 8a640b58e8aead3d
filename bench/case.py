"""What a case is, and how a run of one is measured."""

from __future__ import annotations

import atexit
import contextlib
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.measure import cpu_seconds, shared_out_kib
from bench.systems import Postfix, Pymta

System = type[Pymta] | type[Postfix]
_SAMPLE_SECONDS = 0.5


@dataclass(frozen=True)
class Figure:
    """One run: the figure and what it cost. `peak_kib` is PSS over all processes; `more` are figures beside it."""

    value: float
    cpu_us_per_message: float = 0.0
    peak_kib: int = 0
    more: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """`better` tells whether the ratio pymta/Postfix should be large or small."""

    name: str
    unit: str
    run: Callable[[System, float], Figure]
    better: str = "large"
    systems: tuple[System, ...] = (Pymta, Postfix)


def folder() -> Path:
    """A new folder that both systems can reach."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    folder.chmod(0o755)  # both systems give up root and must still reach it
    return folder


@contextlib.contextmanager
def place() -> Iterator[Path]:
    """A `folder` that is gone when all is over.

    Not sooner: where a file system looks for a new file's place past all that were deleted in the last minutes (ext4
    without a journal), cleaning up after one run would slow down the next.
    """
    path = folder()
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    yield path


class Meter:
    """CPU time and peak memory of a system from here to `figure`; what sends and receives is not of its family."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peak = 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        self._cpu = cpu_seconds(pid)
        self._start = time.monotonic()

    def _watch(self) -> None:
        while not self._is_over.wait(_SAMPLE_SECONDS):
            self._peak = max(self._peak, shared_out_kib(self._pid))

    def figure(self, count: int, *, seconds: float = 0.0, more: Mapping[str, float] | None = None) -> Figure:
        """`count` units per second since the start (or in `seconds`), with CPU per unit."""
        seconds = seconds or time.monotonic() - self._start
        cpu = cpu_seconds(self._pid) - self._cpu
        self._is_over.set()
        self._thread.join()
        peak = max(self._peak, shared_out_kib(self._pid))
        return Figure(count / seconds, cpu / count * 1e6, peak, more or {})


def scaled(count: int, scale: float) -> int:
    """At least one."""
    return max(1, int(count * scale))
