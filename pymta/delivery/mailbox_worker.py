"""A worker of the root helper: one job after the other from its socket, with the rights that it was given.

What goes over the socket are frames: a length of four octets and as many octets. The first is the job. The contents
of a group of small messages are one frame each; any other job has one content, in frames up to an empty one. Then the
worker sends its answer, a frame as well.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import struct
from collections import deque
from collections.abc import Iterator

from pymta.delivery.command import run_command
from pymta.delivery.mailbox_codec import CodecError, decode_job, encode_value
from pymta.delivery.mailbox_jobs import (
    Answer,
    CommandJob,
    Job,
    MaildirJob,
    MaildirJobs,
    MboxJob,
    MboxJobs,
    ReadJob,
    StoredAll,
)
from pymta.delivery.mailbox_read import read_file
from pymta.delivery.maildir import deliver_maildir, deliver_maildirs
from pymta.delivery.mbox import AsOwner, append_mbox, append_mboxes
from pymta.errors import DeliveryError
from pymta.model.frozen import frozen
from pymta.runtime.children import AbandonedError

LENGTH = struct.Struct("!I")
MAX_FRAME = 32 * 1024 * 1024
MAX_PIECE = 1024 * 1024


class _Gone(DeliveryError):
    """The parent closed the socket, perhaps in the middle of a job."""


@frozen
class KeeperRules:
    """What the worker that keeps root's rights may do, fixed before the first mail is seen.

    Append to `spool_directory/NAME`, where NAME is a user of the system; for root also deliver to its own mailbox
    or maildir `root_mailbox` (the whole path), and read `.forward` in `root_home`, with or without an extension.
    """

    spool_directory: str = ""
    root_home: str = ""
    root_mailbox: str = ""

    def permit(self, job: Job) -> bool:
        match job:
            case MboxJob(path=path):
                if job.allow_special or job.create_uid is None:
                    return False
                return self._is_mailbox(path, job.create_uid) or (path == self.root_mailbox and job.create_uid == 0)
            case MaildirJob(path=path, unless=unless):
                is_roots = path == self.root_mailbox or (path.endswith("/") and self._is_mailbox(path[:-1], 0))
                return is_roots and self._are_forwards(unless)
            case MboxJobs(target=target):
                return self.permit(target)
            case MaildirJobs(jobs=jobs):
                return all(map(self.permit, jobs))
            case ReadJob(paths=paths):
                return bool(self.root_home) and self._are_forwards(paths)
        return False

    def _are_forwards(self, paths: tuple[str, ...]) -> bool:
        prefix = f"{self.root_home}/.forward"
        return all(path.startswith(prefix) and "/" not in path[len(prefix) :] for path in paths)

    def _is_mailbox(self, path: str, uid: int) -> bool:
        """Whether `path` is the mailbox of the system's user `uid` in the spool directory."""
        directory, _, name = path.rpartition("/")
        spool = self.spool_directory.rstrip("/")
        if not spool or directory != spool or name in ("", ".", ".."):
            return False
        try:
            return pwd.getpwnam(name).pw_uid == uid
        except KeyError:
            return False


@frozen
class JobServer:
    """What the helper runs in each worker (`PrivilegedHelper.start(JobServer(rules))`)."""

    rules: KeeperRules = KeeperRules()

    def __call__(self, connection: socket.socket, is_keeper: bool) -> None:
        """Serve until the parent closes the socket, or sends what is no job."""
        stream = _Stream(connection)
        with contextlib.suppress(_Gone, CodecError, AbandonedError, BrokenPipeError, ConnectionResetError):
            while True:
                job = decode_job(stream.frame(MAX_FRAME))
                if is_keeper and not self.rules.permit(job):
                    return
                frame = encode_value(_do(job, stream, connection.fileno(), is_keeper))
                connection.sendall(LENGTH.pack(len(frame)) + frame)


def _do(job: Job, stream: _Stream, watch: int, is_keeper: bool) -> Answer:
    match job:
        case MaildirJobs(jobs=jobs):
            return StoredAll.of(deliver_maildirs(jobs, stream.whole(len(jobs))))
        case MboxJobs(target=target, headers=headers):
            # All of them are read before the mailbox is locked.
            contents = list(stream.whole(len(headers)))
            return StoredAll.of(append_mboxes(target, headers, contents, _owner(target, is_keeper)))
    pieces = stream.pieces()
    answer = _do_one(job, pieces, watch, is_keeper)
    # What a job does not want of its content is skipped.
    deque(pieces, maxlen=0)
    return answer


def _do_one(
    job: MboxJob | MaildirJob | CommandJob | ReadJob, pieces: Iterator[bytes], watch: int, is_keeper: bool
) -> Answer:
    match job:
        case MboxJob():
            return append_mbox(job, pieces, _owner(job, is_keeper))
        case MaildirJob():
            return deliver_maildir(job, pieces)
        case CommandJob():
            return run_command(job, pieces, watch)
        case ReadJob():
            return read_file(job)


def _owner(job: MboxJob, is_keeper: bool) -> AsOwner:
    return _as_owner(job) if is_keeper else contextlib.nullcontext


def _as_owner(job: MboxJob) -> AsOwner:
    """Write with the mailbox owner's rights, so that his quota counts, and be root again for the lock."""

    @contextlib.contextmanager
    def owner() -> Iterator[None]:
        os.setegid(job.create_gid or 0)
        os.seteuid(job.create_uid or 0)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)

    return owner


class _Stream:
    """Frames from a blocking socket, each a length of four octets and that many octets."""

    def __init__(self, connection: socket.socket) -> None:
        self._file = connection.makefile("rb", 256 * 1024)

    def frame(self, limit: int) -> bytes:
        (size,) = LENGTH.unpack(self._exactly(LENGTH.size))
        if size > limit:
            raise CodecError(f"frame of {size} octets")
        return self._exactly(size)

    def whole(self, count: int) -> Iterator[tuple[bytes]]:
        """The contents of a group, each in one frame."""
        for _ in range(count):
            yield (self.frame(MAX_PIECE),)

    def pieces(self) -> Iterator[bytes]:
        """A content: frames up to an empty one."""
        while piece := self.frame(MAX_PIECE):
            yield piece

    def _exactly(self, size: int) -> bytes:
        data: bytes = self._file.read(size)
        if len(data) != size:
            raise _Gone
        return data
