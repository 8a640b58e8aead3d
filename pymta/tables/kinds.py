"""What every table of ours is: a lookup without waiting, under the async port."""

from __future__ import annotations

from abc import ABC, abstractmethod

from pymta.errors import TableError
from pymta.ports import Log, Table


class LocalTable(ABC):
    """A table that answers from memory or from the local system, without waiting.

    `takes_partial_keys` is false for tables whose patterns see only whole keys (`regexp:`, `pcre:`, `cidr:` ...):
    they are never asked for `@domain` or for a parent domain.
    """

    takes_partial_keys = True
    constant: str | None = None
    """The answer to every key, where that is known without asking (`static:`)."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def name(self) -> str:
        """The `type:source` spelling that opened the table."""
        return self._name

    @abstractmethod
    def find(self, key: str) -> str | None:
        """The value for `key` now; raises TableError where that cannot be known."""

    async def lookup(self, key: str) -> str | None:
        return self.find(key)

    def _failure(self, reason: str) -> TableError:
        return TableError(self._name, reason)


class SilentLog:
    """Where nobody listens."""

    def debug(self, line: str) -> None: ...
    def info(self, line: str) -> None: ...
    def warning(self, line: str) -> None: ...
    def error(self, line: str) -> None: ...


def takes_partial_keys(table: Table) -> bool:
    """Whether to ask `table` for parts of a key; an app's own table is asked unless it says otherwise."""
    return bool(getattr(table, "takes_partial_keys", True))


SILENT: Log = SilentLog()
