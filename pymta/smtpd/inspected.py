"""A draft whose content is looked at as it came, and that gets what was found out on top (docs/authentication.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pymta.auth.authentication_results import authentication_results, received_spf, summary
from pymta.auth.dkim_verify import DkimInspection
from pymta.auth.inbound import InboundAuthentication
from pymta.model.access import Effect, EffectKind
from pymta.model.authentication import AuthenticationResults, DkimResult, Result, SpfResult
from pymta.model.envelope import Client, Envelope
from pymta.model.queue import QueueId
from pymta.model.reply import Reply
from pymta.ports import Draft, Log


class InspectedDraft:
    """`ports.Draft` around another, which gets Authentication-Results on top at commit.

    They do not go through as content, from which intake removes whatever says that it is ours. A failure of ours is a
    temperror; it never costs the message.
    """

    def __init__(
        self,
        draft: Draft,
        authentication: InboundAuthentication,
        known: AuthenticationResults,
        log: Log,
        *,
        smtputf8: bool = False,
    ) -> None:
        self._draft = draft
        self._authentication = authentication
        self._inspection: DkimInspection | None = authentication.inspection()
        self._known = replace(known, checks_dkim=self._inspection is not None)
        self._log = log
        self._smtputf8 = smtputf8

    @classmethod
    async def around(
        cls, draft: Draft, authentication: InboundAuthentication, client: Client, envelope: Envelope, log: Log
    ) -> InspectedDraft:
        """Check the envelope; never raises for what DNS or the sender does."""
        spf: tuple[SpfResult, ...] = ()
        if authentication.settings.spf_enable:
            spf = await authentication.check_spf(client, client.helo, envelope.sender)
        known = authentication.envelope_results(client, client.helo, spf)
        return cls(draft, authentication, known, log, smtputf8=envelope.smtputf8)

    @property
    def queue_id(self) -> QueueId:
        return self._draft.queue_id

    def write_top(self, data: bytes) -> None:
        """Header fields that are ours and not the client's, Received-SPF before them."""
        if checked := self._known.mail_from:
            data = received_spf(checked, self._authentication.authserv_id, smtputf8=self._smtputf8) + data
        self._draft.write(data)

    def write(self, data: bytes, *, is_tidy: bool = False) -> None:
        if self._inspection is not None:
            try:
                self._inspection.write(data)
            except Exception as error:
                self._give_up(error)
        self._draft.write(data, is_tidy=is_tidy)

    async def results(self) -> AuthenticationResults:
        """Everything that was found out; to be asked when the content is complete."""
        if self._inspection is not None:
            try:
                dkim = await self._inspection.results(self._authentication.resolver)
                self._know(dkim, self._inspection.author_fields)
            except Exception as error:
                self._give_up(error)
        return self._known

    async def commit(self, effects: Sequence[Effect] = ()) -> Reply:
        results = await self.results()
        self._log.info(f"{self.queue_id}: authentication: {summary(results)}")
        field = authentication_results(results, smtputf8=self._smtputf8).decode()
        return await self._draft.commit([*effects, Effect(EffectKind.PREPEND, field)])

    async def abort(self) -> None:
        if self._inspection is not None:
            self._inspection.cancel()
        await self._draft.abort()

    def _know(self, dkim: tuple[DkimResult, ...], author_fields: tuple[str, ...] = ()) -> None:
        self._inspection = None
        self._known = replace(self._known, dkim=dkim, author_fields=author_fields)

    def _give_up(self, error: Exception) -> None:
        self._log.error(f"{self.queue_id}: DKIM verification: {type(error).__name__}: {error}")
        self._know((DkimResult(Result.TEMPERROR),))
