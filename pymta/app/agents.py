"""A delivery agent for each transport of master.cf."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import field

from pymta.app.dns_filter import FilteredResolver
from pymta.app.sasl import smtp_login
from pymta.app.tls import client_tls
from pymta.config import Config, Service, build
from pymta.delivery.discard import DiscardAgent
from pymta.delivery.error import ErrorAgent
from pymta.delivery.host_failures import HostFailures
from pymta.delivery.local import LocalAgent
from pymta.delivery.local_settings import LocalSettings, LocalTables, VirtualSettings, VirtualTables
from pymta.delivery.mailbox_jobs import UserActions
from pymta.delivery.pipe import PipeAgent, pipe_environment
from pymta.delivery.pipe_service import PipeService
from pymta.delivery.smtp import SmtpAgent
from pymta.delivery.smtp_checks import LmtpCheckSettings, SmtpCheckSettings, delivery_checks
from pymta.delivery.smtp_reply_filter import reply_filter
from pymta.delivery.smtp_settings import LmtpSettings, SmtpSettings
from pymta.delivery.virtual import VirtualAgent
from pymta.dns.resolver import DnsResolver
from pymta.model.delivery import DeliveryRequest, DeliveryResult, Outcome
from pymta.model.frozen import frozen
from pymta.ports import AddressResolver, Clock, Content, DeliveryAgent, Intake, Log
from pymta.runtime.tls_files import PemFiles
from pymta.tables import TableFactory


@frozen
class AgentParts:
    """What agents are made of. `transports` finds another agent by name when a delivery asks for it."""

    clock: Clock
    resolver: DnsResolver
    actions: UserActions
    tables: TableFactory
    rewriter: AddressResolver
    intake: Intake
    own_addresses: Collection[str]
    transports: Callable[[str], DeliveryAgent | None]
    keys: PemFiles = field(default_factory=PemFiles)
    failures: HostFailures = field(default_factory=HostFailures)


class AppAgent:
    """An agent of the app's own, or of its tests: it delivers, and never has to know of probes."""

    def __init__(self, agent: DeliveryAgent) -> None:
        self._agent = agent

    async def deliver(self, request: DeliveryRequest, content: Content) -> Sequence[DeliveryResult]:
        if not request.is_probe:
            return await self._agent.deliver(request, content)
        text = f"delivers to transport: {request.transport}"
        return [
            DeliveryResult(one.number, Outcome.SENT, "2.0.0", text, request.transport) for one in request.recipients
        ]


def make_agent(service: Service, config: Config, parts: AgentParts, log: Log) -> DeliveryAgent:
    """The agent of one service, with the service's own `-o` settings; raises ConfigError."""
    return _MAKERS[service.command](service, config, parts, log)


def _smtp(service: Service, config: Config, parts: AgentParts, log: Log) -> DeliveryAgent:
    is_lmtp = service.command == "lmtp"
    settings: LmtpSettings | SmtpSettings = build(LmtpSettings, config) if is_lmtp else build(SmtpSettings, config)
    checks = build(LmtpCheckSettings, config) if is_lmtp else build(SmtpCheckSettings, config)
    destinations = config.text(f"{service.command}_connection_cache_destinations")
    cached = (
        parts.tables.domain_list(destinations, title="connection_cache_destinations").matches if destinations else None
    )
    filter_name = f"{service.command}_reply_filter"
    dns_filter_name = f"{service.command}_dns_reply_filter"
    dns_filter = parts.tables.maps(config.text(dns_filter_name), dns_filter_name)
    return SmtpAgent(
        settings,
        FilteredResolver(parts.resolver, dns_filter, log, dns_filter_name) if dns_filter else parts.resolver,
        parts.clock,
        log,
        own_addresses=parts.own_addresses,
        always_cached=cached,
        tls=client_tls(service.command, config, parts.keys, parts.tables, parts.clock, log),
        login=smtp_login(is_lmtp, config, parts.tables, parts.clock, log),
        failures=parts.failures,
        reply_filter=reply_filter(config.text(filter_name), parts.tables, log, filter_name),
        checks=delivery_checks(checks, parts.tables, log),
    )


def _local(service: Service, config: Config, parts: AgentParts, log: Log) -> DeliveryAgent:
    names = ("alias_maps", "mailbox_command_maps", "mailbox_transport_maps", "fallback_transport_maps")
    maps = {name: parts.tables.maps(config.text(name), name) for name in names}
    return LocalAgent(
        build(LocalSettings, config),
        LocalTables(**maps),
        parts.rewriter,
        parts.intake,
        parts.actions,
        parts.clock,
        log,
        transports=parts.transports,
    )


def _virtual(service: Service, config: Config, parts: AgentParts, log: Log) -> DeliveryAgent:
    names = ("virtual_mailbox_maps", "virtual_uid_maps", "virtual_gid_maps")
    maps = {name: parts.tables.maps(config.text(name), name) for name in names}
    return VirtualAgent(build(VirtualSettings, config), VirtualTables(**maps), parts.actions, parts.clock, log)


def _pipe(service: Service, config: Config, parts: AgentParts, log: Log) -> DeliveryAgent:
    return PipeAgent(
        pipe_service(service, config),
        parts.actions,
        parts.clock,
        log,
        time_limit=float(str(config.transport_typed(service.name, "time_limit"))),
        recipient_delimiter=config.text("recipient_delimiter"),
        environment=pipe_environment(config.items("export_environment"), dict(os.environ)),
    )


def pipe_service(service: Service, config: Config) -> PipeService:
    """The attributes and command of a pipe(8) entry; raises ConfigError."""
    return PipeService.parse(service.name, service.args, config.text("mail_owner"), service.where)


def _error(service: Service, config: Config, parts: AgentParts, log: Log) -> DeliveryAgent:
    return ErrorAgent(temporary=service.name == "retry")


def _discard(service: Service, config: Config, parts: AgentParts, log: Log) -> DeliveryAgent:
    return DiscardAgent()


_MAKERS: dict[str, Callable[[Service, Config, AgentParts, Log], DeliveryAgent]] = {
    "smtp": _smtp,
    "lmtp": _smtp,
    "local": _local,
    "virtual": _virtual,
    "pipe": _pipe,
    "error": _error,
    "discard": _discard,
}
