"""OpenDKIM's data sets: lists and tables in files or in the value itself (opendkim(8), DATA SETS)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from pymta.errors import ConfigError
from pymta.model.frozen import frozen
from pymta.ports import Log
from pymta.tables.watch import Unusable, WatchedFile

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_FILES = ("file", "refile")
_NOT_BUILT_IN = ("db", "dsn", "ldap", "ldaps", "ldapi", "lua", "memcache", "erlang", "mdb", "socket", "repute")


@frozen
class Row:
    """One element: the key, and the value where there is one. `where` is `FILE:LINE`, or the parameter's name."""

    key: str
    value: str
    text: str
    where: str


@frozen
class Source:
    """Where a data set is: in a file, or (`path` None) in `text`, separated by commas. `wildcards` says refile."""

    path: Path | None
    text: str
    wildcards: bool
    name: str

    @classmethod
    def parse(cls, text: str, base: Path, name: str) -> Source:
        """Read a specification (`refile:/etc/opendkim/SigningTable`); raises ConfigError naming parameter `name`."""
        kind, colon, rest = text.partition(":")
        if colon and kind in _FILES:
            return cls(base / rest.strip(), "", kind == "refile", name)
        if (colon and kind in _NOT_BUILT_IN) or (not colon and text.endswith(".db")):
            raise ConfigError(f'data set "{text}": only file:, refile:, csl: and lists are supported here', name=name)
        if text.startswith("/"):
            return cls(base / text, "", False, name)
        return cls(None, rest if colon and kind == "csl" else text, False, name)


class Dataset(Protocol[T_co]):
    def content(self) -> T_co: ...


class _Fixed(Generic[T]):
    def __init__(self, content: T) -> None:
        self._content = content

    def content(self) -> T:
        return self._content


def open_dataset(source: Source, read: Callable[[Sequence[Row]], T], log: Log) -> Dataset[T]:
    """The set as `read` understands its rows, read again when its file changes; raises ConfigError at first."""
    if source.path is None:
        try:
            return _Fixed(read(list(_listed(source))))
        except Unusable as error:
            raise ConfigError(str(error), name=source.name) from None
    path = source.path
    return WatchedFile(path, lambda data: read(list(_lines(data, path))), name=source.name, log=log)


def read_rows(source: Source) -> list[Row]:
    """The rows as they are now. Raises ConfigError."""
    if source.path is None:
        return list(_listed(source))
    try:
        return list(_lines(source.path.read_bytes(), source.path))
    except OSError as error:
        raise ConfigError(f"open {source.path}: {error.strerror}", name=source.name) from None


def _lines(data: bytes, path: Path) -> Iterator[Row]:
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if text:
            key, value = [*text.split(None, 1), ""][:2]
            yield Row(key, value, text, f"{path}:{number}")


def _listed(source: Source) -> Iterator[Row]:
    for item in source.text.split(","):
        text = item.strip()
        if text:
            key, _, value = text.partition("=")
            yield Row(key.strip(), value.strip(), text, source.name)


class Hosts(Protocol):
    def contains(self, address: str, name: str) -> bool: ...


class HostSet:
    """PeerList and InternalHosts: names, `.example.com`, addresses and networks; `!` in front excludes.

    Names come before addresses, and the more precise entry wins whatever the order in the file.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        """Raises Unusable naming the row that is neither a host nor a network."""
        self._names: dict[str, bool] = {}
        networks: list[tuple[IPv4Network | IPv6Network, bool]] = []
        for row in rows:
            entry = row.key.removeprefix("!").lower()
            included = not row.key.startswith("!")
            network = _network(entry)
            if network is not None:
                networks.append((network, included))
            elif entry.strip(".") and "/" not in entry and ":" not in entry:
                self._names[entry] = included
            else:
                raise Unusable(f'{row.where}: found "{row.key}", expected a host, a domain, an address or a network')
        self._networks = sorted(networks, key=lambda item: item[0].prefixlen, reverse=True)

    def contains(self, address: str, name: str) -> bool:
        """`name` is the client's verified name, or `unknown`."""
        labels = name.lower()
        keys = [labels, *(labels[position:] for position, letter in enumerate(labels) if letter == ".")]
        for key in keys:
            if key in self._names:
                return self._names[key]
        try:
            wanted = ip_address(address)
        except ValueError:
            return False
        for network, included in self._networks:
            if wanted.version == network.version and wanted in network:
                return included
        return False


def _network(text: str) -> IPv4Network | IPv6Network | None:
    """An address or network; brackets around the address are allowed, and bits of the host too."""
    try:
        network = ip_network(text.replace("[", "").replace("]", ""), strict=False)
    except ValueError:
        return None
    if isinstance(network, IPv6Network) and (mapped := network.network_address.ipv4_mapped) and network.prefixlen >= 96:
        return ip_network((mapped, network.prefixlen - 96))
    return network
