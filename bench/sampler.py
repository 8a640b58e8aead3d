"""`python -m bench.sampler DIRECTORY ARGUMENTS` is `pymta ARGUMENTS`, and each of its processes samples its CPU time.

The main thread is interrupted after so much CPU time of its own, which a timer of the process (ITIMER_PROF) could not
tell from that of the threads that write the queue and the log; those are measured as wholes. SIGUSR1 begins anew,
SIGUSR2 writes DIRECTORY/PID.json. Costs below one per cent.
"""

from __future__ import annotations

import ctypes
import dis
import json
import os
import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType

INTERVAL = 0.004
_THREAD_CPU_CLOCK = 3  # CLOCK_THREAD_CPUTIME_ID
_DEPTH = 60


class _Event(ctypes.Structure):
    """struct sigevent; its end is unused for a plain signal."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signo", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("rest", ctypes.c_int * 12),
    )


class _Times(ctypes.Structure):
    """struct itimerspec: interval and first time, seconds and nanoseconds each."""

    _fields_ = tuple((name, ctypes.c_long) for name in ("seconds", "nanoseconds", "first_seconds", "first_nanoseconds"))


class Sampler:
    """Counts the stacks in which this process's main thread spends its time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stacks: Counter[tuple[tuple[str, CodeType, int], ...]] = Counter()
        self._threads: dict[str, int] = {}
        self._resumes: dict[int, frozenset[int]] = {}

    def start(self) -> None:
        """Call in the main thread; again in each forked child, whose timers are not its parent's."""
        self._begin()
        signal.signal(signal.SIGPROF, self._sample)
        signal.signal(signal.SIGUSR1, lambda number, frame: self._begin())
        signal.signal(signal.SIGUSR2, lambda number, frame: self._write())
        _interrupt_every(INTERVAL)

    def _begin(self) -> None:
        self._stacks.clear()
        self._threads = _thread_times()

    def _sample(self, number: int, frame: FrameType | None) -> None:
        if frame is not None and self._just_entered(frame):
            # The interpreter looks for signals as a function begins: the time was spent before it.
            frame = frame.f_back
        stack: list[tuple[str, CodeType, int]] = []
        while frame is not None and len(stack) < _DEPTH:
            stack.append((frame.f_globals.get("__name__", "?"), frame.f_code, frame.f_lineno or 0))
            frame = frame.f_back
        self._stacks[tuple(stack)] += 1

    def _just_entered(self, frame: FrameType) -> bool:
        code = frame.f_code
        if id(code) not in self._resumes:
            self._resumes[id(code)] = frozenset(
                each.offset for each in dis.get_instructions(code) if each.opname == "RESUME"
            )
        return frame.f_lasti in self._resumes[id(code)]

    def _write(self) -> None:
        ended = _thread_times()
        counted = list(self._stacks.items())  # in one step: samples go on meanwhile
        threads = {name: time - self._threads.get(name, 0) for name, time in ended.items()}
        stacks = [
            ([(module, code.co_qualname, line) for module, code, line in stack], count) for stack, count in counted
        ]
        report = {"name": Path("/proc/self/comm").read_text().strip(), "threads_ns": threads, "stacks": stacks}
        place = self._directory / f"{os.getpid()}.json"
        place.with_suffix(".new").write_text(json.dumps(report))
        place.with_suffix(".new").rename(place)


def _interrupt_every(seconds: float) -> None:
    """SIGPROF each time that the calling thread has used so much CPU time: timer_create(2)."""
    library = ctypes.CDLL(None, use_errno=True)
    timer = ctypes.c_void_p()
    event = _Event(signo=signal.SIGPROF, notify=0)
    nanoseconds = int(seconds * 1e9)
    times = _Times(0, nanoseconds, 0, nanoseconds)
    failed = library.timer_create(_THREAD_CPU_CLOCK, ctypes.byref(event), ctypes.byref(timer))
    if failed or library.timer_settime(timer, 0, ctypes.byref(times), None):
        raise OSError(ctypes.get_errno(), "cannot sample CPU time")


def _thread_times() -> dict[str, int]:
    """CPU nanoseconds of this process's other threads, by name (pools together); `other` are not Python's."""
    names = {thread.native_id: thread.name.partition("_")[0] for thread in threading.enumerate()}
    times: Counter[str] = Counter()
    for task in Path("/proc/self/task").iterdir():
        if int(task.name) != os.getpid():
            times[names.get(int(task.name), "other")] += int((task / "schedstat").read_text().split()[0])
    return dict(times)


def main() -> None:
    """Install the sampler, then be pymta."""
    sampler = Sampler(Path(sys.argv.pop(1)))
    sampler.start()
    os.register_at_fork(after_in_child=sampler.start)
    from pymta.cli.main import main as pymta

    try:
        code = pymta()
    finally:
        # The interpreter gives up its handlers before its last instructions.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGPROF])
    sys.exit(code)


if __name__ == "__main__":
    main()
