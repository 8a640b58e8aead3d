"""Whose mail is checked, for what, and what it showed: inbound authentication of one smtpd service."""

from __future__ import annotations

from collections import OrderedDict

from pymta.auth.dkim_verify import DkimInspection, VerifyRules
from pymta.auth.inbound_settings import InboundSettings
from pymta.auth.spf import AtHand, Query, check_host, nothing_at_hand
from pymta.errors import ConfigError, TableError
from pymta.model.address import Address
from pymta.model.authentication import (
    AuthenticationResults,
    NameResult,
    Result,
    SpfIdentity,
    SpfResult,
)
from pymta.model.envelope import Client
from pymta.ports import Clock, Log, Resolver
from pymta.tables import NetworkList, TableFactory

_NAME_RESULTS = {2: Result.PASS, 4: Result.TEMPERROR, 5: Result.FAIL}
_KEPT = 1000
_KEPT_SECONDS = 60.0
_Key = tuple[str, str, str]
SpfResults = tuple[SpfResult, ...]


class InboundAuthentication:
    """Checks senders for one smtpd service. Raises ConfigError for settings that cannot be used.

    The results of an SPF check are kept for a minute, so that all recipients of a message, and its header, get the
    same; what DNS did not answer is asked again. `query_any` and `at_hand` are DnsResolver's, for SPF.
    """

    def __init__(
        self,
        settings: InboundSettings,
        tables: TableFactory,
        resolver: Resolver,
        clock: Clock,
        log: Log,
        *,
        query_any: Query | None = None,
        at_hand: AtHand = nothing_at_hand,
    ) -> None:
        parents = "mynetworks" in settings.parent_domain_matches_subdomains
        self.settings = settings
        self.resolver = resolver
        self._mynetworks = tables.network_list(settings.mynetworks, parents, title="mynetworks")
        self._exempt = tables.network_list(settings.spf_exempt_networks, parents, title="spf_exempt_networks")
        self._identities = _identities(settings.spf_identities)
        self._rules = VerifyRules(settings.dkim_verify_minimum_key_bits, settings.dkim_verify_signature_limit)
        self._clock = clock
        self._log = log
        self._query = query_any or resolver.query
        self._at_hand = at_hand
        self._kept: OrderedDict[_Key, tuple[float, SpfResults]] = OrderedDict()

    @property
    def authserv_id(self) -> str:
        """In whose name results are told."""
        return self.settings.authserv_id

    @property
    def is_enabled(self) -> bool:
        """Whether mail from outside gets header fields of ours."""
        return self.settings.dkim_verify or self.settings.spf_enable

    async def is_outside(self, client: Client) -> bool:
        """Whether `client` may have sent a forgery: not in mynetworks, not logged in. In doubt it may."""
        return not client.sasl_username and not await self._contains(self._mynetworks, client)

    async def is_foreign(self, client: Client) -> bool:
        """Whether Authentication-Results in our name cannot come from ourselves: a login proves no such thing."""
        return not await self._contains(self._mynetworks, client)

    async def check_spf(self, client: Client, helo: str, sender: Address) -> SpfResults:
        """The results for a client from outside, HELO first; empty where it is exempt (RFC 7208 2.3, 2.4)."""
        if not await self.is_outside(client) or await self._contains(self._exempt, client):
            return ()
        key = (client.address, helo.lower(), str(sender))
        now = self._clock.monotonic()
        kept = self._kept.get(key)
        if kept and kept[0] > now:
            return kept[1]
        results = tuple([await self._check(identity, key) for identity in self._wanted(sender)])
        if all(one.result is not Result.TEMPERROR for one in results):
            self._keep(key, now, results)
        return results

    def _wanted(self, sender: Address) -> list[SpfIdentity]:
        """The null sender has nothing but its HELO to be checked (RFC 7208 2.4)."""
        if sender.is_null:
            return [SpfIdentity.HELO]
        return [identity for identity in SpfIdentity if identity in self._identities]

    async def _check(self, identity: SpfIdentity, key: _Key) -> SpfResult:
        address, helo, sender = key
        return await check_host(
            self._query,
            address,
            identity,
            sender,
            helo,
            receiver=self.settings.authserv_id,
            time_limit=self.settings.spf_time_limit,
            at_hand=self._at_hand,
        )

    def _keep(self, key: _Key, now: float, results: SpfResults) -> None:
        self._kept[key] = (now + _KEPT_SECONDS, results)
        self._kept.move_to_end(key)
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

    def inspection(self) -> DkimInspection | None:
        """What the content of a message from outside goes through; None without `dkim_verify`."""
        if not self.settings.dkim_verify:
            return None
        return DkimInspection(self._rules, self._clock.now(), self.resolver)

    def envelope_results(self, client: Client, helo: str, spf: SpfResults) -> AuthenticationResults:
        """What is known before the content."""
        return AuthenticationResults(
            authserv_id=self.settings.authserv_id,
            client_address=client.address,
            helo=helo,
            name=_name_result(client),
            spf=spf,
        )

    async def _contains(self, networks: NetworkList, client: Client) -> bool:
        try:
            return await networks.matches(client.address, client.name)
        except TableError as error:
            self._log.warning(str(error))
            return False


def _name_result(client: Client) -> NameResult:
    name = client.name if client.name_status == 2 else ""
    return NameResult(_NAME_RESULTS.get(client.name_status, Result.PERMERROR), client.address, name)


def _identities(words: tuple[str, ...]) -> frozenset[SpfIdentity]:
    known = {identity.value: identity for identity in SpfIdentity}
    for word in words:
        if word not in known:
            raise ConfigError(f'found "{word}", expected {" or ".join(known)}', name="spf_identities")
    return frozenset(known[word] for word in words)
