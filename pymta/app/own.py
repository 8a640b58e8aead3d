"""Which addresses are this host's own (postconf(5) inet_interfaces, proxy_interfaces)."""

from __future__ import annotations

import socket

from pymta.config import Config, Host


def own_addresses(config: Config, host: Host | None = None) -> frozenset[str]:
    """Addresses at which mail reaches us: those of inet_interfaces, and proxy_interfaces before us."""
    found: set[str] = set()
    for name in [*config.items("inet_interfaces"), *config.items("proxy_interfaces")]:
        if name == "all":
            found.update(_interface_addresses(host or Host()))
        elif name == "loopback-only":
            found.update({"127.0.0.1", "::1"})
        else:
            found.update(_addresses(name.removeprefix("[").removesuffix("]")))
    return frozenset(found)


def _interface_addresses(host: Host) -> set[str]:
    return {str(interface.ip).partition("%")[0] for interface in host.interfaces()}


def _addresses(name: str) -> set[str]:
    try:
        return {str(answer[4][0]) for answer in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
    except OSError:
        return set()
