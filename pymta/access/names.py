"""Syntax of host names and address literals, as restrictions judge it (RFC 1123 2.1, RFC 5321 4.1.3)."""

from __future__ import annotations

import ipaddress
import re

_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?")
_MAX_NAME = 255
_MAX_LABEL = 63


def without_final_dot(name: str) -> str:
    """`example.com.` without its dot; `example.com..` stays as wrong as it is."""
    return name[:-1] if name.endswith(".") and not name.endswith("..") and len(name) > 1 else name


def is_hostname(name: str) -> bool:
    """Letters, digits, hyphens inside and underscores; some label must not be a number."""
    if not name or len(name) > _MAX_NAME or not name.isascii():
        return False
    labels = name.split(".")
    if any(len(label) > _MAX_LABEL or not _LABEL.fullmatch(label) for label in labels):
        return False
    return not all(label.isdecimal() for label in labels)


def is_ip_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return "%" not in name


def is_address_literal(name: str) -> bool:
    """`[192.0.2.1]` or `[IPv6:2001:db8::1]`."""
    if not (name.startswith("[") and name.endswith("]")):
        return False
    inner = name[1:-1]
    if inner[:5].lower() == "ipv6:":
        return ":" in inner[5:] and is_ip_address(inner[5:])
    return ":" not in inner and is_ip_address(inner)


def is_qualified(name: str) -> bool:
    return "." in name and is_hostname(name)


def to_ascii(name: str) -> str | None:
    """The A-label form of an internationalized domain; None where it has none."""
    if name.isascii():
        return name
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError:
        return None
