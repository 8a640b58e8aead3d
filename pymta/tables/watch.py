"""Files that may change while we run: looked at about once a second, read again when they did."""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from pymta.errors import ConfigError
from pymta.ports import Log
from pymta.runtime.root_files import open_file, status

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

CHECK_INTERVAL = 1.0
"""Seconds between two looks at a file."""

LARGE = 256 * 1024
"""Bytes. A larger file is read again in a thread, and the old content answers meanwhile."""

_TICK = 50_000_000
"""Nanoseconds. Two changes within one tick of the file system's clock may carry the same time."""

_Stamp = tuple[int, int, int, int]


class Unusable(ValueError):
    """A file whose content cannot be used at all; the text says why, and where."""


class WatchedFile(Generic[T]):
    """The parsed content of a file, kept up to date.

    The first reading raises ConfigError where the file is missing or unusable. A later version that is
    missing or unusable leaves the content before it in force and is logged once.
    """

    def __init__(self, path: Path, parse: Callable[[bytes], T], *, name: str, log: Log) -> None:
        self.path = path
        self._parse = parse
        self._name = name
        self._log = log
        self._task: asyncio.Task[None] | None = None
        try:
            self._stamp: _Stamp | None = _settled(_stamp(path))
            self._content = self._read()
        except OSError as error:
            raise ConfigError(f"open {path}: {error.strerror}", name=name) from error
        except Unusable as error:
            raise ConfigError(str(error), name=name) from error
        self._next_check = time.monotonic() + CHECK_INTERVAL
        self._complained = ""

    def content(self) -> T:
        """The newest content that is ready. Costs a look at the clock, and at the file once a second."""
        if time.monotonic() >= self._next_check:
            self.check()
        return self._content

    def check(self) -> None:
        """Look at the file now."""
        self._next_check = time.monotonic() + CHECK_INTERVAL
        if self._task is not None:
            return
        try:
            found = _stamp(self.path)
        except OSError as error:
            self._keep(f"{self.path}: {error.strerror}")
            return
        if found == self._stamp:
            return
        if found[2] > LARGE and (loop := _running_loop()):
            self._task = loop.create_task(self._reload_in_thread(found))
        else:
            self._reload(found)

    def _reload(self, stamp: _Stamp) -> None:
        try:
            self._accept(stamp, self._read())
        except OSError as error:
            self._keep(f"{self.path}: {error.strerror}")
        except Unusable as error:
            self._stamp = stamp
            self._keep(str(error))

    async def _reload_in_thread(self, stamp: _Stamp) -> None:
        try:
            from asyncio import to_thread

            self._accept(stamp, await to_thread(self._read))
        except OSError as error:
            self._keep(f"{self.path}: {error.strerror}")
        except Unusable as error:
            self._stamp = stamp
            self._keep(str(error))
        finally:
            self._task = None

    def _read(self) -> T:
        return self._parse(_content(self.path))

    def _accept(self, stamp: _Stamp, content: T) -> None:
        self._stamp, self._content, self._complained = _settled(stamp), content, ""

    def _keep(self, reason: str) -> None:
        if reason != self._complained:
            self._complained = reason
            self._log.warning(f"{self._name}: {reason}; keeping the version before it")


def _stamp(path: Path) -> _Stamp:
    found = status(path)
    # A pipe or a terminal would block us, a device never end; /dev/null is how an empty table is written.
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode) and path.resolve() != Path(os.devnull):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return found.st_mtime_ns, found.st_ino, found.st_size, found.st_ctime_ns


def _content(path: Path) -> bytes:
    with open_file(path) as file:
        return file.read()


def _settled(stamp: _Stamp) -> _Stamp | None:
    """The stamp of a file that is about to be read; None where it is so new that the next look must read again."""
    return stamp if time.time_ns() - stamp[0] > _TICK else None


def _running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that runs us; a command that has not loaded asyncio has none, and need not load it for that."""
    if "asyncio" not in sys.modules:
        return None
    from asyncio import get_running_loop

    try:
        return get_running_loop()
    except RuntimeError:
        return None
