"""Match lists: `mydestination`, `mynetworks`, `relay_domains` and their like (postconf(5), match_list(3)).

A list is compiled once. Patterns that stand together and point the same way (with or without `!`) become sets,
so that a lookup costs the same for two patterns and for two thousand.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from pymta.errors import ConfigError
from pymta.ports import Log, Table
from pymta.tables.entries import decode
from pymta.tables.kinds import takes_partial_keys
from pymta.tables.network import NetworkSet, Packed, pack, parse_network
from pymta.tables.search import Parents, parent_domains
from pymta.tables.text import before_comment, fold, logical_lines, split_list
from pymta.tables.watch import Unusable, WatchedFile

_KNOWN_CLIENTS = 4096


class Subject:
    """What is asked about: folded strings and, in lists of networks, an address."""

    __slots__ = ("address", "name", "packed", "parents")

    def __init__(self, name: str, address: str = "", parents: Parents = Parents.NONE) -> None:
        self.name = name
        self.address = address
        self.packed: Packed | None = pack(address) if address else None
        self.parents = tuple(parent_domains(name, parents)) if "." in name else ()


class Element(Protocol):
    """One step of a list: `negated` tells what a match means."""

    negated: bool

    async def matches(self, subject: Subject) -> bool: ...


class PatternSet:
    """Plain patterns that stand together, all with `!` or all without."""

    def __init__(self, negated: bool) -> None:
        self.negated = negated
        self._names: set[str] = set()
        self._networks = NetworkSet()

    def add_name(self, pattern: str) -> None:
        self._names.add(fold(pattern))

    def add_network(self, pattern: str) -> None:
        self._networks.add(parse_network(pattern))

    def has(self, subject: Subject) -> bool:
        names = self._names
        if subject.name in names or (subject.packed is not None and self._networks.covers(subject.packed)):
            return True
        return bool(subject.parents) and not names.isdisjoint(subject.parents)

    async def matches(self, subject: Subject) -> bool:
        return self.has(subject)


class TableElement:
    """`type:table` in a list: the key counts, not the value."""

    def __init__(self, table: Table, negated: bool) -> None:
        self.negated = negated
        self._table = table
        self._takes_partial_keys = takes_partial_keys(table)

    async def matches(self, subject: Subject) -> bool:
        if subject.name and await self._table.lookup(subject.name) is not None:
            return True
        if self._takes_partial_keys:
            for parent in subject.parents:
                if await self._table.lookup(parent) is not None:
                    return True
        return bool(subject.address) and await self._table.lookup(subject.address) is not None


class FileElement:
    """`/file/name` in a list: its patterns, live."""

    negated = False

    def __init__(self, path: Path, name: str, compile_list: Callable[[str], list[Element]], log: Log) -> None:
        def parse(data: bytes) -> list[Element]:
            try:
                return compile_list(" ".join(line.text for line in logical_lines(decode(data))))
            except ConfigError as error:
                raise Unusable(f"{path}: {error.message}") from error

        self._file = WatchedFile(path, parse, name=name, log=log)

    async def verdict(self, subject: Subject) -> bool | None:
        return await _verdict(self._file.content(), subject)

    async def matches(self, subject: Subject) -> bool:
        return bool(await self.verdict(subject))


async def _verdict(elements: list[Element], subject: Subject) -> bool | None:
    """What the first element that matches says; None where none does."""
    for element in elements:
        if isinstance(element, PatternSet):
            if element.has(subject):
                return not element.negated
        elif isinstance(element, FileElement):
            found = await element.verdict(subject)
            if found is not None:
                return found
        elif await element.matches(subject):
            return not element.negated
    return None


class ListCompiler:
    """Turns the text of a list into elements. Raises ConfigError for a pattern, table or file that cannot be used."""

    def __init__(
        self, *, networks: bool, names: bool, open_table: Callable[[str], Table], base: Path, log: Log, title: str
    ) -> None:
        self._networks = networks
        self._names = names
        self._open_table = open_table
        self._base = base
        self._log = log
        self._title = title

    def compile(self, text: str, negated: bool = False, depth: int = 0) -> list[Element]:
        elements: list[Element] = []
        for item in before_comment(split_list(text)):
            pattern = item.lstrip("!")
            self._add(elements, pattern, negated ^ bool((len(item) - len(pattern)) % 2), depth)
        return elements

    def _add(self, elements: list[Element], pattern: str, negated: bool, depth: int) -> None:
        if not pattern:
            raise ConfigError("no pattern after '!'", name=self._title or None)
        if pattern.startswith("/"):
            elements.append(self._file(pattern, negated, depth))
        elif ":" in pattern and not pattern.startswith("["):
            elements.append(TableElement(self._open_table(pattern), negated))
        else:
            group = elements[-1] if elements else None
            if not isinstance(group, PatternSet) or group.negated is not negated:
                group = PatternSet(negated)
                elements.append(group)
            self._add_pattern(group, pattern)

    def _file(self, pattern: str, negated: bool, depth: int) -> Element:
        if depth >= 10:
            raise ConfigError(f"{pattern}: files inside files, more than ten deep", name=self._title or None)
        return FileElement(
            self._base / pattern,
            self._title or pattern,
            lambda text: self.compile(text, negated, depth + 1),
            self._log,
        )

    def _add_pattern(self, group: PatternSet, pattern: str) -> None:
        if self._names or not self._networks:
            group.add_name(pattern)
        if not self._networks:
            return
        try:
            # A name such as `example.com` is neither; only these marks make a pattern a network.
            if "/" in pattern or pattern.startswith("[") or pack(pattern):
                group.add_network(pattern)
        except ValueError as error:
            raise ConfigError(str(error), name=self._title or None) from error


class StringList:
    """Strings and tables; equal without case (`mydestination`, `smtpd_discard_ehlo_keyword_address_maps` ...)."""

    def __init__(self, compiler: ListCompiler, text: str) -> None:
        self._elements = compiler.compile(text)

    def __bool__(self) -> bool:
        return bool(self._elements)

    async def matches(self, name: str) -> bool:
        """Whether the list has `name`. Raises TableError where a table cannot tell."""
        return bool(name) and bool(await _verdict(self._elements, Subject(fold(name))))


class DomainList:
    """Domains and, by `parent_domains` or a leading dot in the pattern, what is below them (`relay_domains` ...)."""

    def __init__(self, compiler: ListCompiler, text: str, *, parent_domains: bool) -> None:
        self._elements = compiler.compile(text)
        self._parents = Parents.PLAIN if parent_domains else Parents.DOT

    def __bool__(self) -> bool:
        return bool(self._elements)

    async def matches(self, domain: str) -> bool:
        """Whether the list has `domain`. Raises TableError where a table cannot tell."""
        return bool(domain) and bool(await _verdict(self._elements, Subject(fold(domain), "", self._parents)))


class NetworkList:
    """Networks, addresses, host names and tables (`mynetworks` ...).

    Without tables and files the same client always gets the same answer, so the latest ones are remembered.
    """

    def __init__(self, compiler: ListCompiler, text: str, *, parent_domains: bool) -> None:
        self._elements = compiler.compile(text)
        self._parents = Parents.PLAIN if parent_domains else Parents.DOT
        self._is_fixed = all(isinstance(element, PatternSet) for element in self._elements)
        self._known: dict[tuple[str, str], bool] = {}

    def __bool__(self) -> bool:
        return bool(self._elements)

    async def matches(self, address: str, name: str = "") -> bool:
        """Whether the list has the client. `address` is without brackets, `name` its verified name or `unknown`.

        Raises TableError where a table cannot tell.
        """
        known = self._known.get((address, name))
        if known is not None:
            return known
        found = bool(await _verdict(self._elements, Subject(fold(name), address, self._parents)))
        if self._is_fixed:
            if len(self._known) >= _KNOWN_CLIENTS:
                self._known.clear()
            self._known[address, name] = found
        return found


class AddressList:
    """Networks, addresses and tables, without host names."""

    def __init__(self, compiler: ListCompiler, text: str) -> None:
        self._elements = compiler.compile(text)

    def __bool__(self) -> bool:
        return bool(self._elements)

    async def matches(self, address: str) -> bool:
        """Whether the list has `address`, without brackets. Raises TableError where a table cannot tell."""
        return bool(await _verdict(self._elements, Subject("", address)))
