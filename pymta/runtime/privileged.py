"""The root helper: forks workers that have given up root for good, and hands their sockets to an unprivileged parent.

It is the only process of ours that keeps root after start-up. It reads nothing but requests of one fixed form
from its own socket (`user id, group id, keeper flag, chroot directory`), no mail and no settings, and ends when
its parent does. What a worker is then asked to do is between the parent and the worker, with the worker's rights.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import struct
import threading
from collections.abc import Callable
from itertools import pairwise
from typing import NoReturn

from pymta.errors import PymtaError

_REQUEST = struct.Struct("!IIB")
_MAX_FRAME = 4096
# Shorter than any request: it comes back as it is.
_MARK = b"?"
_MAX_ID = 0xFFFFFFFE

# Serves one worker's socket until its end; runs in the worker, with the rights that were asked for.
Serve = Callable[[socket.socket, bool], None]


class PrivilegedHelper:
    """The parent's side. `start` it as root, early: before threads, before the event loop, before dropping root."""

    def __init__(self, connection: socket.socket, pid: int) -> None:
        self._socket = connection
        self._lock = threading.Lock()
        self.pid = pid

    @classmethod
    def start(cls, serve: Serve, *, chroots: tuple[str, ...] = ()) -> PrivilegedHelper:
        """Fork the helper. `chroots` are the directories that a worker may have as its `/`."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            never_return(lambda: _helper_main(theirs, ours, serve, frozenset(chroots)))
        theirs.close()
        return cls(ours, pid)

    def open_worker(self, uid: int, gid: int, chroot: str = "", *, is_keeper: bool = False) -> socket.socket:
        """A stream socket to a new worker. Blocks for the fork (milliseconds); raises PymtaError when refused."""
        request = _REQUEST.pack(uid, gid, is_keeper) + os.fsencode(chroot)
        try:
            # Answers carry no name: whoever asks waits for his own, or he would get another user's worker.
            with self._lock:
                self._socket.send(request)
                answer, descriptors, _, _ = socket.recv_fds(self._socket, _MAX_FRAME, 1)
        except OSError as error:
            raise PymtaError(f"the privileged helper does not answer: {error}") from error
        if not descriptors:
            reason = answer.decode("utf-8", "replace") or "the privileged helper has ended"
            raise PymtaError(reason)
        return socket.socket(fileno=descriptors[0])

    def take_over(self) -> None:
        """In another process, after the end of the one that asked before: skip the answer that it did not live to see.

        Raises PymtaError.
        """
        mark = _MARK + os.urandom(_REQUEST.size - 2)
        try:
            self._socket.send(mark)
            answer = b""
            while answer != mark:
                answer, descriptors, _, _ = socket.recv_fds(self._socket, _MAX_FRAME, 1)
                for descriptor in descriptors:
                    os.close(descriptor)
                if not answer:
                    raise PymtaError("the privileged helper has ended")
        except OSError as error:
            raise PymtaError(f"the privileged helper does not answer: {error}") from error

    def leave(self) -> None:
        """In a process that inherited the helper and has no business with it."""
        self._socket.close()

    def close(self) -> None:
        """End the helper, and wait for it; its workers end with their own sockets. Twice is harmless."""
        self._socket.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def never_return(main: Callable[[], None]) -> NoReturn:
    """Run a forked process's own main; nothing of the parent's stack may run in it afterwards."""
    code = 1
    try:
        main()
        code = 0
    finally:
        os._exit(code)


def _helper_main(requests: socket.socket, parent_side: socket.socket, serve: Serve, chroots: frozenset[str]) -> None:
    parent_side.close()
    close_all_but(requests.fileno())
    # The end of the parent's socket is what ends us; a Ctrl-C in the terminal is for the parent.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # The kernel reaps the workers.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.set_wakeup_fd(-1)
    os.umask(0o077)
    os.chdir("/")
    gc.freeze()
    while frame := requests.recv(_MAX_FRAME):
        _answer(requests, frame, serve, chroots)


def close_all_but(*descriptors: int) -> None:
    """Keep nothing of the parent's: its listeners and databases are none of the users' business."""
    edges = [2, *sorted(descriptors), os.sysconf("SC_OPEN_MAX")]
    for last, following in pairwise(edges):
        os.closerange(last + 1, following)


def _answer(requests: socket.socket, frame: bytes, serve: Serve, chroots: frozenset[str]) -> None:
    if frame.startswith(_MARK) and len(frame) < _REQUEST.size:
        requests.send(frame)
        return
    try:
        uid, gid, is_keeper, chroot = _parse_request(frame, chroots)
    except ValueError as error:
        requests.send(str(error).encode())
        return
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        if os.fork() == 0:
            never_return(lambda: _worker_main(requests, ours, theirs, serve, (uid, gid, is_keeper, chroot)))
        socket.send_fds(requests, [b"ok"], [ours.fileno()])


def _parse_request(frame: bytes, chroots: frozenset[str]) -> tuple[int, int, bool, str]:
    """Raises ValueError with what is wrong; nobody becomes root but a keeper, whose jobs are checked one by one."""
    if len(frame) < _REQUEST.size:
        raise ValueError("privileged helper: request is too short")
    uid, gid, keeper = _REQUEST.unpack_from(frame)
    chroot = os.fsdecode(frame[_REQUEST.size :])
    if keeper not in (0, 1) or uid > _MAX_ID or gid > _MAX_ID:
        raise ValueError("privileged helper: malformed request")
    if keeper and chroot:
        raise ValueError("privileged helper: a keeper has no chroot")
    if not keeper and (uid == 0 or gid == 0):
        raise ValueError(f"privileged helper: refuses to act as uid {uid} gid {gid}")
    if chroot and chroot not in chroots:
        raise ValueError(f"privileged helper: {chroot!r} is not a configured chroot directory")
    return uid, gid, bool(keeper), chroot


def _worker_main(
    requests: socket.socket,
    parent_side: socket.socket,
    jobs: socket.socket,
    serve: Serve,
    identity: tuple[int, int, bool, str],
) -> None:
    uid, gid, is_keeper, chroot = identity
    requests.close()
    parent_side.close()
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    if is_keeper:
        os.setgroups([])
    else:
        become(uid, gid, chroot)
    serve(jobs, is_keeper)


def become(uid: int, gid: int, chroot: str = "") -> None:
    """Give up root for good: groups, group and user id in that order, checked. Raises OSError."""
    if chroot:
        os.chroot(chroot)
        os.chdir("/")
    os.setgroups([gid])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if os.getresuid() != (uid, uid, uid) or os.getresgid() != (gid, gid, gid):
        raise OSError(f"could not become uid {uid} gid {gid}")
