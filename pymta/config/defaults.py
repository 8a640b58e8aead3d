"""Defaults that depend on the machine or on other parameters, and the one value that is read from a file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from pymta.config.host import Host, domain_name, host_name, networks, own_interfaces
from pymta.config.levels import parse_level
from pymta.config.registry import Parameter
from pymta.errors import ConfigError

_PROTOCOLS = {"all": frozenset({4, 6}), "ipv4": frozenset({4}), "ipv6": frozenset({6})}
_LONGEST_NAME_FILE = 1024
_LONGEST_HOST_NAME = 255
_LABEL = re.compile(r"(?!-)[\w-]{1,63}(?<!-)")


class Values(Protocol):
    """What a computed default may ask of the configuration."""

    def text(self, name: str) -> str: ...
    def items(self, name: str) -> list[str]: ...
    def is_set(self, name: str) -> bool: ...
    def error(self, name: str, message: str) -> ConfigError: ...


def ip_versions(config: Values) -> frozenset[int]:
    """The IP versions of inet_protocols. Raises ConfigError."""
    found: set[int] = set()
    for word in config.items("inet_protocols"):
        if word not in _PROTOCOLS:
            raise config.error("inet_protocols", f'found "{word}", expected all, ipv4 or ipv6')
        found |= _PROTOCOLS[word]
    if not found:
        raise config.error("inet_protocols", "found an empty value, expected all, ipv4 or ipv6")
    return frozenset(found)


def _myhostname(config: Values, host: Host) -> str:
    return host_name(host, config.text("mydomain") if config.is_set("mydomain") else None)


def _mydomain(config: Values, _host: Host) -> str:
    return domain_name(config.text("myhostname"))


def _mynetworks(config: Values, host: Host) -> str:
    found = own_interfaces(host, config.items("inet_interfaces"), ip_versions(config))
    try:
        return networks(found, config.text("mynetworks_style"))
    except ValueError as error:
        raise config.error("mynetworks_style", str(error)) from None


_COMPUTED: dict[str, Callable[[Values, Host], str]] = {
    "myhostname": _myhostname,
    "mydomain": _mydomain,
    "mynetworks": _mynetworks,
}


def of(config: Values, host: Host, line: Parameter) -> str:
    """The default of one parameter, `$` not yet replaced. Raises ConfigError."""
    compute = _COMPUTED.get(line.name)
    return compute(config, host) if compute else line.default


def finish(config: Values, name: str, text: str) -> str:
    """What a set value means in the end: `myorigin = /file` is the file's first line. Raises ConfigError."""
    if name == "myorigin" and text.startswith("/"):
        return _first_line(config, text)
    if name == "compatibility_level":
        try:
            parse_level(text)
        except ValueError as error:
            raise config.error(name, str(error)) from None
    if name in ("myhostname", "mydomain") and not _is_host_name(text):
        raise config.error(name, f'found "{text}", expected a host name')
    return text


def _is_host_name(text: str) -> bool:
    """Labels of letters, digits, hyphens and underscores (RFC 1123 2.1), not all of them digits."""
    labels = text.split(".")
    good = len(text) <= _LONGEST_HOST_NAME and all(_LABEL.fullmatch(label) for label in labels)
    return good and not all(label.isdigit() for label in labels)


def _first_line(config: Values, path: str) -> str:
    try:
        with Path(path).open(encoding="utf-8") as file:
            line = file.readline(_LONGEST_NAME_FILE).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise config.error("myorigin", f"open {path}: {reason}") from None
    if not line or line.split() != [line]:
        raise config.error("myorigin", f'found "{line}" in {path}, expected one domain name on its first line')
    return line
