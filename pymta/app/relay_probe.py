"""Would a stranger's mail for strangers be accepted? Asked of the restrictions themselves, without a connection."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pymta.access import AccessEngine, AccessSettings
from pymta.access.policy_service import PolicyService
from pymta.app.own import own_addresses
from pymta.app.plan import make_plan
from pymta.config import Config, build
from pymta.model.access import AccessContext, Stage
from pymta.model.address import Address
from pymta.model.envelope import Client
from pymta.model.verification import Standing, Verification
from pymta.ports import Log, Resolver
from pymta.rewrite import Recipients, RecipientSettings, Rewriter, RewriteSettings
from pymta.tables import TableFactory

# RFC 5737 and RFC 2606: an address and names that are nobody's.
STRANGER = Client(
    address="203.0.113.77",
    name="unknown",
    reverse_name="unknown",
    name_status=5,
    reverse_name_status=5,
    protocol="ESMTP",
)
_SENDER = Address("relay-probe", "example.org")
_RECIPIENTS = (Address("relay-probe", "example.net"), Address("relay-probe%example.net", "example.net"))


async def open_relays(config: Config, resolver: Resolver, log: Log) -> list[tuple[str, str]]:
    """Services, each with a recipient that it would take from a stranger; main.cf alone where master.cf has none.

    Raises ConfigError.
    """
    aliases = frozenset([*config.items("alias_maps"), *config.items("alias_database")])
    tables = TableFactory(config.directory or Path("/"), alias_tables=aliases, log=log)
    found = []
    views = [(service.key, config.for_service(service)) for service in make_plan(config).smtpd] or [("smtpd", config)]
    for key, own in views:
        engine = _engine(own, tables, resolver, log)
        for recipient in (*_RECIPIENTS, Address("relay-probe%example.net", own.text("mydomain"))):
            if await _accepts(engine, recipient):
                found.append((key, str(recipient)))
                break
    return found


class _Indifferent:
    """Policy services and probes that have nothing against a stranger: what they might refuse today is no guard."""

    process_tag = "relay-probe"

    async def ask(self, terms: PolicyService, request: bytes, instance: str) -> str | None:
        return "DUNNO"

    async def verify(self, address: Address) -> Verification:
        return Verification(Standing.DELIVERABLE, "")


def _engine(config: Config, tables: TableFactory, resolver: Resolver, log: Log) -> AccessEngine:
    rewriter = Rewriter(build(RewriteSettings, config), tables, log, own_addresses=own_addresses(config))
    access = build(AccessSettings, config)
    return AccessEngine(
        access,
        tables,
        resolver,
        rewriter,
        Recipients(build(RecipientSettings, config), rewriter, tables),
        log,
        sleep=asyncio.sleep,
        classes={name: config.text(name) for name in access.smtpd_restriction_classes},
        policy_daemons=_Indifferent(),
        verifier=_Indifferent(),
    )


async def _accepts(engine: AccessEngine, recipient: Address) -> bool:
    context = AccessContext(
        stage=Stage.RCPT,
        client=STRANGER,
        command="EHLO",
        helo_name="relay-probe.example.org",
        sender=_SENDER,
        recipient=recipient,
    )
    return (await engine.decide(context)).reply is None
