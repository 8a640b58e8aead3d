"""Delivery into maildirs: written in `tmp`, synced, linked into `new` (maildir(5))."""

# ruff: noqa: PTH102, PTH108, PTH120 - plain system calls on names as they came, a few dozen per message
from __future__ import annotations

import contextlib
import errno
import itertools
import os
import socket
import time
from collections.abc import Iterable

from pymta.delivery.mailbox_copy import LineFilter, converted, write_all
from pymta.delivery.mailbox_errors import error_text, mailbox_status
from pymta.delivery.mailbox_jobs import MaildirJob, Stored

_HOST = socket.gethostname().replace("/", "\\057").replace(":", "\\072")
_numbers = itertools.count(1)


class _StepError(Exception):
    """`what` failed with `cause`."""

    def __init__(self, what: str, cause: OSError) -> None:
        super().__init__(what)
        self.cause = cause


def deliver_maildir(job: MaildirJob, pieces: Iterable[bytes]) -> Stored:
    """Store one message under a name that no other delivery makes; file and directory are synced. Blocks.

    Raises only what `pieces` raise; then nothing of the message stays.
    """
    root = job.path.rstrip("/")
    try:
        temporary, descriptor = _create(root)
    except _StepError as error:
        return _failed(error)
    try:
        _write(descriptor, job, pieces)
        _publish(root, temporary, os.fstat(descriptor))
    except _StepError as error:
        return _failed(error)
    finally:
        os.close(descriptor)
        with contextlib.suppress(OSError):
            os.unlink(temporary)
    return Stored()


def _create(root: str) -> tuple[str, int]:
    name = f"{int(time.time())}.P{os.getpid()}Q{next(_numbers)}.{_HOST}"
    path = f"{root}/tmp/{name}"  # noqa: S108 - a maildir's own
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        try:
            return path, os.open(path, flags, 0o600)
        except FileNotFoundError:
            for part in ("tmp", "cur", "new"):
                _make_directory(f"{root}/{part}")
            return path, os.open(path, flags, 0o600)
    except OSError as error:
        raise _StepError(f"create maildir file {path}", error) from error


def _make_directory(path: str) -> None:
    """Make a directory and the missing ones above it, each for its owner only."""
    # Another delivery may make it at the same time.
    with contextlib.suppress(FileExistsError):
        try:
            os.mkdir(path, 0o700)
        except FileNotFoundError:
            _make_directory(os.path.dirname(path))
            os.mkdir(path, 0o700)


def _write(descriptor: int, job: MaildirJob, pieces: Iterable[bytes]) -> None:
    size, pending = 0, job.header
    try:
        for data in converted(pieces, LineFilter()):
            pending += data
            size += len(pending)
            if job.size_limit and size > job.size_limit:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
            write_all(descriptor, pending)
            pending = b""
        write_all(descriptor, pending)
        os.fsync(descriptor)
    except OSError as error:
        raise _StepError("error writing message", error) from error


def _publish(root: str, temporary: str, written: os.stat_result) -> None:
    """Give the file its final name, which carries its inode and the time, and make that durable."""
    microseconds = time.time_ns() // 1000
    name = f"{microseconds // 1_000_000}.V{written.st_dev:x}I{written.st_ino:x}M{microseconds % 1_000_000}.{_HOST}"
    path = f"{root}/new/{name}"
    try:
        try:
            os.link(temporary, path)
        except FileNotFoundError:
            for part in ("cur", "new"):
                _make_directory(f"{root}/{part}")
            os.link(temporary, path)
        _sync_directory(f"{root}/new")
    except OSError as error:
        raise _StepError(f"create maildir file {path}", error) from error


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _failed(error: _StepError) -> Stored:
    return Stored(mailbox_status(error.cause), f"maildir delivery failed: {error}: {error_text(error.cause)}")
