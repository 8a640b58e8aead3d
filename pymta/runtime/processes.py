"""Processes of our own: forked from the supervisor, each with a channel to it."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pymta.model.frozen import frozen

Message = Mapping[str, Any]

_PR_SET_NAME = 15
_MESSAGE_LIMIT = 65536
_DESCRIPTORS_LIMIT = 250
_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Channel:
    """One end of a connection that carries JSON objects, with descriptors where wanted. Never blocks.

    Its end is how a process learns that the one at the other end is gone.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._socket = connection

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> bool:
        """False where the other end is gone, or so far behind that it cannot be told anything."""
        data = json.dumps(message).encode()
        try:
            if descriptors:
                socket.send_fds(self._socket, [data], list(descriptors))
            else:
                self._socket.send(data)
        except OSError:
            return False
        return True

    def receive(self) -> tuple[Message, list[int]] | None:
        """The next message; None at the end. Raises BlockingIOError where there is none yet."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._socket, _MESSAGE_LIMIT, _DESCRIPTORS_LIMIT)
        except BlockingIOError:
            raise
        except OSError:
            return None
        return (json.loads(data), list(descriptors)) if data else None

    def close(self) -> None:
        self._socket.close()


@frozen
class Child:
    """A running process: `pidfd` becomes readable when it ends."""

    pid: int
    pidfd: int
    channel: Channel

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def reap(self) -> str:
        """How it ended, in words; it has, or is waited for."""
        _, status = os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        self.channel.close()
        code = os.waitstatus_to_exitcode(status)
        return f"killed by signal {-code}" if code < 0 else f"exit status {code}"


def fork(name: str, main: Callable[[Channel], int], unwanted: Callable[[], Iterable[int]]) -> Child:
    """Run `main` in a process of its own. `unwanted` are the parent's descriptors that it must not keep open.

    `name` is what ps(1) and top(1) call it.

    The parent has no threads and no event loop. Signals that a terminal or an init system sends to the whole group
    are the parent's matter: the child is told over its channel.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    gc.freeze()
    pid = os.fork()
    if pid:
        theirs.close()
        return Child(pid, os.pidfd_open(pid), Channel(ours))
    code = 1
    try:
        ours.close()
        for descriptor in unwanted():
            os.close(descriptor)
        _set_name(name)
        # Not what a daemon's start-up prints to: whoever waits for that is gone by the time we have something to say.
        sys.stderr = sys.__stderr__
        signal.set_wakeup_fd(-1)
        for number in _IGNORED:
            # Not SIG_IGN, which commands that we run would inherit.
            signal.signal(number, _ignore)
        code = _run(main, Channel(theirs))
    finally:
        os._exit(code)


def _run(main: Callable[[Channel], int], channel: Channel) -> int:
    try:
        return main(channel)
    except Exception as error:
        traceback.print_exc()
        channel.send({"op": "failed", "text": repr(error)})
        return 1


def _set_name(name: str) -> None:
    """prctl(2); a process that gave up root may not write its /proc/self/comm."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode())


def _ignore(number: int, frame: object) -> None:
    return
