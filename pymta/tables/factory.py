"""From `type:source` to a table, from the text of a parameter to maps and lists."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pymta.errors import ConfigError
from pymta.ports import Log, Table
from pymta.tables.cidr import CidrTable
from pymta.tables.combined import PipeTable, UnionTable
from pymta.tables.fixed import EnvironTable, FailTable, InlineTable, RandomTable, StaticTable, open_unix
from pymta.tables.indexed import INDEXED_TYPES, IndexedTable
from pymta.tables.kinds import SILENT
from pymta.tables.lists import AddressList, DomainList, ListCompiler, NetworkList, StringList
from pymta.tables.maps import Maps
from pymta.tables.patterns import PatternTable, PerlSyntax, PosixSyntax
from pymta.tables.text import before_comment, split_list

TYPES = INDEXED_TYPES | {
    *(
        "cidr",
        "environ",
        "fail",
        "inline",
        "pcre",
        "pipemap",
        "proxy",
        "randmap",
        "regexp",
        "static",
        "unionmap",
        "unix",
    ),
}
"""Types that can be opened."""

NOT_BUILT_IN = frozenset(
    {
        *("debug", "internal", "ldap", "memcache", "mongodb", "mysql", "ndbm", "netinfo", "nis", "nisplus"),
        *("pgsql", "socketmap", "sqlite", "tcp"),
    }
)
"""Types that Postfix has and we do not, or not yet."""


class TableFactory:
    """Opens tables, each `type:source` once, and builds what searches in them.

    Relative file names are below `base`. `alias_tables` are the tables, as they are spelled in `alias_maps` and
    `alias_database`, whose files are in aliases(5) syntax. `log` gets complaints about lines, now and at every
    reload. Everything raises ConfigError for an unknown type, a type that is not built in, bad syntax or a
    missing file.
    """

    def __init__(self, base: Path, *, alias_tables: frozenset[str] = frozenset(), log: Log | None = None) -> None:
        self._base = base
        self._aliases = frozenset(member for table in alias_tables for member in _members(table))
        self._log = log or SILENT
        self._open: dict[str, Table] = {}

    def open(self, spec: str) -> Table:
        """The table `spec` names, the same one every time."""
        table = self._open.get(spec)
        if table is None:
            table = self._open[spec] = self._create(spec)
        return table

    def add(self, table: Table) -> None:
        """Let `table` answer where its name is written: an app's own, or one for a test."""
        self._open[table.name] = table

    def maps(self, text: str, title: str = "") -> Maps:
        """The tables of a parameter such as `virtual_alias_maps`; `title` is its name, for messages."""
        return Maps([self.open(item) for item in before_comment(split_list(text))], title)

    def domain_list(self, text: str, parent_domains: bool = False, *, title: str = "") -> DomainList:
        """`parent_domains`: a pattern `example.com` matches what is below it too; else only `.example.com` does."""
        return DomainList(self._compiler(title, networks=False), text, parent_domains=parent_domains)

    def network_list(self, text: str, parent_domains: bool = False, *, title: str = "") -> NetworkList:
        return NetworkList(self._compiler(title, networks=True), text, parent_domains=parent_domains)

    def string_list(self, text: str, *, title: str = "") -> StringList:
        return StringList(self._compiler(title, networks=False), text)

    def address_list(self, text: str, *, title: str = "") -> AddressList:
        return AddressList(self._compiler(title, networks=True, names=False), text)

    def _compiler(self, title: str, *, networks: bool, names: bool = True) -> ListCompiler:
        return ListCompiler(
            networks=networks, names=names, open_table=self.open, base=self._base, log=self._log, title=title
        )

    def _create(self, spec: str) -> Table:
        kind, colon, source = spec.partition(":")
        if not colon:
            raise ConfigError("a table is written type:name", name=spec)
        if kind == "proxy":
            return self.open(source)
        if kind in INDEXED_TYPES:
            return IndexedTable(spec, self._base / source, aliases=spec in self._aliases, log=self._log)
        if kind in ("unionmap", "pipemap"):
            return (UnionTable if kind == "unionmap" else PipeTable)(spec, source, self.open)
        return self._create_other(spec, kind, source)

    def _create_other(self, spec: str, kind: str, source: str) -> Table:
        match kind:
            case "static":
                return StaticTable(spec, source)
            case "inline":
                return InlineTable(spec, source, self._log)
            case "environ":
                return EnvironTable(spec)
            case "fail":
                return FailTable(spec)
            case "randmap":
                return RandomTable(spec, source)
            case "regexp":
                return PatternTable(spec, source, self._base, PosixSyntax(), self._log)
            case "pcre":
                return PatternTable(spec, source, self._base, PerlSyntax(), self._log)
            case "cidr":
                return CidrTable(spec, source, self._base, self._log)
            case "unix":
                return open_unix(spec, source)
        if kind in NOT_BUILT_IN:
            raise ConfigError(f'tables of type "{kind}" are not built in', name=spec)
        raise ConfigError(f'unsupported table type: "{kind}"', name=spec)


def _members(spec: str) -> Iterator[str]:
    """The tables behind a table: `proxy:` taken off, `unionmap:` and `pipemap:` taken apart."""
    kind, _, source = spec.partition(":")
    if kind == "proxy":
        yield from _members(source)
    elif kind in ("unionmap", "pipemap") and source.startswith("{") and source.endswith("}"):
        for member in split_list(source[1:-1]):
            yield from _members(member)
    else:
        yield spec
