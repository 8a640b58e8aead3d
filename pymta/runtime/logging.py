"""The mail log: Postfix's line format to a file, standard output or syslog (postlogd(8)).

Lines of a few milliseconds are written together; nothing here waits for a slow reader. Where lines must be dropped,
the next line that gets through says how many.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import queue
import re
import select
import socket
import stat
import threading
import time
from enum import IntEnum
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from pymta.runtime.root_files import is_safe

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_REOPEN_CHECK_SECONDS = 5.0
_GATHER_SECONDS = 0.005
_PIPE_BACKLOG = 1000


class Severity(IntEnum):
    """syslog(3) severities."""

    ERROR = 3
    WARNING = 4
    INFO = 6
    DEBUG = 7


_MAIL_FACILITY = 2 << 3


LogLine = tuple[Severity, str, str]
"""Severity, tag (`postfix/smtpd[123]`) and text of a line before it has a time; the text has its `warning: `."""


class Sink(Protocol):
    """Where lines go. `write` returns how many of them it had to drop; it does not raise."""

    def write(self, lines: list[LogLine]) -> int: ...
    def reopen(self) -> None: ...
    def close(self) -> None: ...


class _Stamp:
    """`Nov 21 12:00:00 host `, formatted once a second."""

    def __init__(self, hostname: str) -> None:
        self._hostname = hostname
        self._second = -1
        self._text = ""

    def text(self) -> str:
        second = int(time.time())
        if second != self._second:
            self._second = second
            # The day is padded with a blank, as syslog does and log tools expect.
            local = time.localtime(second)
            self._text = f"{time.strftime('%b', local)} {local.tm_mday:2d} {time.strftime('%H:%M:%S', local)} "
            self._text += f"{self._hostname} "
        return self._text

    def format(self, lines: list[LogLine]) -> bytes:
        stamp = self.text()
        return "".join([f"{stamp}{tag}: {text}\n" for _, tag, text in lines]).encode("utf-8", "replace")


class FileSink:
    """Appends to a file, and finds a renamed or removed one within seconds, so that logrotate needs no signal."""

    def __init__(self, path: Path, hostname: str, mode: int = 0o600) -> None:
        self._path = path
        self._mode = mode
        self._stamp = _Stamp(hostname)
        self._checked = time.monotonic()
        self._descriptor = self._open()

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        if os.geteuid() == 0 and not is_safe(str(self._path.absolute())):
            # A link there may be a user's, to make root write where he may not.
            flags |= os.O_NOFOLLOW
        return os.open(self._path, flags, self._mode)

    def give_to(self, uid: int, gid: int) -> None:
        """Let the file be this user's if it is root's so far. Raises OSError where it is another file, too."""
        found = os.fstat(self._descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != 0:
            return
        if found.st_nlink != 1:
            raise PermissionError(errno.EPERM, "the file has another name; root does not give it away")
        os.fchown(self._descriptor, uid, gid)

    def write(self, lines: list[LogLine]) -> int:
        if time.monotonic() - self._checked > _REOPEN_CHECK_SECONDS:
            self._follow_rename()
        try:
            os.write(self._descriptor, self._stamp.format(lines))
        except OSError:
            return len(lines)
        return 0

    def _follow_rename(self) -> None:
        self._checked = time.monotonic()
        with contextlib.suppress(OSError):
            here = os.fstat(self._descriptor)
            try:
                there = self._path.stat()
            except FileNotFoundError:
                self.reopen()
            else:
                if (here.st_ino, here.st_dev) != (there.st_ino, there.st_dev):
                    self.reopen()

    def reopen(self) -> None:
        with contextlib.suppress(OSError):
            descriptor = self._open()
            os.close(self._descriptor)
            self._descriptor = descriptor

    def close(self) -> None:
        os.close(self._descriptor)


class StreamSink:
    """Standard output. A pipe or socket is fed by a thread, since its reader may stall; without `threads` lines are
    dropped where it does.
    """

    def __init__(self, descriptor: int, hostname: str, *, threads: bool = True) -> None:
        self._descriptor = descriptor
        self._stamp = _Stamp(hostname)
        self._thread: threading.Thread | None = None
        mode = os.fstat(descriptor).st_mode
        self._may_stall = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
        if self._may_stall and threads:
            self._backlog: queue.Queue[tuple[bytes, int] | None] = queue.Queue(_PIPE_BACKLOG)
            self._thread = threading.Thread(target=self._feed, name="log", daemon=True)
            self._thread.start()

    def write(self, lines: list[LogLine]) -> int:
        data = self._stamp.format(lines)
        if self._thread is None:
            stalls = self._may_stall and not select.select((), (self._descriptor,), (), 0)[1]
            return len(lines) if stalls or not _write_lines(self._descriptor, data) else 0
        try:
            self._backlog.put_nowait((data, len(lines)))
        except queue.Full:
            return len(lines)
        return 0

    def _feed(self) -> None:
        while (item := self._backlog.get()) is not None:
            _write_lines(self._descriptor, item[0])

    def reopen(self) -> None:
        return

    def close(self) -> None:
        if self._thread is not None:
            with contextlib.suppress(queue.Full):
                self._backlog.put_nowait(None)
            self._thread.join(timeout=1.0)


def _write_lines(descriptor: int, data: bytes) -> bool:
    """Write in pieces that a pipe takes whole, each of whole lines: other processes write to it as well (pipe(7))."""
    start = 0
    try:
        while start < len(data):
            end = len(data)
            if end - start > select.PIPE_BUF:
                end = data.rfind(b"\n", start, start + select.PIPE_BUF) + 1 or data.find(b"\n", start) + 1
            while start < end:
                start += os.write(descriptor, data[start:end])
    except OSError:
        return False
    return True


class PythonLogSink:
    """Python's own logger `pymta`, for programs that embed us."""

    _LEVELS = MappingProxyType(
        {
            Severity.ERROR: logging.ERROR,
            Severity.WARNING: logging.WARNING,
            Severity.INFO: logging.INFO,
            Severity.DEBUG: logging.DEBUG,
        }
    )

    def __init__(self) -> None:
        self._logger = logging.getLogger("pymta")

    def write(self, lines: list[LogLine]) -> int:
        for severity, tag, text in lines:
            self._logger.log(self._LEVELS[severity], "%s: %s", tag, text)
        return 0

    def reopen(self) -> None:
        return

    def close(self) -> None:
        return


