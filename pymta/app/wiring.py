"""One configuration, wired: everything that a reload replaces as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import field
from pathlib import Path

from pymta.access import AccessEngine, AccessSettings
from pymta.app.address_verify import AddressVerifier, VerifySettings
from pymta.app.agents import AgentParts, AppAgent, make_agent
from pymta.app.dns_filter import FilteredResolver
from pymta.app.fast_flush import FastFlush
from pymta.app.own import own_addresses
from pymta.app.own_first import Hands, OwnFirst
from pymta.app.plan import DELIVERY_COMMANDS, SMTP_COMMANDS, Plan, make_plan
from pymta.app.problems import problems
from pymta.app.remote_delivery import RemoteAgent
from pymta.app.sasl import LoginParts, server_sasl
from pymta.app.tls import server_tls
from pymta.auth.dkim_sign import SigningSource
from pymta.auth.dkim_sign_build import make_signer
from pymta.auth.dkim_sign_settings import SigningSettings
from pymta.auth.inbound import InboundAuthentication
from pymta.auth.inbound_settings import InboundSettings
from pymta.bounce import BounceService, BounceSettings
from pymta.cleanup import Cleanup, CleanupSettings
from pymta.cleanup.clients import LocalClients
from pymta.config import Config, Service, Severity, build
from pymta.control.service import ControlSettings
from pymta.delivery.host_failures import HostFailures
from pymta.delivery.mailbox_jobs import UserActions
from pymta.delivery.smtp import SmtpAgent
from pymta.dns.hosts import SystemNames
from pymta.dns.resolver import DnsResolver
from pymta.errors import ConfigError
from pymta.model.frozen import frozen
from pymta.pickup.service import Pickup
from pymta.pickup.settings import PickupSettings
from pymta.ports import Clock, DeliveryAgent, Queue, Restriction
from pymta.rewrite import (
    MappingSettings,
    ProbeRouteSettings,
    ProbeSender,
    ProbeSenderSettings,
    Recipients,
    RecipientSettings,
    Rewriter,
    RewriteSettings,
)
from pymta.runtime.logging import MailLog, ServiceLog
from pymta.runtime.places import SpoolPlaces
from pymta.runtime.policy_client import PolicyDaemons
from pymta.runtime.tls_files import PemFiles
from pymta.runtime.verify_cache import VerifyCache
from pymta.smtpd import ErrorNotices, SmtpdSettings, SmtpServer
from pymta.smtpd.limits import SharedCounts
from pymta.smtpd.space import QueueSpace, QueueSpaceSettings
from pymta.tables import TableFactory


@frozen
class Lasting:
    """What outlives a reload. `agents` and `restrictions` are the app's own, by name; `keys` what root could read.

    Where several processes share the work (docs/processes.md): `serves_clients` is False for one without smtpd,
    `smtp_agent` stands for every SMTP and LMTP transport in one that leaves these to others, all but what finds free
    `hands`; `transports` are the
    commands of those that it has itself. `shared_counts` count clients over all smtpd processes. `failures` are the
    hosts that SMTP deliveries found down.
    """

    clock: Clock
    log: MailLog
    resolver: DnsResolver
    queue: Queue
    actions: UserActions
    agents: Mapping[str, DeliveryAgent] = field(default_factory=dict)
    restrictions: Mapping[str, Restriction] = field(default_factory=dict)
    logins: LoginParts = field(default_factory=LoginParts)
    keys: PemFiles = field(default_factory=PemFiles)
    serves_clients: bool = True
    smtp_agent: RemoteAgent | None = None
    hands: Hands = field(default_factory=lambda: Hands(0))
    transports: Collection[str] = DELIVERY_COMMANDS
    shared_counts: SharedCounts | None = None
    failures: HostFailures = field(default_factory=HostFailures)


class Wiring:
    """Builds every service from `config`; raises ConfigError before anything of an older wiring is touched."""

    def __init__(self, config: Config, lasting: Lasting) -> None:
        self.config = config
        self.plan: Plan = make_plan(config)
        self._lasting = lasting
        self._own = own_addresses(config)
        self._names = SystemNames(lasting.resolver)
        base = config.directory or Path("/")
        aliases = frozenset([*config.items("alias_maps"), *config.items("alias_database")])
        self.tables = TableFactory(base, alias_tables=aliases, log=self.log("tables"))
        self.rewriter, self.probe_rewriter = self._rewriters()
        self.probe_sender = ProbeSender(build(ProbeSenderSettings, config), self.rewriter.rewrite, lasting.clock)
        self._signers: dict[SigningSettings, SigningSource | None] = {}
        self.cleanup = self._cleanup(config)
        self._cleanups = {
            name: self._cleanup(config.for_service(service)) for name, service in self.plan.cleanups.items()
        }
        self.bounce = BounceService(
            build(BounceSettings, config), self.cleanup, lasting.clock, self.log("bounce"), parameter=config.text
        )
        self.pickup = Pickup(
            build(PickupSettings, config),
            self._local_door(),
            self.rewriter,
            self.tables,
            lasting.clock,
            self.log("pickup"),
        )
        self.control_settings = build(ControlSettings, config)
        self.flush = FastFlush(config, self.tables, lasting.queue)
        self._delivery_logs: dict[str, ServiceLog] = {}
        self._smtp_agents: list[SmtpAgent] = []
        self.agents: dict[str, DeliveryAgent] = self._agents()
        self.verifier = AddressVerifier(
            build(VerifySettings, config),
            VerifyCache(SpoolPlaces.below(config.text("queue_directory")).queue / "verify_cache"),
            self.cleanup,
            self.probe_sender,
            lasting.clock,
            self.log("verify"),
        )
        self._policy_daemons = PolicyDaemons(Path(config.text("queue_directory")), self.log("smtpd"))
        smtpd = self.plan.smtpd if lasting.serves_clients else ()
        self.servers = {service.key: self._server(service) for service in smtpd}

    def log(self, name: str, config: Config | None = None) -> ServiceLog:
        """The log of one service, tagged `syslog_name/name`."""
        return self._lasting.log.service(f"{(config or self.config).text('syslog_name')}/{name}")

    def delivery_log(self, transport: str) -> ServiceLog:
        """The log for a transport's recipients."""
        log = self._delivery_logs.get(transport)
        if log is None:
            service = self.plan.transports.get(transport)
            config = self.config.for_service(service) if service else self.config
            name = service.command if service else "error"
            log = self._delivery_logs[transport] = self.log(name, config)
        return log

    def close(self, *, abandon: bool = False) -> None:
        """Give back what agents and restrictions hold: idle connections; with `abandon` also those that have mail."""
        self._policy_daemons.close()
        for agent in self._smtp_agents:
            agent.close()
            if abandon:
                agent.abandon()

    def _rewriters(self) -> tuple[Rewriter, Rewriter]:
        """For mail, and for probes that may go another way."""
        settings = build(RewriteSettings, self.config)
        of_probes = build(ProbeRouteSettings, self.config).apply(settings)
        log = self.log("trivial-rewrite")
        rewriter = Rewriter(settings, self.tables, log, own_addresses=self._own)
        if of_probes == settings:
            return rewriter, rewriter
        return rewriter, Rewriter(of_probes, self.tables, log, own_addresses=self._own)

    def _cleanup(self, config: Config) -> Cleanup:
        return Cleanup(
            build(CleanupSettings, config),
            build(MappingSettings, config),
            self.rewriter,
            self.tables,
            self._lasting.queue,
            self._lasting.clock,
            self.log("cleanup", config),
            own_addresses=self._own,
            signer=self._signer(config),
        )

    def _signer(self, config: Config) -> SigningSource | None:
        """Services whose `dkim_*` parameters are equal share one signer, and so its keys."""
        settings = build(SigningSettings, config)
        if settings not in self._signers:
            networks = self.tables.network_list(settings.dkim_sign_networks, title="dkim_sign_networks")
            base = config.directory or Path("/")
            log = self.log("cleanup", config)
            self._signers[settings] = make_signer(settings, networks, base, self._lasting.clock, log)
        return self._signers[settings]

    def _local_door(self) -> Cleanup:
        """Intake for mail from this host's programs."""
        door = self.cleanup.with_overrides(self.config.items("receive_override_options"))
        return door.with_content_filter(self.config.text("content_filter"))

    def _agents(self) -> dict[str, DeliveryAgent]:
        agents: dict[str, DeliveryAgent] = {}
        parts = AgentParts(
            clock=self._lasting.clock,
            resolver=self._lasting.resolver,
            actions=self._lasting.actions,
            tables=self.tables,
            rewriter=self.rewriter,
            intake=self.cleanup,
            own_addresses=self._own,
            transports=agents.get,
            keys=self._lasting.keys,
            failures=self._lasting.failures,
        )
        for name, service in self.plan.transports.items():
            if service.command not in self._lasting.transports:
                continue
            remote = self._lasting.smtp_agent if service.command in SMTP_COMMANDS else None
            if remote and not self._lasting.hands.limit:
                agents[name] = remote
                continue
            config = self.config.for_service(service)
            agent = make_agent(service, config, parts, self.log(service.command, config))
            if isinstance(agent, SmtpAgent):
                self._smtp_agents.append(agent)
                agents[name] = OwnFirst(agent, remote, self._lasting.hands) if remote else agent
            else:
                agents[name] = agent
        agents.update({name: AppAgent(agent) for name, agent in self._lasting.agents.items()})
        return agents

    def _server(self, service: Service) -> SmtpServer:
        config = self.config.for_service(service)
        log = self.log("smtpd", config)
        settings = build(SmtpdSettings, config)
        rewriter = Rewriter(build(RewriteSettings, config), self.tables, log, own_addresses=self._own)
        directory = Recipients(build(RecipientSettings, config), rewriter, self.tables, self.probe_sender)
        access = build(AccessSettings, config)
        authentication = InboundAuthentication(
            build(InboundSettings, config),
            self.tables,
            self._lasting.resolver,
            self._lasting.clock,
            log,
            query_any=self._lasting.resolver.query_any,
            at_hand=self._lasting.resolver.at_hand,
        )
        dns_filter = self.tables.maps(config.text("smtpd_dns_reply_filter"), "smtpd_dns_reply_filter")
        resolver = self._lasting.resolver
        policy = AccessEngine(
            access,
            self.tables,
            FilteredResolver(resolver, dns_filter, log, "smtpd_dns_reply_filter") if dns_filter else resolver,
            rewriter,
            directory,
            log,
            sleep=asyncio.sleep,
            classes={name: config.text(name) for name in access.smtpd_restriction_classes},
            extra=self._lasting.restrictions,
            sender_policy=authentication,
            policy_daemons=self._policy_daemons,
            verifier=self.verifier,
            own_addresses=self._own,
            query_any=self._lasting.resolver.query_any,
        )
        # Behind a content filter everything was checked before.
        inspects = authentication.is_enabled and "no_milters" not in config.items("receive_override_options")
        places = SpoolPlaces.below(config.text("queue_directory"))
        return SmtpServer(
            settings,
            policy=QueueSpace(build(QueueSpaceSettings, config), places.queue, policy, log),
            intake=self._intake(service, config, authentication if inspects else None),
            rewriter=rewriter,
            directory=directory,
            resolver=self._names,
            clock=self._lasting.clock,
            log=log,
            tables=self.tables,
            name=service.name,
            sasl=server_sasl(config, self._lasting.logins, self.tables, self._lasting.clock, log),
            tls=server_tls(config, self._lasting.keys, self.tables, self._lasting.clock, log),
            shared_counts=self._lasting.shared_counts,
            authentication=authentication if inspects else None,
            flush=self.flush,
            notices=ErrorNotices(self.bounce.classes, self.bounce.postmaster_notice),
        )

    def _intake(self, service: Service, config: Config, distrust: InboundAuthentication | None) -> Cleanup:
        """The door for one service's clients, of whose headers `distrust` takes off what only we may say."""
        intake = self._intake_of(service, config)
        if any(name.startswith("dkim_") or name == "mynetworks" for name in config.own):
            intake = intake.with_signer(self._signer(config))
        intake = intake.with_overrides(config.items("receive_override_options"))
        if self.probe_sender.changes:
            intake = intake.with_probe_sender(self.probe_sender)
        if distrust is not None:
            intake = intake.with_distrust(distrust)
        intake = intake.with_content_filter(config.text("content_filter"))
        return intake.with_local_clients(LocalClients(build(CleanupSettings, config), self.tables, self._own))

    def _intake_of(self, service: Service, config: Config) -> Cleanup:
        name = config.text("cleanup_service_name")
        if name in self._cleanups:
            return self._cleanups[name]
        if name == "cleanup":
            return self.cleanup
        raise ConfigError("no cleanup service of this name in master.cf", where=service.where, name=name)


def rewire(config: Config, lasting: Lasting) -> tuple[Wiring, list[str]]:
    """What a reload would put in force, and warnings; raises ConfigError for a configuration with errors."""
    found = problems(config)
    if errors := [str(one) for one in found if one.severity is Severity.ERROR]:
        raise ConfigError("; ".join(errors))
    return Wiring(config, lasting), [str(one) for one in found]
