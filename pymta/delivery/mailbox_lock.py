"""Locks on mailbox files: dot-lock files, fcntl and flock (local(8), mailbox_delivery_lock)."""

# ruff: noqa: PTH108 - plain system calls on names as they came, a few dozen per message
from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator

from pymta.delivery.mailbox_jobs import Locking

_SOMEBODY_ELSE = {errno.EAGAIN, errno.EACCES}


class LockError(Exception):
    """A lock was not had in time: `cause` is the system's error, the text what was tried."""

    def __init__(self, text: str, cause: OSError) -> None:
        super().__init__(text)
        self.cause = cause


@contextlib.contextmanager
def dot_locked(path: str, locking: Locking, sleep: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Hold `PATH.lock` for the block; one that is older than `stale` seconds is taken over. Raises LockError."""
    lock = f"{path}.lock"
    held = locking.dotlock and _create_lock(lock, locking, sleep)
    try:
        yield
    finally:
        if held:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(lock)


def _create_lock(lock: str, locking: Locking, sleep: Callable[[float], None]) -> bool:
    attempt = 1
    while True:
        try:
            os.close(os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
            return True
        except FileExistsError as error:
            if attempt >= locking.attempts:
                raise LockError(f"unable to create lock file {lock}", error) from error
            if not _remove_stale(lock, locking.stale):
                sleep(locking.delay)
        except OSError as error:
            if locking.dotlock_may_fail:
                return False
            raise LockError(f"unable to create lock file {lock}", error) from error
        attempt += 1


def _remove_stale(lock: str, stale: float) -> bool:
    """Whether the lock may be free now: it is gone, or was too old and has been removed."""
    try:
        if time.time() - os.lstat(lock).st_mtime <= stale:
            return False
        os.unlink(lock)
    except FileNotFoundError:
        pass
    except OSError:
        return False
    return True


def lock_file(descriptor: int, locking: Locking, sleep: Callable[[float], None] = time.sleep) -> None:
    """Lock an open file in the ways that are asked for; closing it unlocks. Raises LockError."""
    if locking.flock:
        _try(lambda: fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB), locking, sleep)
    if locking.fcntl:
        _try(lambda: fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB), locking, sleep)


def _try(take: Callable[[], None], locking: Locking, sleep: Callable[[float], None]) -> None:
    for attempt in range(1, locking.attempts + 1):
        try:
            return take()
        except OSError as error:
            if error.errno not in _SOMEBODY_ELSE or attempt == locking.attempts:
                raise LockError("unable to lock for exclusive access", error) from error
        sleep(locking.delay)
    return None
