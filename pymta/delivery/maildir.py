"""Delivery into maildirs: written in `tmp`, synced, renamed into `new` (maildir(5))."""

# ruff: noqa: PTH102, PTH104, PTH108, PTH120 - plain system calls on names as they came, a few per message
from __future__ import annotations

import contextlib
import errno
import itertools
import os
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from pymta.delivery.mailbox_copy import LineFilter, converted, write_all
from pymta.delivery.mailbox_errors import error_text, mailbox_status
from pymta.delivery.mailbox_jobs import NOT_STORED, MaildirJob, Stored

_HOST = socket.gethostname().replace("/", "\\057").replace(":", "\\072")
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_numbers = itertools.count(1)


def deliver_maildir(job: MaildirJob, pieces: Iterable[bytes]) -> Stored:
    """Store one message under a name that no other delivery makes; file and directory are synced. Blocks.

    Raises only what `pieces` raise; then nothing of the message stays.
    """
    return deliver_maildirs([job], [pieces])[0]


def deliver_maildirs(jobs: Sequence[MaildirJob], contents: Iterable[Iterable[bytes]]) -> list[Stored]:
    """The same for several messages, which share what syncs cost; what fails for one is no matter to the others.

    `contents` gives one content after the other, each read to its end or its failure before the next.
    """
    files: list[_File] = []
    try:
        for job, pieces in zip(jobs, contents, strict=True):
            file = _File(job)
            files.append(file)
            if job.unless:
                file.look_elsewhere()
            file.attempt(file.create)
            file.attempt(partial(file.write, pieces))
        _sync_all(files)
        for file in files:
            file.attempt(file.publish)
        _sync_directories(files)
    finally:
        for file in files:
            file.close()
    return [file.stored for file in files]


class _File:
    """A message on its way into a maildir. After a step that failed, `stored` says why, and nothing else is done."""

    __slots__ = ("_descriptor", "_job", "_published", "_root", "_step", "_temporary", "stored")

    def __init__(self, job: MaildirJob) -> None:
        self._job = job
        self._root = job.path.rstrip("/")
        self._descriptor = -1
        self._temporary = self._published = ""
        self._step = ""
        self.stored = Stored()

    @property
    def directory(self) -> str:
        """Where the message is to be found; empty where it could not be stored."""
        return "" if self.stored.reason else f"{self._root}/new"

    def attempt(self, step: Callable[[], None]) -> None:
        if self.stored.reason:
            return
        try:
            step()
        except OSError as error:
            self.fail(error)

    def fail(self, error: OSError) -> None:
        reason = f"maildir delivery failed: {self._step}: {error_text(error)}"
        self.stored = Stored(mailbox_status(error), reason)
        if self._published:
            with contextlib.suppress(OSError):
                os.unlink(self._published)

    def look_elsewhere(self) -> None:
        if any(map(os.path.lexists, self._job.unless)):
            self.stored = NOT_STORED

    def create(self) -> None:
        name = f"{int(time.time())}.P{os.getpid()}Q{next(_numbers)}.{_HOST}"
        path = f"{self._root}/tmp/{name}"  # noqa: S108 - a maildir's own
        self._step = f"create maildir file {path}"
        try:
            self._descriptor = os.open(path, _CREATE, 0o600)
        except FileNotFoundError:
            for part in ("tmp", "cur", "new"):
                _make_directory(f"{self._root}/{part}")
            self._descriptor = os.open(path, _CREATE, 0o600)
        self._temporary = path

    def write(self, pieces: Iterable[bytes]) -> None:
        job, pending = self._job, self._job.header
        size = 0
        self._step = "error writing message"
        for data in converted(pieces, LineFilter()):
            pending += data
            size += len(pending)
            if job.size_limit and size > job.size_limit:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
            write_all(self._descriptor, pending)
            pending = b""
        if pending:
            write_all(self._descriptor, pending)

    def begin_sync(self) -> None:
        """Start writing to the disk; what fails there, `sync` tells."""
        # sync_file_range(2) in Python's words: dirty pages are not dropped, they begin to be written.
        os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def sync(self) -> None:
        os.fsync(self._descriptor)

    def publish(self) -> None:
        """Give the file its final name: no other file has this inode, so a rename can overwrite none."""
        written, microseconds = os.fstat(self._descriptor), time.time_ns() // 1000
        seconds, fraction = divmod(microseconds, 1_000_000)
        path = f"{self._root}/new/{seconds}.V{written.st_dev:x}I{written.st_ino:x}M{fraction}.{_HOST}"
        self._step = f"create maildir file {path}"
        try:
            os.rename(self._temporary, path)
        except FileNotFoundError:
            for part in ("cur", "new"):
                _make_directory(f"{self._root}/{part}")
            os.rename(self._temporary, path)
        self._temporary, self._published = "", path

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        if self._temporary:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)


def _sync_all(files: Sequence[_File]) -> None:
    """Have the disk begin with all before the first is waited for: the others' syncs then find most of it done.

    That shares a journal's commit as syncs in threads do, for two thirds of the CPU time.
    """
    if len(files) > 1:
        for file in files:
            file.attempt(file.begin_sync)
    for file in files:
        file.attempt(file.sync)


def _sync_directories(files: Sequence[_File]) -> None:
    """One sync for each maildir, whatever came into it."""
    failures: dict[str, OSError] = {}
    for directory in {file.directory: None for file in files if file.directory}:
        try:
            _sync_directory(directory)
        except OSError as error:
            failures[directory] = error
    for file in files if failures else ():
        if failure := failures.get(file.directory):
            file.fail(failure)


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_directory(path: str) -> None:
    """Make a directory and the missing ones above it, each for its owner only."""
    # Another delivery may make it at the same time.
    with contextlib.suppress(FileExistsError):
        try:
            os.mkdir(path, 0o700)
        except FileNotFoundError:
            _make_directory(os.path.dirname(path))
            os.mkdir(path, 0o700)
