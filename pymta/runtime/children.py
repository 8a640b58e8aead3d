"""Running a command: its input fed with flow control, its output bounded, its process group killed at a time limit."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence

from pymta.model.frozen import frozen

_CHUNK = 65536


@frozen
class ChildExit:
    """How a child ended: `code` where it exited, `signal` where one killed it; `timed_out` where that was ours.

    `output` is the beginning of what it wrote to standard output and standard error.
    """

    code: int
    signal: int
    timed_out: bool
    output: bytes


class AbandonedError(Exception):
    """Nobody waits for the child any more; it was killed."""


def run_child(
    argv: Sequence[str],
    feed: Iterator[bytes],
    *,
    environment: Mapping[str, str],
    directory: str | None,
    time_limit: float,
    output_limit: int,
    file_size_limit: int = 0,
    watch: int | None = None,
) -> ChildExit:
    """Run `argv` in a process group of its own and wait for it; blocks up to `time_limit` seconds.

    A child that stops reading its input gets no more of it. What it leaves running in the background is not
    waited for. `watch` is a socket: when its other end is closed the child is killed, as nobody wants the answer.
    Raises AbandonedError then, OSError where the command cannot be started, and what `feed` raises, after the child is
    killed.
    """
    process = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(environment),
        cwd=directory,
        start_new_session=True,
    )
    run = _Run(process, feed, time.monotonic() + time_limit, output_limit)
    try:
        if file_size_limit:
            _limit_file_size(process.pid, file_size_limit)
        run.watch(watch)
        timed_out = not run.until_exit()
    except BaseException:
        run.kill()
        raise
    finally:
        run.close()
    code = process.wait()
    return ChildExit(max(code, 0), max(-code, 0), timed_out, bytes(run.output))


def _limit_file_size(pid: int, limit: int) -> None:
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    if hard == resource.RLIM_INFINITY or limit < hard:
        # A child that has already ended needs no limit.
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, limit))


class _Run:
    """One child between its start and its end."""

    def __init__(self, process: subprocess.Popen[bytes], feed: Iterator[bytes], deadline: float, limit: int) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._process = process
        self._stdin = process.stdin
        self._stdout = process.stdout
        self._feed = feed
        self._pending = memoryview(b"")
        self._deadline = deadline
        self._limit = limit
        self.output = bytearray()
        self._pidfd = os.pidfd_open(process.pid)
        self._hangup = select.epoll()
        self._selector = selectors.DefaultSelector()
        os.set_blocking(self._stdin.fileno(), False)
        os.set_blocking(self._stdout.fileno(), False)
        self._selector.register(self._stdin, selectors.EVENT_WRITE, self._write)
        self._selector.register(self._stdout, selectors.EVENT_READ, self._read)
        self._selector.register(self._pidfd, selectors.EVENT_READ, None)

    def watch(self, descriptor: int | None) -> None:
        """Kill the child when the other end of `descriptor` is closed; what there is to read from it does not count."""
        if descriptor is not None:
            self._hangup.register(descriptor, select.EPOLLRDHUP)
            self._selector.register(self._hangup, selectors.EVENT_READ, self._abandon)

    def until_exit(self) -> bool:
        """Serve the child until it ends; False where it had to be killed at the deadline."""
        while True:
            left = self._deadline - time.monotonic()
            ready = self._selector.select(left) if left > 0 else []
            if not ready and self._deadline <= time.monotonic():
                self.kill()
                return False
            ended = False
            for key, _ in ready:
                if key.data is None:
                    ended = True
                else:
                    key.data()
            if ended:
                self._read()
                return True

    def _write(self) -> None:
        if not self._pending:
            self._pending = memoryview(next(self._feed, b""))
            if not self._pending:
                self._close_stdin()
                return
        try:
            written = os.write(self._stdin.fileno(), self._pending)
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._close_stdin()
            return
        self._pending = self._pending[written:]

    def _close_stdin(self) -> None:
        self._selector.unregister(self._stdin)
        with contextlib.suppress(OSError):
            self._stdin.close()

    def _read(self) -> None:
        """Take what is there; beyond the limit it is read and dropped, so that the child never blocks on it."""
        if self._stdout.closed:
            return
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._stdout.fileno(), _CHUNK)
            self.output += data[: self._limit - len(self.output)]
            if not data:
                self._selector.unregister(self._stdout)
                self._stdout.close()

    def _abandon(self) -> None:
        raise AbandonedError

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        self._selector.close()
        self._hangup.close()
        os.close(self._pidfd)
        for stream in (self._stdin, self._stdout):
            with contextlib.suppress(OSError):
                stream.close()
