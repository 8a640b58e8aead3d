"""Tables without a file of their own: `static: inline: environ: fail: unix: randmap:` (DATABASE_README)."""

from __future__ import annotations

import grp
import os
import pwd
import random
import time
from collections.abc import Callable, Iterable

from pymta.errors import ConfigError
from pymta.ports import Log
from pymta.tables.kinds import LocalTable
from pymta.tables.text import BLANKS, BraceError, fold, split_list, strip_braces, unquoted_end
from pymta.tables.watch import CHECK_INTERVAL

_MANY_NAMES = 4096
"""Answers of a system database that are remembered at once; a client may ask for any name."""


class StaticTable(LocalTable):
    """`static:value`, `static:{ value with blanks }`: the same answer to every key."""

    def __init__(self, name: str, source: str) -> None:
        super().__init__(name)
        self.constant = source
        if source.startswith("{"):
            try:
                self.constant = strip_braces(source)
            except BraceError as error:
                raise ConfigError(f"bad static:name syntax: {error}", name=name) from error

    def find(self, key: str) -> str | None:
        return self.constant


class InlineTable(LocalTable):
    """`inline:{ key=value, { key = text with blanks } }`."""

    def __init__(self, name: str, source: str, log: Log) -> None:
        super().__init__(name)
        self._values: dict[str, str] = {}
        try:
            items = split_list(_inside(source))
            pairs = [_split_pair(strip_braces(item) if item.startswith("{") else item) for item in items]
        except BraceError as error:
            raise _bad(name, str(error), "inline:{name=value...}") from error
        if not pairs:
            raise _bad(name, "empty table", "inline:{name=value...}")
        for key, value in pairs:
            if fold(key) in self._values:
                log.warning(f'{name}: duplicate entry: "{key}"')
            else:
                self._values[fold(key)] = value

    def find(self, key: str) -> str | None:
        return self._values.get(fold(key))

    def items(self) -> Iterable[tuple[str, str]]:
        """Every entry, keys folded."""
        return self._values.items()


class EnvironTable(LocalTable):
    """`environ:`: the process environment."""

    def find(self, key: str) -> str | None:
        return os.environ.get(fold(key))


class FailTable(LocalTable):
    """`fail:`: no lookup has an answer. For tests of what happens then."""

    takes_partial_keys = False

    def find(self, key: str) -> str | None:
        raise self._failure("query error")


class RandomTable(LocalTable):
    """`randmap:{ value, value }`: one of the values, whatever the key."""

    takes_partial_keys = False

    def __init__(self, name: str, source: str) -> None:
        super().__init__(name)
        try:
            items = split_list(_inside(source))
            self._values = [strip_braces(item) if item.startswith("{") else item for item in items]
        except BraceError as error:
            raise _bad(name, str(error), "randmap:{value...}") from error
        if not self._values:
            raise _bad(name, "empty table", "randmap:{value...}")

    def find(self, key: str) -> str | None:
        return random.choice(self._values)  # noqa: S311 - load sharing, not a secret


class SystemTable(LocalTable):
    """A system database, asked through the C library; an answer holds for a second, as a file's content does."""

    def __init__(self, name: str, ask: Callable[[str], str]) -> None:
        super().__init__(name)
        self._ask = ask
        self._known: dict[str, str | None] = {}
        self._forget_at = 0.0

    def find(self, key: str) -> str | None:
        now = time.monotonic()
        if now >= self._forget_at or len(self._known) >= _MANY_NAMES:
            self._known.clear()
            self._forget_at = now + CHECK_INTERVAL
        folded = fold(key)
        if folded in self._known:
            return self._known[folded]
        value = self._known[folded] = self._ask_now(folded)
        return value

    def _ask_now(self, key: str) -> str | None:
        try:
            return self._ask(key)
        except (KeyError, ValueError):
            return None
        except OSError as error:
            raise self._failure(str(error)) from error


def open_unix(name: str, source: str) -> LocalTable:
    """`unix:passwd.byname` and `unix:group.byname`; there are no others."""
    if source == "passwd.byname":
        return SystemTable(name, _passwd_line)
    if source == "group.byname":
        return SystemTable(name, _group_line)
    raise ConfigError(f"unknown map name: {source}; need unix:passwd.byname or unix:group.byname", name=name)


def _passwd_line(name: str) -> str:
    return ":".join(map(str, pwd.getpwnam(name)))


def _group_line(name: str) -> str:
    group = grp.getgrnam(name)
    return f"{group.gr_name}:{group.gr_passwd}:{group.gr_gid}:{','.join(group.gr_mem)}"


def _inside(source: str) -> str:
    if not source.startswith("{"):
        raise BraceError("bad syntax")
    try:
        return strip_braces(source)
    except BraceError as error:
        raise BraceError("bad syntax") from error


def _split_pair(text: str) -> tuple[str, str]:
    end = unquoted_end(text, BLANKS + "=")
    key, rest = text[:end].strip(BLANKS), text[end:].lstrip(BLANKS)
    if end < 0 or not rest.startswith("="):
        raise BraceError("missing '=' after attribute name")
    if not key:
        raise BraceError("missing attribute name")
    return key, rest[1:].strip(BLANKS)


def _bad(name: str, problem: str, need: str) -> ConfigError:
    return ConfigError(f'{problem}: "{name}"; need "{need}"', name=name)
