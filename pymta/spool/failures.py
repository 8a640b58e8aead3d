"""What keeps a change from being written, beyond a passing SpoolError."""

from __future__ import annotations

import errno

from pymta.errors import SpoolError

# Errors that pass, or are of one message alone: everything else puts the disk itself in doubt.
PASSING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EEXIST})


class StorageFailure(SpoolError):
    """The disk or the database failed; nothing may be written until the spool is opened again."""


class RefusedChange(SpoolError):
    """One change of a batch is impossible (an id that exists already); the others are not to blame."""
