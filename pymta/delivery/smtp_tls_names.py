"""Names of certificates and the names that a policy asks for (TLS_README, RFC 6125)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def certificate_names(certificate: Mapping[str, Any]) -> list[str]:
    """The DNS names of a certificate as `getpeercert` gives it; the common name only where it has no DNS names."""
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    if not names:
        subject = [pair for relative in certificate.get("subject", ()) for pair in relative]
        names = [value for kind, value in subject if kind == "commonName"][-1:]
    return [name.lower().rstrip(".") for name in names if name and "\0" not in name]


def wanted_names(match: Sequence[str], host: str, nexthop: str) -> list[str]:
    """`match` with `hostname`, `nexthop` and `dot-nexthop` replaced by what they stand for now."""
    meanings = {"hostname": host, "nexthop": nexthop, "dot-nexthop": f".{nexthop}"}
    return [meanings.get(word.lower(), word).lower().rstrip(".") for word in match]


def names_match(names: Sequence[str], wanted: Sequence[str], *, deep_wildcards: bool) -> bool:
    """Whether one of a certificate's names is one that is wanted. `.domain` wants any name below it."""
    return any(_matches(name, one, deep_wildcards) for name in names for one in wanted)


def _matches(name: str, wanted: str, deep_wildcards: bool) -> bool:
    if wanted.startswith("."):
        return len(wanted) > 1 and name.endswith(wanted) and len(name) > len(wanted)
    if not name.startswith("*."):
        return name == wanted
    label, dot, parent = wanted.partition(".")
    if deep_wildcards:
        return wanted.endswith(name[1:]) and len(wanted) > len(name) - 1
    return bool(label and dot) and f".{parent}" == name[1:]
