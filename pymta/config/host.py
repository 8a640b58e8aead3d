"""What this machine is: the facts behind the defaults of myhostname, mydomain and mynetworks."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface

_RTM_GETADDR = 22
_RTM_NEWADDR = 20
_NLMSG_DONE = 3
_NLMSG_ERROR = 2
_DUMP_REQUEST = 0x301
_IFA_ADDRESS = 1
_IFA_LOCAL = 2
_LOOPBACK = (ipaddress.ip_interface("127.0.0.1/8"), ipaddress.ip_interface("::1/128"))


def _resolve(name: str) -> list[str]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))


@dataclass(frozen=True)
class Host:
    """Name and addresses of a machine; tests pass their own. `resolve` gives the addresses of a host name."""

    name: str = field(default_factory=socket.gethostname)
    interfaces: Callable[[], Sequence[Interface]] = field(default_factory=lambda: interfaces)
    resolve: Callable[[str], Sequence[str]] = _resolve


def host_name(host: Host, mydomain: str | None) -> str:
    """The default of myhostname: a name without dot gets the domain that main.cf sets, else `localdomain`."""
    name = host.name.rstrip(".") or "localhost"
    return name if "." in name else f"{name}.{mydomain or 'localdomain'}"


def domain_name(myhostname: str) -> str:
    """The default of mydomain: myhostname without its first label."""
    return myhostname.partition(".")[2] or "localdomain"


def own_interfaces(host: Host, inet_interfaces: Sequence[str], protocols: frozenset[int]) -> list[Interface]:
    """The interface addresses that mail is received on (inet_interfaces(5)), of these IP versions."""
    every = [interface for interface in host.interfaces() if interface.version in protocols]
    wanted = [word.lower() for word in inet_interfaces]
    if "all" in wanted:
        return every
    if "loopback-only" in wanted:
        return [interface for interface in every if interface.ip.is_loopback]
    addresses: set[str] = set()
    for word in inet_interfaces:
        addresses.update(_addresses_of(word, host))
    return [interface for interface in every if str(interface.ip).partition("%")[0] in addresses]


def networks(found: Sequence[Interface], style: str) -> str:
    """The default of mynetworks for a mynetworks_style of `host`, `subnet` or `class`. Raises ValueError."""
    if style not in ("host", "subnet", "class"):
        raise ValueError(f'found "{style}", expected one of host, subnet, class')
    spelled = []
    for interface in found:
        network = _network(interface, style)
        address = str(network.network_address).partition("%")[0]
        address = f"[{address}]" if network.version == 6 else address
        spelled.append(f"{address}/{network.prefixlen}")
    return " ".join(dict.fromkeys(spelled))


def _network(interface: Interface, style: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    if style == "host":
        return ipaddress.ip_network(interface.ip)
    if style == "subnet" or interface.version == 6:
        return interface.network
    first = interface.packed[0]
    length = 8 if first < 128 else 16 if first < 192 else 24 if first < 224 else 32
    return ipaddress.ip_network((int(interface.ip), length), strict=False)


def _addresses_of(word: str, host: Host) -> list[str]:
    bare = word[1:-1] if word.startswith("[") and word.endswith("]") else word
    bare = bare.removeprefix("ipv6:").removeprefix("IPv6:")
    try:
        return [str(ipaddress.ip_address(bare))]
    except ValueError:
        return list(host.resolve(bare))


def interfaces() -> Sequence[Interface]:
    """Every address of every interface, asked from the kernel (rtnetlink(7)); only loopback elsewhere."""
    if not hasattr(socket, "AF_NETLINK"):
        return _LOOPBACK
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
            kernel.settimeout(5)
            kernel.bind((0, 0))
            kernel.send(struct.pack("=IHHIIBxxxI", 24, _RTM_GETADDR, _DUMP_REQUEST, 1, 0, 0, 0))
            found = _read_dump(kernel)
    except OSError:
        return _LOOPBACK
    return tuple(sorted(found, key=lambda interface: interface.version)) or _LOOPBACK


def _read_dump(kernel: socket.socket) -> list[Interface]:
    found: list[Interface] = []
    while True:
        data = kernel.recv(1 << 16)
        offset = 0
        while offset + 16 <= len(data):
            length, kind = struct.unpack_from("=IH", data, offset)
            if kind in (_NLMSG_DONE, _NLMSG_ERROR) or length < 16:
                return found
            if kind == _RTM_NEWADDR:
                found.extend(_read_address(data[offset + 16 : offset + length]))
            offset += (length + 3) & ~3


def _read_address(message: bytes) -> list[Interface]:
    """One ifaddrmsg and its attributes; IFA_LOCAL is ours where a point-to-point link has both."""
    prefix = message[1]
    attributes: dict[int, bytes] = {}
    offset = 8
    while offset + 4 <= len(message):
        length, kind = struct.unpack_from("=HH", message, offset)
        if length < 4:
            break
        attributes[kind] = message[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    packed = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
    if not packed:
        return []
    return [ipaddress.ip_interface((packed, prefix))]
