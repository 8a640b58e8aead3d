"""Sockets to listen on: bound from `host:port`, or handed over by systemd (sd_listen_fds(3))."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping, Sequence

from pymta.errors import ConfigError
from pymta.model.frozen import frozen

_BACKLOG = 1024
_FIRST_INHERITED = 3

# Where /etc/services is not installed (slim container images), mail's own ports are still known.
_PORTS = {"smtp": 25, "smtps": 465, "submissions": 465, "submission": 587, "lmtp": 24}


@frozen
class Endpoint:
    """One address to listen on. `host` is numeric; empty means every address of `family`."""

    family: socket.AddressFamily
    host: str
    port: int

    def __str__(self) -> str:
        host = self.host or ("*" if self.family == socket.AF_INET else "[::]")
        return f"{host}:{self.port}"


def port_number(name: str) -> int:
    """A port by number or by its name in services(5); raises ConfigError."""
    if name.isdecimal() and 0 <= int(name) < 65536:
        return int(name)
    try:
        return socket.getservbyname(name, "tcp")
    except OSError:
        pass
    if name in _PORTS:
        return _PORTS[name]
    raise ConfigError("no such port or service name", name=name)


def split_endpoint(name: str) -> tuple[str, str]:
    """master.cf's `[host:]port` in two; the host of `[::1]:25` loses its brackets."""
    host, colon, port = name.rpartition(":")
    if not colon:
        return "", name
    return host.removeprefix("[").removesuffix("]"), port


def endpoints(name: str, interfaces: Sequence[str], protocols: Sequence[str]) -> list[Endpoint]:
    """Where an inet service of master.cf listens (master(5), postconf(5) inet_interfaces, inet_protocols).

    Raises ConfigError for a host or port that cannot be found.
    """
    host, port_name = split_endpoint(name)
    port = port_number(port_name)
    families = _families(protocols)
    if host:
        return _named(host, port, families)
    found: list[Endpoint] = []
    for interface in interfaces:
        if interface == "all":
            found += [Endpoint(family, "", port) for family in families]
        elif interface == "loopback-only":
            found += [Endpoint(family, "127.0.0.1" if family == socket.AF_INET else "::1", port) for family in families]
        else:
            found += _named(interface.removeprefix("[").removesuffix("]"), port, families)
    return list(dict.fromkeys(found))


def _families(protocols: Sequence[str]) -> list[socket.AddressFamily]:
    wanted = []
    if "all" in protocols or "ipv4" in protocols:
        wanted.append(socket.AF_INET)
    if "ipv6" in protocols or ("all" in protocols and _ipv6_works()):
        wanted.append(socket.AF_INET6)
    return wanted


def _ipv6_works() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _named(host: str, port: int, families: Sequence[socket.AddressFamily]) -> list[Endpoint]:
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ConfigError(f"cannot find the host: {error.strerror}", name=host) from error
    found = [Endpoint(family, str(address[0]), port) for family, _, _, _, address in answers if family in families]
    return list(dict.fromkeys(found))


def bind(endpoint: Endpoint, inherited: Mapping[Endpoint, socket.socket]) -> socket.socket:
    """A socket for `endpoint`: the inherited one, else a new one; raises ConfigError saying what to do.

    The place is taken, but clients are refused until `start_listening`: nobody waits for what may not come up.
    """
    if endpoint in inherited:
        return inherited[endpoint]
    server = socket.socket(endpoint.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if endpoint.family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.bind((endpoint.host, endpoint.port))
    except OSError as error:
        server.close()
        raise ConfigError(_bind_help(endpoint, error), name=str(endpoint)) from error
    return server


def start_listening(server: socket.socket) -> None:
    """From now on clients wait for `accept`; harmless where they did already. Raises ConfigError.

    A program that bound the same place at the same moment may have been faster: so much bind(2) lets through.
    """
    try:
        server.listen(_BACKLOG)
    except OSError as error:
        host, port = server.getsockname()[:2]
        place = Endpoint(socket.AddressFamily(server.family), host, port)
        raise ConfigError(_bind_help(place, error), name=str(place)) from error


def _bind_help(endpoint: Endpoint, error: OSError) -> str:
    if error.errno == errno.EACCES:
        return "ports below 1024 need root, CAP_NET_BIND_SERVICE or a socket from systemd"
    if error.errno == errno.EADDRINUSE:
        return f"another program listens on port {endpoint.port} (see `ss -ltnp`)"
    return f"cannot listen: {error.strerror}"


def inherited_sockets() -> dict[Endpoint, socket.socket]:
    """The listening sockets that systemd passed to this very process, by address."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    found = {}
    for descriptor in range(_FIRST_INHERITED, _FIRST_INHERITED + int(os.environ.get("LISTEN_FDS", "0"))):
        try:
            server = socket.socket(fileno=descriptor)
        except OSError as error:
            raise ConfigError(f"descriptor {descriptor} is no socket: {error.strerror}", name="LISTEN_FDS") from error
        server.setblocking(False)
        server.set_inheritable(False)
        if server.family in (socket.AF_INET, socket.AF_INET6):
            host, port = server.getsockname()[:2]
            wildcard = host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
            found[Endpoint(server.family, "" if wildcard else host, port)] = server
            if wildcard and _takes_ipv4(server):
                # `ListenStream=25` alone: one socket for both, as /proc/sys/net/ipv6/bindv6only says.
                found.setdefault(Endpoint(socket.AF_INET, "", port), server)
    return found


def _takes_ipv4(server: socket.socket) -> bool:
    return server.family == socket.AF_INET6 and not server.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def notify_systemd(state: str) -> None:
    """Tell systemd `READY=1`, `RELOADING=1` or `STOPPING=1` (sd_notify(3)); nothing where it did not ask."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
        try:
            connection.sendto(state.encode(), address)
        except OSError:
            return
