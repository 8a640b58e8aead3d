"""Python reads this first in every process of a program that runs in a world of its own (`tests.support.system.World`).

There the wall clock is off by what the file `clock` says, and nothing can be synced while there is a file `broken`.
"""

import errno
import os
import time
from pathlib import Path

_WORLD = Path(os.environ["PYMTA_TEST_WORLD"])
_system_time, _system_fsync, _system_fdatasync = time.time, os.fsync, os.fdatasync


def _now() -> float:
    return _system_time() + float((_WORLD / "clock").read_text())


def _fail_where_broken() -> None:
    if (_WORLD / "broken").exists():
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def _fsync(descriptor: int) -> None:
    _fail_where_broken()
    _system_fsync(descriptor)


def _fdatasync(descriptor: int) -> None:
    _fail_where_broken()
    _system_fdatasync(descriptor)


time.time, os.fsync, os.fdatasync = _now, _fsync, _fdatasync
