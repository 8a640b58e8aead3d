"""What a session asks of the rest of the program: decisions, addresses, drafts. Answers are values, failures too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from pymta.auth.inbound import InboundAuthentication
from pymta.errors import PymtaError
from pymta.model.access import AccessContext, Stage, Verdict
from pymta.model.address import Address
from pymta.model.envelope import Client, Origin
from pymta.model.frozen import frozen
from pymta.model.reply import Reply
from pymta.model.tls import TlsSession
from pymta.ports import AccessPolicy, AddressResolver, Clock, Draft, Intake, Log, RecipientDirectory, SiteFlush
from pymta.protocol.smtp.server_events import CommandKind, Commit, Errors, OpenDraft
from pymta.smtpd.inspected import InspectedDraft
from pymta.smtpd.received import received_header
from pymta.smtpd.settings import SmtpdSettings
from pymta.tables import Maps, StringList

_LOOKUP_FAILED = Reply.of(451, "Temporary lookup failure", "4.3.0")
_WRITE_FAILED = Reply.of(451, "Error: queue file write error", "4.3.0")


@frozen
class ErrorNotices:
    """Who wants to hear of sessions with errors of `kinds`: `send(kind, about, transcript)`."""

    kinds: frozenset[str]
    send: Callable[[str, str, str], Awaitable[object]]


@frozen
class Desk:
    """One per service. A failure of ours becomes a log line and a temporary refusal that tells nothing."""

    settings: SmtpdSettings
    policy: AccessPolicy
    intake: Intake
    rewriter: AddressResolver
    directory: RecipientDirectory
    clock: Clock
    log: Log
    noop_commands: StringList
    forbidden_commands: StringList
    shows_tls: bool = False
    authentication: InboundAuthentication | None = None
    flush: SiteFlush | None = None
    notices: ErrorNotices | None = None
    command_filter: Maps | None = None

    async def decide(self, context: AccessContext, draft: Draft | None = None) -> Verdict:
        """The verdict for one stage; at the end of data it knows what `draft` showed about the sender."""
        try:
            if context.stage is Stage.END_OF_DATA and isinstance(draft, InspectedDraft):
                context = replace(context, authentication=await draft.results())
            verdict = await self.policy.decide(context)
            if verdict.reply is None and context.stage is Stage.VRFY and context.recipient:
                return Verdict(await self.directory.check_recipient(context.recipient), verdict.effects)
        except Exception as error:
            self._failed(f"{context.stage.value} decision", error)
            return Verdict(_LOOKUP_FAILED)
        return verdict

    def complete(self, address: Address) -> Address | None:
        """The standard form; None where a failure of ours is in the way."""
        if address.is_null:
            return address
        try:
            return self.rewriter.rewrite(address)
        except Exception as error:
            self._failed(f"rewriting {address}", error)
            return None

    async def classify(self, verb: str) -> CommandKind:
        """Lists that cannot be read name nothing: they guard against nuisance, not against harm."""
        try:
            if await self.noop_commands.matches(verb):
                return CommandKind.NOOP
            if await self.forbidden_commands.matches(verb):
                return CommandKind.FORBIDDEN
        except PymtaError as error:
            self._failed(f"looking up command {verb}", error)
        return CommandKind.OTHER

    async def filter_command(self, text: str) -> str | None:
        """What to do in place of a command; where the table cannot tell, the command stays."""
        try:
            return await self.command_filter.find(text) if self.command_filter else None
        except Exception as error:
            self._failed(f'smtpd_command_filter: looking up "{text[:100]}"', error)
            return None

    async def flush_site(self, site: str) -> bool | None:
        """Whether mail for `site` is tried now; None where that cannot be known."""
        try:
            return await self.flush.flush_site(site) if self.flush else False
        except Exception as error:
            self._failed(f"flushing {site}", error)
            return None

    async def open_draft(self, event: OpenDraft, client: Client, tls: TlsSession | None = None) -> Draft | Reply:
        """A draft that begins with what PREPEND asked for and our Received header; mail from outside is inspected."""
        try:
            draft = await self.intake.begin(event.envelope, client, Origin.SMTP, event.queue_id)
        except Exception as error:
            self._failed(f"{event.queue_id}: opening the message", error)
            return _WRITE_FAILED
        top = b"".join([*map(_header_line, event.prepended), self._received(event, client, tls)])
        inspected = await self._inspected(draft, event, client)
        if inspected is None:
            draft.write(top)
            return draft
        inspected.write_top(top)
        return inspected

    async def _inspected(self, draft: Draft, event: OpenDraft, client: Client) -> InspectedDraft | None:
        """Mail that may be forged is looked at; None for all other mail, and where a bug of ours is in the way."""
        authentication = self.authentication
        try:
            if authentication is None or not await authentication.is_outside(client):
                return None
            return await InspectedDraft.around(draft, authentication, client, event.envelope, self.log)
        except Exception as error:
            self._failed(f"{event.queue_id}: authentication", error)
            return None

    def _received(self, event: OpenDraft, client: Client, tls: TlsSession | None) -> bytes:
        return received_header(
            client,
            self.settings.myhostname,
            self.settings.mail_name,
            event.queue_id,
            self.clock.now(),
            tls=tls if self.shows_tls else None,
            shows_login=self.settings.smtpd_sasl_authenticated_header,
            only_recipient=event.only_recipient,
            smtputf8=event.envelope.smtputf8,
        )

    async def commit(self, draft: Draft, event: Commit) -> Reply:
        try:
            return await draft.commit(event.effects)
        except Exception as error:
            self._failed(f"{draft.queue_id}: committing the message", error)
            return _WRITE_FAILED

    async def report(self, errors: Errors) -> None:
        """Tell the postmaster of a session; where that fails, the log has what matters."""
        try:
            if self.notices:
                await self.notices.send(min(errors.kinds), errors.about, errors.text)
        except Exception as error:
            self._failed(f"postmaster notice about {errors.about}", error)

    async def abort(self, draft: Draft) -> None:
        try:
            await draft.abort()
        except Exception as error:
            self._failed(f"{draft.queue_id}: dropping the message", error)

    def _failed(self, doing: str, error: Exception) -> None:
        self.log.warning(f"{doing}: {type(error).__name__}: {error}")


def _header_line(text: str) -> bytes:
    return "\r\n".join(text.splitlines()).encode("utf-8", "replace") + b"\r\n"
