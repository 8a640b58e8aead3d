"""A small process that keeps root and answers one kind of question on a Unix socket that only the mail system may use.

It is forked at start-up, before threads and before root is given up, reads no mail and no settings, and ends with the
processes that were started after it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import signal
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pymta.errors import ConfigError
from pymta.runtime.privileged import close_all_but, never_return

_BACKLOG = 128
_THREADS = 2
_WAITING_LIMIT = 100
_CREDENTIALS = struct.Struct("iII")

Serve = Callable[[socket.socket], None]
"""Answers one question on a connection, in a thread; the connection is closed behind it."""


class RootServer:
    """The side of whoever started it. `start` it as root; where we are not, it has our own rights."""

    def __init__(self, lifeline: socket.socket, pid: int, path: Path) -> None:
        self._lifeline = lifeline
        self._path = path
        self.pid = pid

    @classmethod
    def start(cls, path: Path, account: pwd.struct_passwd | None, serve: Serve) -> RootServer:
        """Listen at `path`, where `account` alone may connect (None: ourselves), and fork. Raises ConfigError."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            path.unlink(missing_ok=True)
            listener.bind(str(path))
            if account is not None:
                os.chown(path, account.pw_uid, account.pw_gid)
            listener.listen(_BACKLOG)
        except OSError as error:
            raise ConfigError(f"cannot listen: {error.strerror or error}", name=str(path)) from error
        finally:
            os.umask(mask)
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            user = os.geteuid() if account is None else account.pw_uid
            never_return(lambda: _main(listener, theirs, user, serve))
        listener.close()
        theirs.close()
        return cls(ours, pid, path)

    def close(self) -> None:
        """End it, in the process that started it."""
        self._lifeline.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def _main(listener: socket.socket, lifeline: socket.socket, user: int, serve: Serve) -> None:
    close_all_but(listener.fileno(), lifeline.fileno())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # The end of the lifeline ends us; a Ctrl-C in the terminal is for whoever started us.
        signal.signal(number, signal.SIG_IGN)
    signal.set_wakeup_fd(-1)
    os.chdir("/")
    places = _Places()
    with ThreadPoolExecutor(_THREADS) as pool:
        while lifeline not in select.select([listener, lifeline], [], [])[0]:
            connection, _ = listener.accept()
            if _peer(connection) in (0, user) and places.take():
                pool.submit(_answer, connection, serve, places)
            else:
                connection.close()
        os._exit(0)


class _Places:
    """How many questions run or wait. Taken by the one thread that accepts, given back by those that answer."""

    def __init__(self) -> None:
        self._taken: set[object] = set()

    def take(self) -> bool:
        if len(self._taken) >= _WAITING_LIMIT:
            return False
        self._taken.add(object())
        return True

    def give_back(self) -> None:
        self._taken.pop()


def _answer(connection: socket.socket, serve: Serve, places: _Places) -> None:
    # A connection that is closed without an answer tells that there is none now.
    with connection, contextlib.suppress(Exception):
        serve(connection)
    places.give_back()


def _peer(connection: socket.socket) -> int:
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    user: int = _CREDENTIALS.unpack(data)[1]
    return user
