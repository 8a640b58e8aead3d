"""The one door into the queue: for smtpd, sendmail, notices, forwarded mail and the library (cleanup(8))."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from pymta.auth.dkim_sign import Signer, SigningSource
from pymta.auth.inbound import InboundAuthentication
from pymta.checks.actions import is_header
from pymta.cleanup.check_actions import IntakeActions
from pymta.cleanup.checked_draft import CheckedDraft, intake_rules
from pymta.cleanup.clients import LocalClients
from pymta.cleanup.content import CharacterRules
from pymta.cleanup.draft import Desk, Handling, MessageDraft
from pymta.cleanup.header_filter import HeaderRules
from pymta.cleanup.settings import CleanupSettings
from pymta.errors import ConfigError, TableError
from pymta.model.envelope import Client, Envelope, Origin
from pymta.model.queue import QueueId
from pymta.ports import Clock, Draft, Log, Queue
from pymta.rewrite import EnvelopeMapping, MappingSettings, ProbeSender, Rewriter, StandardForm
from pymta.tables import TableFactory

# Written by ourselves, so neither copied to an archive nor measured against the limit for others.
_INTERNAL = frozenset({Origin.NOTICE, Origin.FORWARD, Origin.VERIFY})

# The words of `smtputf8_autodetect_classes` for each door.
_SMTPUTF8_CLASSES = {
    Origin.SMTP: {"smtpd"},
    Origin.SENDMAIL: {"sendmail"},
    Origin.LIBRARY: {"sendmail"},
    Origin.NOTICE: {"bounce", "notify"},
    Origin.VERIFY: {"verify"},
    Origin.FORWARD: {"forward"},
}


class Cleanup:
    """The `Intake` of one configuration.

    `own_addresses` are the IP addresses of `inet_interfaces` and `proxy_interfaces`. Raises ConfigError for a
    setting or table that cannot be used.
    """

    def __init__(
        self,
        settings: CleanupSettings,
        mapping: MappingSettings,
        rewriter: Rewriter,
        tables: TableFactory,
        queue: Queue,
        clock: Clock,
        log: Log,
        own_addresses: Collection[str] = (),
        signer: SigningSource | None = None,
    ) -> None:
        text = settings.undisclosed_recipients_header
        if text and not is_header(text):
            raise ConfigError(
                f'bad header text "{text}": need "headername: headervalue"', name="undisclosed_recipients_header"
            )
        envelope = EnvelopeMapping(mapping, rewriter, tables, log)
        self._desk = Desk(
            settings=settings,
            header_rules=HeaderRules(settings, envelope.canonical),
            character_rules=CharacterRules(settings),
            mapping=envelope,
            queue=queue,
            clock=clock,
            log=log,
        )
        self._checks = intake_rules(settings, tables)
        self._checks_content = True
        self._signer = signer
        self._authentication: InboundAuthentication | None = None
        self._probe_sender: ProbeSender | None = None
        self._detecting = _detecting(settings)
        self._clients = LocalClients(settings, tables, own_addresses)
        self._local = self._handling(rewriter.local_form)
        self._remote = self._handling(rewriter.remote_form)
        self._compose()

    def with_overrides(self, options: Iterable[str]) -> Cleanup:
        """The same door for a service with `receive_override_options`, of which three are about intake:
        `no_address_mappings`, `no_header_body_checks` and `no_milters`.

        Signing is what a milter would do, so it goes with them.
        """
        words = frozenset(options)
        other = self._copy()
        if "no_address_mappings" in words:
            other._local = replace(self._local, mappings=False, bcc=False)
            other._remote = replace(self._remote, mappings=False, bcc=False)
        if "no_milters" in words:
            other._signer = None
        other._checks_content = "no_header_body_checks" not in words
        other._compose()
        return other

    def with_signer(self, signer: SigningSource | None) -> Cleanup:
        """The same door for a service with its own `dkim_*` parameters."""
        other = self._copy()
        other._signer = signer
        return other

    def with_distrust(self, authentication: InboundAuthentication) -> Cleanup:
        """The same door for a service that tells in header fields what it found out about senders."""
        other = self._copy()
        other._authentication = authentication
        return other

    def with_local_clients(self, clients: LocalClients) -> Cleanup:
        """The same door for a service with its own `local_header_rewrite_clients`, which is smtpd's parameter."""
        other = self._copy()
        other._clients = clients
        return other

    def with_probe_sender(self, sender: ProbeSender) -> Cleanup:
        """The same door for a service at which mail to the sender of probes may come in, whatever its stamp."""
        other = self._copy()
        other._probe_sender = sender
        return other

    def with_content_filter(self, content_filter: str) -> Cleanup:
        """The same door for a service with a `content_filter`; our own notices and forwarded mail pass it by."""
        other = self._copy()
        other._local = replace(self._local, content_filter=content_filter)
        other._remote = replace(self._remote, content_filter=content_filter)
        other._compose()
        return other

    def _copy(self) -> Cleanup:
        other: Cleanup = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def _compose(self) -> None:
        """Put together what is the same for every message that comes by one door."""
        self._by_origin = {
            origin: self._at_door(self._remote if origin is Origin.FORWARD else self._local, origin)
            for origin in Origin
        }
        self._from_strangers = self._at_door(self._remote, Origin.SMTP)
        checks = bool(self._checks) and self._checks_content
        self._checked = frozenset(origin for origin in Origin if checks and self._is_checked(origin))

    def _at_door(self, handling: Handling, origin: Origin) -> Handling:
        if origin in _INTERNAL:
            handling = replace(handling, bcc=False, size_limit=0, content_filter="")
        return replace(handling, detects_smtputf8=True) if origin in self._detecting else handling

    def new_queue_id(self) -> QueueId:
        return self._desk.queue.new_queue_id()

    async def begin(self, envelope: Envelope, client: Client, origin: Origin, queue_id: QueueId | None = None) -> Draft:
        """Open a draft; never fails. A client of which a table cannot tell whether it is local counts as remote."""
        handling = self._by_origin[origin]
        if origin is Origin.SMTP:
            if self._probe_sender is not None:
                envelope = _without_stamps(envelope, self._probe_sender)
            known = self._clients.known(client)
            if not (await self._is_local(client) if known is None else known):
                handling = self._from_strangers
            if client.sasl_username and not handling.adds_missing:
                # RFC 6409 8.1 to 8.3: submission completes a message; rewriting stays a matter of the setting.
                handling = replace(handling, adds_missing=True)
        authentication = self._authentication
        if authentication and origin is Origin.SMTP and await authentication.is_foreign(client):
            handling = replace(handling, distrusts=authentication.authserv_id)
        signer = self._signer.current if self._signer is not None and origin is not Origin.VERIFY else None
        if signer is not None:
            handling = await self._signing(handling, signer, envelope, client, origin)
        draft = MessageDraft(self._desk, handling, envelope, client, origin, queue_id or self.new_queue_id())
        if origin not in self._checked:
            return draft
        log = self._desk.log
        actions = IntakeActions(log, draft.queue_id, lambda: _describe(envelope, client, origin))
        return CheckedDraft(draft, self._checks, actions, log, handling.size_limit)

    def _is_checked(self, origin: Origin) -> bool:
        """Mail of our own making is trusted, unless `internal_mail_filter_classes` says otherwise."""
        if origin is Origin.NOTICE:
            return not {"bounce", "notify"}.isdisjoint(self._desk.settings.internal_mail_filter_classes)
        return origin not in _INTERNAL

    async def _signing(
        self, handling: Handling, signer: Signer, envelope: Envelope, client: Client, origin: Origin
    ) -> Handling:
        """A client of which a table cannot tell whether it is ours cannot be signed for now."""
        try:
            if not await signer.clients.signs(client, origin) or signer.exempts(envelope.recipients):
                return handling
        except TableError as error:
            return replace(handling, signer=signer, signing_problem=f"dkim_sign_networks: {error}")
        return replace(handling, signer=signer)

    async def _is_local(self, client: Client) -> bool:
        try:
            return await self._clients.contains(client)
        except TableError as error:
            self._desk.log.warning(f"local_header_rewrite_clients: {error}")
            return False

    def _handling(self, form: StandardForm | None) -> Handling:
        return Handling(
            form=form,
            adds_missing=form is not None or self._desk.settings.always_add_missing_headers,
            mappings=True,
            bcc=True,
            size_limit=self._desk.settings.message_size_limit,
        )


