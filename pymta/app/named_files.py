"""Which files a configuration names: itself, tables, keys, certificates, passwords (for `runtime/root_files.py`)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from pymta.app.tls import FILES
from pymta.config import Config, parameters
from pymta.errors import PymtaError
from pymta.runtime.root_files import is_safe
from pymta.tables.indexed import INDEXED_TYPES
from pymta.tables.text import split_list

_TABLE_TYPES = INDEXED_TYPES | {"cidr", "pcre", "regexp"}
_AROUND_TABLES = frozenset({"proxy", "unionmap", "pipemap"})
_PATHS = (*FILES, "smtpd_sasl_path")
# DOMAIN:SELECTOR:FILE
_KEYS = ("dkim_keys",)


class NamedFiles:
    """What the configuration in `directory` names, read anew when main.cf or master.cf change.

    Only files that nobody but root may write can name others: of a configuration that another user may change, what
    it named when root started us with it stays.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory = directory.absolute()
        self._files = (str(directory / "main.cf"), str(directory / "master.cf"))
        self._stamps = self._look()
        self._names = self._read()

    def __call__(self) -> frozenset[str]:
        stamps = self._look()
        if stamps != self._stamps and all(map(_is_roots_alone, self._files)):
            self._stamps, self._names = stamps, self._read()
        return self._names

    def _read(self) -> frozenset[str]:
        try:
            return frozenset(self._files) | named_files(Config.load(self._directory))
        except PymtaError:
            # With an error in it, it will not be put in force; it is readable, so that this can be told.
            return frozenset(self._files)

    def _look(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(map(_stamp, self._files))


def named_files(config: Config) -> frozenset[str]:
    """The files of all tables, keys and passwords, in main.cf and in every service's `-o`, as absolute paths."""
    base = config.directory or Path("/")
    views = (config, *(config.for_service(service) for service in config.services if service.overrides))
    return frozenset(os.path.abspath(base / path) for view in views for path in _of_view(view))  # noqa: PTH100 - links stay


def _of_view(view: Config) -> Iterator[str]:
    for name in {*parameters(), *view.entries}:
        try:
            text = view.text(name)
        except PymtaError:
            continue
        if ":" in text:
            yield from _tables(split_list(text))
    for name in _PATHS:
        yield from view.items(name)
    for name in _KEYS:
        yield from (item.split(":", 2)[2] for item in view.items(name) if item.count(":") >= 2)


def _tables(items: Iterable[str]) -> Iterator[str]:
    """The files of `type:file`, also within `proxy:`, `unionmap:{ }`, `pipemap:{ }` and `{ }`."""
    for item in items:
        kind, colon, source = item.partition(":")
        if item.startswith("{"):
            yield from _tables(split_list(item.strip("{}")))
        elif colon and kind in _TABLE_TYPES and not source.startswith("{"):
            yield source
        elif colon and kind in _AROUND_TABLES:
            yield from _tables(split_list(source.strip("{}")))


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _is_roots_alone(path: str) -> bool:
    """Nobody but root may write the file, or put another in its place; one that is not there is."""
    try:
        found = Path(path).stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return found.st_uid == 0 and not found.st_mode & 0o022 and is_safe(path)
