"""The sessions of one service: what they have in common, and what is made for each client."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial

from pymta.model.envelope import Client
from pymta.model.reply import Reply
from pymta.protocol.smtp.commands import Command, command_table
from pymta.protocol.smtp.server import ServerSession
from pymta.protocol.smtp.server_blame import KINDS
from pymta.protocol.smtp.server_etrn import with_etrn
from pymta.protocol.smtp.server_options import ServerOptions
from pymta.protocol.smtp.server_starttls import with_starttls
from pymta.protocol.smtp.server_transcript import TranscriptSession
from pymta.smtpd.desk import Desk
from pymta.smtpd.footer import footer_values, with_footer
from pymta.smtpd.sasl import SaslService
from pymta.smtpd.settings import SmtpdSettings, session_options
from pymta.smtpd.tls import ServerTls, with_tls
from pymta.tables import TableFactory


class Sessions:
    """Makes sessions that ask `desk`. `counted_verbs` are the commands of which a client has only so many."""

    def __init__(
        self,
        settings: SmtpdSettings,
        desk: Desk,
        tables: TableFactory,
        tls: ServerTls | None,
        sasl: SaslService | None,
        commands: Sequence[Command],
        counted_verbs: Collection[str] = (),
    ) -> None:
        self._settings = settings
        self._desk = desk
        self._sasl = sasl
        self._commands = with_etrn(with_starttls(commands))
        self._table = command_table(self._commands)
        self._bare_newline_exclusions = tables.network_list(settings.smtpd_forbid_bare_newline_exclusions)

        def options(*, bare_newline_excluded: bool) -> ServerOptions:
            own = session_options(settings, bare_newline_excluded=bare_newline_excluded)
            return replace(with_tls(own, tls), counted_verbs=frozenset(counted_verbs))

        wanted = desk.notices.kinds & KINDS if desk.notices else frozenset()
        self._new_session = partial(
            partial(TranscriptSession, wanted=wanted) if wanted else ServerSession,
            complete=desk.complete,
            asks=desk.policy.asks,
            footer=self._with_footer if settings.smtpd_reject_footer else None,
            commands=self._commands,
            table=self._table,
        )
        self._options = options(bare_newline_excluded=False)
        self._excluded_options = options(bare_newline_excluded=True)

    async def begin(self, client: Client, label: str) -> ServerSession:
        """The session of a client that was let in; `label` is how log lines name it."""
        exclusions = self._bare_newline_exclusions
        excluded = bool(exclusions) and await exclusions.matches(client.address)
        session = self._new_session(
            self._excluded_options if excluded else self._options,
            client,
            self._desk.intake.new_queue_id,
            label=label,
        )
        session.auth = await self._sasl.rules(client) if self._sasl else None
        return session

    def refusal(self, reply: Reply, client: Client, sender: str = "", recipient: str = "") -> Reply:
        """`reply` completed by `smtpd_reject_footer`."""
        template = self._settings.smtpd_reject_footer
        if not template:
            return reply
        now, host = self._desk.clock.now(), self._settings.myhostname
        values = footer_values(client, now, server_name=host, sender=sender, recipient=recipient)
        return with_footer(reply, template, values)

    def _with_footer(self, reply: Reply, session: ServerSession) -> Reply:
        transaction = session.transaction
        said = str(transaction.said) if transaction.said else ""
        return self.refusal(reply, session.client, str(transaction.sender or ""), said)
