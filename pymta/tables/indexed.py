"""`hash: btree: lmdb: cdb: dbm: sdbm: texthash:`: the source text, indexed in memory (postmap(1), aliases(5))."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pymta.ports import Log
from pymta.tables import entries
from pymta.tables.kinds import LocalTable
from pymta.tables.text import fold
from pymta.tables.watch import Unusable, WatchedFile

INDEXED_TYPES = frozenset({"hash", "btree", "lmdb", "cdb", "dbm", "sdbm", "texthash"})

_MANY_NULS = 32
"""NUL bytes in the first 512 of a Berkeley DB or LMDB file that no text has."""

_MANY_COMPLAINTS = 20
"""Log lines per reading; a file of another format would fill the log with one per line."""


class IndexedTable(LocalTable):
    """A keyed text file. Keys are compared without case; no index file is needed or written."""

    def __init__(self, name: str, path: Path, *, aliases: bool, log: Log) -> None:
        super().__init__(name)
        self._path = path
        self._aliases = aliases
        self._log = log
        self._file = WatchedFile(path, self._parse, name=name, log=log)

    def find(self, key: str) -> str | None:
        return self._file.content().get(fold(key))

    def items(self) -> Iterable[tuple[str, str]]:
        """Every entry, keys folded, in the order of the file."""
        return self._file.content().items()

    def _parse(self, data: bytes) -> dict[str, str]:
        if data[:512].count(0) > _MANY_NULS:
            raise Unusable(f"{self._path} is not a text file: name the source, without .db or .cdb")
        found = entries.index(entries.decode(data), aliases=self._aliases)
        for complaint in found.complaints[:_MANY_COMPLAINTS]:
            self._log.warning(f"{self._path}, line {complaint.line}: {complaint.text}")
        if len(found.complaints) > _MANY_COMPLAINTS:
            self._log.warning(f"{self._path}: {len(found.complaints) - _MANY_COMPLAINTS} more like these")
        return found.values
