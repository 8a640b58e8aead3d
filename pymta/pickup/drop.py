"""The maildrop directory: where a message waits while the program is down (postdrop(1)).

A Python script cannot be setgid, so the directory is open to all for adding files and to nobody but its owner for
reading its list: mode 1733. Names cannot be guessed, so nobody opens what others dropped; the sticky bit keeps
others from removing it. A file is complete once its owner's execute bit is set. Whatever lies here is untrusted:
`claim` believes the kernel's owner of the file and nothing that the file says about who wrote it.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from pymta.model.frozen import frozen
from pymta.pickup.submission import Submission

DIRECTORY_MODE = 0o1733
_INCOMPLETE = 0o600
_COMPLETE = 0o744
_HEADER_LIMIT = 8 << 20
REJECTED_SUFFIX = ".rejected"
"""Marks a file that can never become a message; it stays for the administrator to look at."""


def write_drop(directory: str | Path, record: Mapping[str, Any], content: Iterable[bytes]) -> Path:
    """Put a message down, durable on return; nothing of it stays when this raises OSError.

    `record` is that of a `Submission`.
    """
    path = Path(directory, os.urandom(16).hex())
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _INCOMPLETE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(record).encode() + b"\n")
            for chunk in content:
                file.write(chunk)
            file.flush()
            os.fchmod(file.fileno(), _COMPLETE)
            os.fsync(file.fileno())
        _sync_directory(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise
    return path


def _sync_directory(directory: Path) -> None:
    # Who may not list the directory may not open it either; then the name is as safe as the file system keeps it.
    with contextlib.suppress(PermissionError):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@frozen
class Dropped:
    """A complete message in the drop directory."""

    path: Path
    uid: int
    size: int
    modified: float


class DropRejected(Exception):
    """The file is not a message; the text says why."""


def scan(directory: Path, limit: int) -> tuple[list[Dropped], list[Path]]:
    """Up to `limit` complete messages, users taking turns so that none delays the others, and files that are neither.

    The second list names what is no regular file or has several names; files being written are in neither.
    """
    by_user: dict[int, list[Dropped]] = {}
    strange: list[Path] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.endswith(REJECTED_SUFFIX):
                continue
            try:
                info = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if not stat.S_ISREG(info.st_mode) or info.st_nlink != 1:
                strange.append(Path(entry.path))
            elif info.st_mode & stat.S_IXUSR:
                dropped = Dropped(Path(entry.path), info.st_uid, info.st_size, info.st_mtime)
                by_user.setdefault(info.st_uid, []).append(dropped)
    return _take_turns(by_user, limit), strange


def _take_turns(by_user: dict[int, list[Dropped]], limit: int) -> list[Dropped]:
    queues = [sorted(one, key=lambda dropped: dropped.modified, reverse=True) for one in by_user.values()]
    turns: list[Dropped] = []
    while queues and len(turns) < limit:
        for waiting in queues:
            turns.append(waiting.pop())
        queues = [waiting for waiting in queues if waiting]
    return turns[:limit]


def read_drop(dropped: Dropped, size_limit: int) -> tuple[Submission, Iterator[bytes]]:
    """Open a dropped message: its envelope and its content in chunks; raises DropRejected or OSError."""
    descriptor = os.open(dropped.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    file = os.fdopen(descriptor, "rb")
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode) or info.st_nlink != 1 or info.st_uid != dropped.uid:
            raise DropRejected("it changed while it was read")
        if size_limit and info.st_size > size_limit + _HEADER_LIMIT:
            raise DropRejected(f"its size {info.st_size} is over the limit")
        line = file.readline(_HEADER_LIMIT)
        try:
            submission = Submission.from_record(json.loads(line))
        except (ValueError, AttributeError, RecursionError) as error:
            raise DropRejected(f"its envelope is broken: {error}") from error
    except BaseException:
        file.close()
        raise
    return submission, _chunks(file)


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while chunk := file.read(65536):
            yield chunk
