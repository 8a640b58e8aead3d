"""What restrictions may ask: everything that is injected into the engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Protocol

from pymta.access.policy_service import PolicyService
from pymta.access.settings import AccessSettings
from pymta.model.address import Address
from pymta.model.authentication import SpfResult
from pymta.model.dns import Answer
from pymta.model.envelope import Client
from pymta.model.frozen import frozen
from pymta.model.verification import Verification
from pymta.ports import AddressResolver, Log, RecipientDirectory, Resolver
from pymta.tables import Maps

Sleep = Callable[[float], Awaitable[object]]
Query = Callable[[str, str], Awaitable[Answer]]


class AccessTable(Protocol):
    """Tables of one check_*_access, asked in order. `partial` marks a key that is only a part of the name."""

    async def find(self, key: str, *, partial: bool = False) -> str | None: ...


class NetworkMatch(Protocol):
    """A list of clients; raises TableError where that cannot be known."""

    async def matches(self, address: str, name: str = "") -> bool: ...


class StringMatch(Protocol):
    async def matches(self, name: str) -> bool: ...


class PolicyDaemons(Protocol):
    """The policy services of this host."""

    @property
    def process_tag(self) -> str:
        """What no other process that asks the same services has."""
        ...

    async def ask(self, terms: PolicyService, request: bytes, instance: str) -> str | None:
        """The action; None where there is no answer. Never raises."""
        ...


class AddressVerification(Protocol):
    """Who finds out whether an address is deliverable; never raises."""

    async def verify(self, address: Address) -> Verification: ...


class SenderPolicy(Protocol):
    """Who checks SPF; never raises. Nothing for clients that are exempt."""

    async def check_spf(self, client: Client, helo: str, sender: Address) -> tuple[SpfResult, ...]: ...


@frozen
class Environment:
    """`logged_permits` is smtpd_log_access_permit_actions, `sender_logins` smtpd_sender_login_maps.

    These, `relay_clientcerts`, `rbl_replies` (rbl_reply_maps) and `backup_networks` (permit_mx_backup_networks) are
    None where they are empty. `own_addresses` are those of inet_interfaces and proxy_interfaces. `query_any` is the
    resolver's for names, also of mail exchangers, that are none of hosts.
    """

    settings: AccessSettings
    mynetworks: NetworkMatch
    logged_permits: StringMatch | None
    resolver: Resolver
    rewriter: AddressResolver
    directory: RecipientDirectory
    log: Log
    sleep: Sleep
    sender_policy: SenderPolicy | None = None
    policy_daemons: PolicyDaemons | None = None
    verifier: AddressVerification | None = None
    rbl_replies: Maps | None = None
    backup_networks: NetworkMatch | None = None
    own_addresses: Collection[str] = ()
    query_any: Query | None = None
    sender_logins: Maps | None = None
    relay_clientcerts: Maps | None = None
