"""Appending to mbox files: `From_` line, quoting, locks, and the old length again after any failure (mbox(5))."""

# ruff: noqa: PTH116, PTH120 - plain system calls on names as they came, a few dozen per message
from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager

from pymta.delivery.mailbox_copy import LineFilter, converted, write_all
from pymta.delivery.mailbox_errors import error_text, mailbox_status
from pymta.delivery.mailbox_jobs import MboxJob, Stored
from pymta.delivery.mailbox_lock import LockError, dot_locked, lock_file

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK

# Entered while content is written: a keeper takes the mailbox owner's rights, so that his quota counts.
AsOwner = Callable[[], AbstractContextManager[None]]


class _RefusedError(Exception):
    def __init__(self, status: str, reason: str) -> None:
        self.answer = Stored(status, reason)


def append_mbox(job: MboxJob, pieces: Iterable[bytes], as_owner: AsOwner = contextlib.nullcontext) -> Stored:
    """Append one message; a failed write leaves the file as long as it was. Blocks for locks and the sync.

    Raises only what `pieces` raise, after the file is restored.
    """
    return append_mboxes(job, (job.header,), (pieces,), as_owner)[0]


def append_mboxes(
    job: MboxJob,
    headers: Sequence[bytes],
    contents: Sequence[Iterable[bytes]],
    as_owner: AsOwner = contextlib.nullcontext,
) -> list[Stored]:
    """The same for several messages with `headers` instead of the job's, under one lock and with one sync.

    One that cannot be written is no matter to the others; where the sync fails, none of them stays.
    """
    try:
        with dot_locked(job.path, job.locking):
            descriptor = _open(job)
            try:
                return _append_locked(descriptor, job, headers, contents, as_owner)
            finally:
                os.close(descriptor)
    except _RefusedError as refused:
        answer = refused.answer
    except LockError as error:
        # Whoever holds the lock gives it back: always worth another try.
        answer = Stored("4.2.0", f"{error}: {error_text(error.cause)}")
    except OSError as error:
        answer = Stored(mailbox_status(error), f"cannot open file: {error_text(error)}")
    return [answer] * len(headers)


def _open(job: MboxJob) -> int:
    """Open or create the file, and never what a link that others planted leads to."""
    for _ in range(5):
        with contextlib.suppress(FileNotFoundError):
            return _open_existing(job)
        with contextlib.suppress(FileExistsError):
            return _create(job)
    raise _RefusedError("4.2.0", f"cannot open file {job.path}: it comes and goes, or is a link to nothing")


def _create(job: MboxJob) -> int:
    descriptor = os.open(job.path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        if job.create_uid is not None and job.create_gid is not None:
            os.fchown(descriptor, job.create_uid, job.create_gid)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _open_existing(job: MboxJob) -> int:
    before = os.lstat(job.path)
    if stat.S_ISLNK(before.st_mode):
        _check_link(job.path, before)
        before = os.stat(job.path)
    _check_kind(job, before)
    descriptor = os.open(job.path, _FLAGS)
    opened = os.fstat(descriptor)
    if (opened.st_dev, opened.st_ino) != (before.st_dev, before.st_ino):
        os.close(descriptor)
        raise _RefusedError("4.2.0", f"file {job.path} changed while it was opened")
    return descriptor


def _check_link(path: str, link: os.stat_result) -> None:
    """A symbolic link counts only where root made it, in a directory of root's that no other can write."""
    parent = os.stat(os.path.dirname(path) or ".")
    if link.st_uid != 0 or parent.st_uid != 0 or parent.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise _RefusedError("4.2.0", f"file {path} is a symbolic link that is not root's own")


def _check_kind(job: MboxJob, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        if not job.allow_special or stat.S_ISDIR(found.st_mode):
            raise _RefusedError("5.2.0", f"destination {job.path} is not a regular file")
        return
    if found.st_nlink > 1:
        raise _RefusedError("4.2.0", f"file {job.path} has {found.st_nlink} hard links")
    if job.refuse_executable and found.st_mode & 0o111:
        raise _RefusedError("5.7.1", "file is executable")
    if job.owner_uid is not None and found.st_uid != job.owner_uid:
        raise _RefusedError("4.2.0", f"destination {job.path} is not owned by recipient")


def _append_locked(
    descriptor: int, job: MboxJob, headers: Sequence[bytes], contents: Sequence[Iterable[bytes]], as_owner: AsOwner
) -> list[Stored]:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return [_write(descriptor, job, *one, old_size=None) for one in zip(headers, contents, strict=True)]
    lock_file(descriptor, job.locking)
    old_size = os.fstat(descriptor).st_size
    with as_owner():
        return _write_all(descriptor, job, headers, contents, old_size)


def _write_all(
    descriptor: int, job: MboxJob, headers: Sequence[bytes], contents: Sequence[Iterable[bytes]], old_size: int
) -> list[Stored]:
    answers: list[Stored] = []
    try:
        for header, pieces in zip(headers, contents, strict=True):
            size = os.fstat(descriptor).st_size if answers else old_size
            answers.append(_write(descriptor, job, header, pieces, size))
        os.fsync(descriptor)
    except BaseException as error:
        os.ftruncate(descriptor, old_size)
        if isinstance(error, OSError):
            answers += [Stored()] * (len(headers) - len(answers))
            return [answer if answer.reason else _failed(error) for answer in answers]
        raise
    return answers


def _write(descriptor: int, job: MboxJob, header: bytes, pieces: Iterable[bytes], old_size: int | None) -> Stored:
    """`old_size` None: a device, which has no length to restore."""
    try:
        room = job.size_limit - (old_size or 0) if job.size_limit else None
        _copy(descriptor, header, pieces, room)
    except OSError as error:
        if old_size is not None:
            os.ftruncate(descriptor, old_size)
        return _failed(error)
    return Stored()


def _failed(error: OSError) -> Stored:
    return Stored(mailbox_status(error), f"error writing message: {error_text(error)}")


def _copy(descriptor: int, header: bytes, pieces: Iterable[bytes], room: int | None) -> None:
    pending = header
    last = header[-1:]
    for data in converted(pieces, LineFilter(quote_from=True)):
        pending += data
        room = _within(room, len(pending))
        write_all(descriptor, pending)
        last, pending = data[-1:], b""
    pending += b"\n" if last == b"\n" else b"\n\n"
    _within(room, len(pending))
    write_all(descriptor, pending)


def _within(room: int | None, size: int) -> int | None:
    if room is None:
        return None
    if size > room:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return room - size
