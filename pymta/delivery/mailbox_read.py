"""Reading `.forward` and `:include:` files with somebody's rights."""

# ruff: noqa: PTH116 - plain system calls on names as they came, a few dozen per message
from __future__ import annotations

import errno
import os
import stat

from pymta.delivery.mailbox_errors import error_text
from pymta.delivery.mailbox_jobs import FileText, ReadJob

_ABSENT = {errno.ENOENT, errno.ENOTDIR}


def read_file(job: ReadJob) -> FileText:
    """The file's text, owner and mode; a `.forward` that is a directory or a device is found, but gives no text."""
    answer = FileText(found=False)
    for path in job.paths:
        answer = _read_one(path, job)
        if answer.found:
            break
    return answer


def _read_one(path: str, job: ReadJob) -> FileText:
    try:
        before = os.lstat(path)
        if job.follow_links and stat.S_ISLNK(before.st_mode):
            before = os.stat(path)
    except OSError as error:
        return FileText(found=False, error=error_text(error), denied=error.errno not in _ABSENT)
    if not stat.S_ISREG(before.st_mode):
        return FileText(path=path, uid=before.st_uid, mode=before.st_mode, error="not a regular file")
    try:
        return _read(path, job)
    except OSError as error:
        denied = error.errno in {errno.EACCES, errno.EPERM}
        return FileText(path=path, uid=before.st_uid, mode=before.st_mode, error=error_text(error), denied=denied)


def _read(path: str, job: ReadJob) -> FileText:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        data = file.read(job.size_limit + 1)
    if len(data) > job.size_limit:
        return FileText(path=path, uid=found.st_uid, mode=found.st_mode, error=f"larger than {job.size_limit} bytes")
    text = data.decode("utf-8", "surrogateescape")
    return FileText(path=path, text=text, uid=found.st_uid, mode=found.st_mode)
