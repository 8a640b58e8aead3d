"""System errors as enhanced status codes for mailboxes (RFC 3463 3.3, 3.4)."""

from __future__ import annotations

import errno
import os

_FULL_MAILBOX = {errno.EFBIG, errno.EDQUOT}
_FULL_SYSTEM = {errno.ENOSPC, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM}


def mailbox_status(error: OSError) -> str:
    """5.2.2 where the recipient's space is used up, 4.3.0 where the system fails, else 4.2.0.

    A mailbox that cannot be used now (missing, read-only, locked, of the wrong owner) is never a reason to bounce:
    an administrator can repair it.
    """
    if error.errno in _FULL_MAILBOX:
        return "5.2.2"
    return "4.3.0" if error.errno in _FULL_SYSTEM else "4.2.0"


def error_text(error: OSError) -> str:
    """The system's words for an error, without file names."""
    return error.strerror or (os.strerror(error.errno) if error.errno else str(error))