def _without_stamps(envelope: Envelope, sender: ProbeSender) -> Envelope:
    """Mail to the sender of probes is mail to the address that does not change."""
    recipients = tuple(
        replace(one, address=plain, original=plain) if (plain := sender.plain(one.address)) else one
        for one in envelope.recipients
    )
    return replace(envelope, recipients=recipients)


def _describe(envelope: Envelope, client: Client, origin: Origin) -> str:
    """Where a message comes from, as header_checks log it."""
    is_smtp = origin is Origin.SMTP
    recipient = envelope.recipients[-1].original.quoted() if envelope.recipients else ""
    ends = f"from=<{envelope.sender.quoted()}> to=<{recipient}>"
    if not is_smtp:
        return f"from local; {ends}"
    protocol = "ESMTP" if client.protocol.startswith(("E", "UTF8")) else "SMTP"
    return f"from {client}; {ends} proto={protocol} helo=<{client.helo}>"


def _detecting(settings: CleanupSettings) -> frozenset[Origin]:
    """The doors at which the need for SMTPUTF8 is found out."""
    classes = set(settings.smtputf8_autodetect_classes)
    if not settings.smtputf8_enable:
        return frozenset()
    return frozenset(origin for origin, words in _SMTPUTF8_CLASSES.items() if "all" in classes or words & classes)
