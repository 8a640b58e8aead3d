"""An access engine on tables, DNS and recipients that a test writes down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from pymta.access import AccessEngine, AccessSettings
from pymta.errors import ResolveError, TableError
from pymta.model.access import AccessContext, Stage
from pymta.model.address import Address
from pymta.model.dns import Answer, Lookup
from pymta.model.envelope import Client
from pymta.model.reply import Reply
from pymta.model.route import AddressClass, Route
from pymta.tables import TableFactory
from pymta.testing import RecordingLog

LOCAL, RELAYED = "local.example", "relay.example"
DEFAULTS: dict[str, Any] = {
    "smtpd_relay_restrictions": "permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination",
    "smtpd_delay_reject": True,
    "smtpd_relay_before_recipient_restrictions": True,
    "smtpd_reject_unlisted_recipient": True,
    "smtpd_reject_unlisted_sender": False,
    "smtpd_null_access_lookup_key": "<>",
    "mynetworks": "127.0.0.0/8",
    "parent_domain_matches_subdomains": ("smtpd_access_maps",),
    "access_map_reject_code": 554,
    "access_map_defer_code": 450,
    "reject_code": 554,
    "defer_code": 450,
    "invalid_hostname_reject_code": 501,
    "multi_recipient_bounce_reject_code": 550,
    "non_fqdn_reject_code": 504,
    "relay_domains_reject_code": 554,
    "unknown_address_reject_code": 450,
    "unknown_client_reject_code": 450,
    "unknown_hostname_reject_code": 450,
    "unknown_address_tempfail_action": "defer_if_permit",
    "unknown_helo_hostname_tempfail_action": "defer_if_permit",
    "smtpd_policy_service_default_action": "451 4.3.5 Server configuration problem",
    "smtpd_policy_service_try_limit": 2,
    "default_rbl_reply": (
        "$rbl_code Service unavailable; $rbl_class [$rbl_what] blocked using $rbl_domain${rbl_reason?; $rbl_reason}"
    ),
    "maps_rbl_reject_code": 554,
    "smtpd_expansion_filter": "\t" + "".join(map(chr, range(32, 127))),
    "spf_reject_fail": True,
    "spf_softfail_action": "accept",
    "spf_permerror_action": "accept",
    "spf_temperror_action": "defer",
}
EMPTY = {"str": "", "bool": False, "int": 0, "float": 0.0, "tuple[str, ...]": ()}
CLIENT = Client(address="192.0.2.7", name="mail.client.example", reverse_name="mail.client.example", protocol="ESMTP")


def settings(**values: Any) -> AccessSettings:
    values = {**DEFAULTS, **values}
    return AccessSettings(
        **{field.name: values.get(field.name, EMPTY[str(field.type)]) for field in fields(AccessSettings)}
    )


class Rewriter:
    """`local.example` is local, `relay.example` relayed; `broken.example` cannot be resolved."""

    asked = 0

    def known(self, recipient: Address) -> Route | None:
        return None

    def rewrite(self, address: Address) -> Address:
        return address if address.domain else address.with_domain(LOCAL)

    async def resolve(self, recipient: Address, sender: Address) -> Route:
        self.asked += 1
        recipient = self.rewrite(recipient)
        if recipient.domain == "broken.example":
            raise ResolveError("ldap:x: no answer")
        classes = {LOCAL: AddressClass.LOCAL, RELAYED: AddressClass.RELAY}
        address_class = classes.get(recipient.domain.lower(), AddressClass.DEFAULT)
        routed = any(char in recipient.local_part for char in "@!%")
        return Route("smtp", recipient.domain, recipient, address_class, routed=routed)


class Directory:
    """`unknown` and whoever begins with `no` does not exist; `broken` cannot be looked up."""

    async def check_recipient(self, recipient: Address) -> Reply | None:
        return self._check(recipient, "Recipient", "5.1.1")

    async def check_sender(self, sender: Address) -> Reply | None:
        return self._check(sender, "Sender", "5.1.0")

    def _check(self, address: Address, role: str, status: str) -> Reply | None:
        if address.local_part == "broken":
            raise TableError("ldap:users", "no answer")
        if address.local_part != "unknown":
            return None
        return Reply.of(550, f"<{address}>: {role} address rejected: User unknown in local recipient table", status)


class Names:
    """A resolver: `records` maps (name, type) to an answer; a name with any record has NO_DATA for the others."""

    def __init__(self, records: Mapping[tuple[str, str], Answer] | None = None) -> None:
        self.records = dict(records or {})
        self.asked: list[tuple[str, str]] = []

    async def query(self, name: str, rdtype: str) -> Answer:
        self.asked.append((name, rdtype))
        found = self.records.get((name, rdtype))
        if found:
            return found
        known = any(name == other for other, _ in self.records)
        return Answer(Lookup.NO_DATA if known else Lookup.NOT_FOUND)


class Policy:
    """An engine and what it left behind. Keywords are settings; `classes` and `extra` go to the engine."""

    def __init__(
        self,
        folder: Path,
        *,
        classes: Mapping[str, str] | None = None,
        extra: Any = None,
        records: Any = None,
        policy_daemons: Any = None,
        verifier: Any = None,
        **values: Any,
    ) -> None:
        self.log = RecordingLog()
        self.names = Names(records)
        self.rewriter = Rewriter()
        self.slept: list[float] = []
        names = tuple(classes or ())
        self.engine = AccessEngine(
            settings(smtpd_restriction_classes=names, **values),
            TableFactory(folder),
            self.names,
            self.rewriter,
            Directory(),
            self.log,
            sleep=self._sleep,
            classes=classes,
            extra=extra,
            policy_daemons=policy_daemons,
            verifier=verifier,
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def ask(self, context: AccessContext) -> str:
        """The reply on one line; `OK` where there is none."""
        verdict = await self.engine.decide(context)
        return str(verdict.reply) if verdict.reply else "OK"

    async def rcpt(self, to: str = f"user@{LOCAL}", **changes: Any) -> str:
        return await self.ask(rcpt(to, **changes))


def rcpt(to: str = f"user@{LOCAL}", **changes: Any) -> AccessContext:
    """RCPT from a stranger; `changes` replace fields of the context."""
    context = AccessContext(
        stage=Stage.RCPT,
        client=CLIENT,
        command="RCPT",
        helo_name="helo.example",
        sender=Address("from", "sender.example"),
        recipient=Address.from_internal(to),
    )
    return replace(context, **changes)
