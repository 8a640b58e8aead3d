"""Files that root alone may read, for processes that gave root up: those that the configuration names, and no others.

Postfix's daemons open their tables before they give up root, and start anew at a reload. Ours live on. So a process
that keeps root opens for them, read-only, what the configuration names at that moment; it is told a path and answers
with a descriptor. It looks by itself what is named; a request can ask for nothing else.
"""

from __future__ import annotations

import errno
import gc
import os
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pymta.runtime.privileged import close_all_but, never_return

_LONGEST_PATH = 4096
_ANSWER_SECONDS = 10.0
_MOST_LINKS = 40
_YES = b"+"

Named = Callable[[], frozenset[str]]
"""What is named now, as absolute paths."""


class RootFiles:
    """Our end. `start` it as root, early: before threads, before the event loop, before dropping root.

    Every process that is forked from us may ask: each question brings its own socket for the answer. The process at
    the other end ends with the last of us.
    """

    def __init__(self, connection: socket.socket, pid: int) -> None:
        self._socket = connection
        self.pid = pid

    @classmethod
    def start(cls, named: Named) -> RootFiles:
        """Fork the process; `named` is called there, and raises nothing."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            never_return(lambda: _serve(theirs, named))
        theirs.close()
        return cls(ours, pid)

    def open(self, path: str) -> int:
        """A descriptor for `path`, read-only. Raises OSError, PermissionError where it is not named or not safe."""
        answer, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with answer:
            with theirs:
                socket.send_fds(self._socket, [os.fsencode(path)], [theirs.fileno()])
            answer.settimeout(_ANSWER_SECONDS)
            said, descriptors, _, _ = socket.recv_fds(answer, 16, 1)
        if said == _YES and descriptors:
            return descriptors[0]
        number = int(said) if said else errno.EIO
        raise OSError(number, os.strerror(number), path)


_root: RootFiles | None = None


def use(root: RootFiles) -> None:
    """Let `open_file` and `status` of this process, and of those forked from it, ask `root` where they may not."""
    global _root
    _root = root


def open_file(path: str | Path) -> BinaryIO:
    """Open for reading, as root where we may not and the configuration names the file. Raises OSError."""
    try:
        return open(path, "rb")  # noqa: PTH123 - a path of either kind
    except PermissionError:
        if _root is None:
            raise
        return os.fdopen(_root.open(os.path.abspath(path)), "rb")  # noqa: PTH100 - links stay what they are


def status(path: str | Path) -> os.stat_result:
    """stat(2), as root where we may not look there and the configuration names the file. Raises OSError."""
    try:
        return os.stat(path)  # noqa: PTH116 - as above
    except PermissionError:
        if _root is None:
            raise
        with open_file(path) as file:
            return os.fstat(file.fileno())


def _serve(requests: socket.socket, named: Named) -> None:
    close_all_but(requests.fileno())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # The end of all who may ask ends us; a Ctrl-C in the terminal is for them.
        signal.signal(number, signal.SIG_IGN)
    signal.set_wakeup_fd(-1)
    os.chdir("/")
    gc.freeze()
    while _serve_one(requests, named):
        pass


def _serve_one(requests: socket.socket, named: Named) -> bool:
    """Answer one question; False when nobody is left to ask."""
    name, descriptors, _, _ = socket.recv_fds(requests, _LONGEST_PATH, 1)
    if not name and not descriptors:
        return False
    for descriptor in descriptors:
        with socket.socket(fileno=descriptor) as answer:
            answer.setblocking(False)
            try:
                _answer(answer, os.fsdecode(name), named)
            except OSError as error:
                _send(answer, str(error.errno or errno.EIO).encode(), ())
    return True


def _answer(answer: socket.socket, path: str, named: Named) -> None:
    if path not in named() or not is_safe(path):
        raise PermissionError(errno.EACCES, "not for us to open", path)
    # What became a pipe or a device since must not hold us up.
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise PermissionError(errno.EACCES, "not a regular file", path)
        _send(answer, _YES, (opened,))
    finally:
        os.close(opened)


def _send(answer: socket.socket, said: bytes, descriptors: tuple[int, ...]) -> None:
    try:
        socket.send_fds(answer, [said], list(descriptors))
    except OSError:
        # Who asked is gone.
        return


def is_safe(path: str) -> bool:
    """Whether nobody but root can say what `path` is: each directory on its way, and on its links' ways, is his alone.

    Else a user might put a link there to what is not his to read.
    """
    here, links = "/", 0
    ahead = _steps(path)
    while ahead:
        part = ahead.pop()
        if part == "..":
            here = os.path.dirname(here)  # noqa: PTH120 - text in, text out
            continue
        step = os.path.join(here, part)  # noqa: PTH118 - as above
        if not _is_fixed(here, step):
            return False
        try:
            target = os.readlink(step)  # noqa: PTH115 - as above
        except OSError:
            here = step
            continue
        links += 1
        if links > _MOST_LINKS:
            return False
        here = "/" if target.startswith("/") else here
        ahead += _steps(target)
    return True


def _steps(path: str) -> list[str]:
    """The names on the way, the last one first."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def _is_fixed(directory: str, entry: str) -> bool:
    """Only root can put something else in the place of `entry`: the directory is his, or sticky and the entry his."""
    try:
        found = os.stat(directory)  # noqa: PTH116 - as above
        if found.st_uid != 0:
            return False
        if not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return True
        return bool(found.st_mode & stat.S_ISVTX) and os.lstat(entry).st_uid == 0
    except OSError:
        return False
