"""Where an address goes next: its class, transport and next hop (postfix ADDRESS_CLASS_README)."""

from __future__ import annotations

from enum import Enum

from pymta.model.address import Address
from pymta.model.frozen import frozen


class AddressClass(Enum):
    LOCAL = "local"
    VIRTUAL_ALIAS = "virtual_alias"
    VIRTUAL_MAILBOX = "virtual_mailbox"
    RELAY = "relay"
    DEFAULT = "default"

    # Members are one of a kind: no need for Enum's own, which hashes the name and is written in Python.
    __hash__ = object.__hash__


@frozen
class Route:
    """The answer of `resolve`: hand `recipient` to `transport` with `nexthop`.

    `recipient` is the address as the agent gets it. `nexthop` is a domain, `[host]`, `host:port`,
    `unix:PATH` or, for the error transport, the reason text. `transport` names a master.cf service. `routed` tells
    that the local part asks the remote to send it on (`a%b@remote`, `a!b@remote`, `a@b@remote`); `malformed` that the
    domain is no host name, so that the address goes to `error` with `5.1.3 bad address syntax`.
    """

    transport: str
    nexthop: str
    recipient: Address
    address_class: AddressClass
    routed: bool = False
    malformed: bool = False

    @property
    def is_ours(self) -> bool:
        """Whether we are a final or backup destination: everything but the default class."""
        return self.address_class is not AddressClass.DEFAULT
