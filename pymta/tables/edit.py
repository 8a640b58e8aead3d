"""Changes to the text of a keyed table: what `postmap -i`, `-r` and `-d` do where no index file exists."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pymta.tables.entries import decode, entries
from pymta.tables.text import BLANKS, fold


def without(text: str, keys: Iterable[str], *, aliases: bool) -> tuple[str, set[str]]:
    """The text without the entries of `keys`, and the folded keys that were found. Comments stay where they are."""
    wanted = {fold(key) for key in keys}
    lines = text.split("\n")
    found: set[str] = set()
    gone: set[int] = set()
    for line, key, _ in entries(text, aliases=aliases):
        if fold(key) in wanted:
            found.add(fold(key))
            gone.update(_physical(lines, line.number - 1))
    return "\n".join(line for at, line in enumerate(lines) if at not in gone), found


def _physical(lines: list[str], start: int) -> Iterator[int]:
    """The lines of the entry that begins at `start`: its continuations, without comments and blank lines between."""
    yield start
    for at in range(start + 1, len(lines)):
        text = lines[at].lstrip(BLANKS)
        if text and not text.startswith("#"):
            if lines[at][0] not in BLANKS:
                return
            yield at


def rewrite(path: Path, change: Callable[[str], str]) -> None:
    """Replace a file's text in one step, keeping its mode and owner. Raises OSError; then nothing has changed.

    Two editors wait for each other; a reader sees the old text or the new one.
    """
    target = path.resolve()
    with _locked(target):
        before = target.stat()
        old = decode(target.read_bytes())
        new = change(old)
        if new == old:
            return
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(new.encode("utf-8", "surrogateescape"))
                file.flush()
                os.fsync(file.fileno())
                os.fchmod(file.fileno(), before.st_mode & 0o7777)
                if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the file's folder: the file itself is replaced, and a lock on it would go with the old one."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
