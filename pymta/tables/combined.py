"""Tables made of tables: `unionmap:{a, b}` and `pipemap:{a, b}` (postconf(5), DATABASE_README)."""

from __future__ import annotations

from collections.abc import Callable

from pymta.errors import ConfigError
from pymta.ports import Table
from pymta.tables.kinds import takes_partial_keys
from pymta.tables.text import BraceError, split_list, strip_braces


class _Combined:
    def __init__(self, name: str, source: str, open_table: Callable[[str], Table]) -> None:
        self._name = name
        kind = name.partition(":")[0]
        need = f'need "{kind}:{{type:name...}}"'
        try:
            members = split_list(strip_braces(source)) if source.startswith("{") else []
        except BraceError as error:
            raise ConfigError(f'bad syntax: "{name}"; {need}', name=name) from error
        if not members:
            raise ConfigError(f'bad syntax: "{name}"; {need}', name=name)
        self._tables = [open_table(strip_braces(m) if m.startswith("{") else m) for m in members]
        self.takes_partial_keys = any(takes_partial_keys(table) for table in self._tables)

    @property
    def name(self) -> str:
        return self._name


class UnionTable(_Combined):
    """Every table is asked; the answers are joined by commas."""

    async def lookup(self, key: str) -> str | None:
        found = [value for table in self._tables if (value := await table.lookup(key)) is not None]
        return ",".join(found) if found else None


class PipeTable(_Combined):
    """Each table is asked for what the one before it answered; not found anywhere is not found."""

    async def lookup(self, key: str) -> str | None:
        for table in self._tables:
            value = await table.lookup(key)
            if value is None:
                return None
            key = value
        return key