class SyslogSink:
    """The system's syslog socket, facility mail; reconnects when syslogd was restarted."""

    def __init__(self, path: str = "/dev/log") -> None:
        self._path = path
        self._socket: socket.socket | None = None

    def _connected(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            self._socket.connect(self._path)
        return self._socket

    def write(self, lines: list[LogLine]) -> int:
        stamp = time.strftime("%b %e %H:%M:%S")
        return sum(not self._send(stamp, line) for line in lines)

    def _send(self, stamp: str, line: LogLine) -> bool:
        severity, tag, text = line
        data = f"<{_MAIL_FACILITY | severity}>{stamp} {tag}: {text}".encode("utf-8", "replace")
        for _ in range(2):
            try:
                self._connected().send(data)
                return True
            except BlockingIOError:
                return False
            except OSError:
                self.reopen()
        return False

    def reopen(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def close(self) -> None:
        self.reopen()


class MailLog:
    """Collects the lines of all services and hands them to the sink every few milliseconds.

    Safe to use from any thread; outside a running loop each line is written at once.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._pending: list[LogLine] = []
        self._dropped = 0
        self._lock = threading.Lock()

    def service(self, name: str, *, debug: bool = False) -> ServiceLog:
        """The log of one service; `name` is `syslog_name/service`, such as `postfix/smtpd`."""
        return ServiceLog(self, f"{name}[{os.getpid()}]", debug)

    def add(self, line: LogLine) -> None:
        if self._pending:
            self._pending.append(line)
            return
        self._pending.append(line)
        try:
            asyncio.get_running_loop().call_later(_GATHER_SECONDS, self.flush)
        except RuntimeError:
            self.flush()

    def flush(self) -> None:
        with self._lock:
            lines, self._pending = self._pending, []
            if not lines:
                return
            if self._dropped:
                _, tag, _ = lines[0]
                lines.insert(0, (Severity.WARNING, tag, f"warning: {self._dropped} log lines lost"))
            lost = self._sink.write(lines)
            # The line that tells of lost ones is not a loss itself.
            self._dropped = self._dropped + lost - bool(self._dropped) if lost else 0

    def reopen(self) -> None:
        self.flush()
        self._sink.reopen()

    def close(self) -> None:
        self.flush()
        self._sink.close()


class ServiceLog:
    """`ports.Log` for one service."""

    def __init__(self, log: MailLog, tag: str, debug: bool) -> None:
        self._add = log.add
        self._tag = tag
        self._debug = debug

    def debug(self, line: str) -> None:
        if self._debug:
            self._add((Severity.DEBUG, self._tag, _printable(line)))

    def info(self, line: str) -> None:
        self._add((Severity.INFO, self._tag, line if line.isprintable() else _printable(line)))

    def warning(self, line: str) -> None:
        self._add((Severity.WARNING, self._tag, f"warning: {_printable(line)}"))

    def error(self, line: str) -> None:
        self._add((Severity.ERROR, self._tag, f"error: {_printable(line)}"))


def _printable(line: str) -> str:
    return line if line.isprintable() else _UNPRINTABLE.sub("?", line)


def open_sink(maillog_file: str, hostname: str, *, threads: bool = True) -> Sink:
    """The sink that `maillog_file` names: empty is syslog, `/dev/stdout` standard output, else a file."""
    if not maillog_file:
        return SyslogSink()
    if maillog_file == "/dev/stdout":
        return StreamSink(1, hostname, threads=threads)
    return FileSink(Path(maillog_file), hostname)
