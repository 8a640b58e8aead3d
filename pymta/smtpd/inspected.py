"""A draft whose content is looked at as it came, and that gets what was found out on top (docs/authentication.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pymta.auth.authentication_results import authentication_results, received_spf, summary
from pymta.auth.dkim_verify import DkimInspection
from pymta.auth.inbound import InboundAuthentication
from pymta.model.access import Effect, EffectKind
from pymta.model.address import Address
from pymta.model.authentication import AuthenticationResults, DkimResult, Result
from pymta.model.envelope import Client
from pymta.model.queue import QueueId
from pymta.model.reply import Reply
from pymta.ports import Draft, Log


class InspectedDraft:
    """`ports.Draft` around another. `fields` stand on top of the header from the beginning.

    Without DKIM everything is known before the content, and Authentication-Results are among `fields`; with it they
    are put there at commit. A failure of ours is a temperror; it never costs the message.
    """

    def __init__(
        self, draft: Draft, authentication: InboundAuthentication, known: AuthenticationResults, log: Log
    ) -> None:
        self.fields = b""
        self._draft = draft
        self._authentication = authentication
        self._inspection: DkimInspection | None = authentication.inspection()
        self._known = replace(known, checks_dkim=self._inspection is not None)
        self._has_all = self._inspection is None
        self._log = log
        if self._has_all:
            self.fields = self._told()

    @classmethod
    async def around(
        cls, draft: Draft, authentication: InboundAuthentication, client: Client, sender: Address, log: Log
    ) -> InspectedDraft:
        """Check the envelope; never raises for what DNS or the sender does."""
        spf = await authentication.check_spf(client, client.helo, sender) if authentication.settings.spf_enable else ()
        known = authentication.envelope_results(client, client.helo, spf)
        inspected = cls(draft, authentication, known, log)
        if known.mail_from:
            inspected.fields += received_spf(known.mail_from, authentication.authserv_id)
        return inspected

    @property
    def queue_id(self) -> QueueId:
        return self._draft.queue_id

    def write_top(self, data: bytes) -> None:
        """What is ours and not the client's: `fields` and `data`."""
        self._draft.write(self.fields + data)

    def write(self, data: bytes) -> None:
        if self._inspection is not None and not self._has_all:
            try:
                self._inspection.write(data)
            except Exception as error:
                self._give_up(error)
        self._draft.write(data)

    async def results(self) -> AuthenticationResults:
        """Everything that was found out; to be asked when the content is complete."""
        if self._inspection is not None and not self._has_all:
            try:
                dkim = await self._inspection.results(self._authentication.resolver)
                self._know(dkim, self._inspection.author_fields)
            except Exception as error:
                self._give_up(error)
        return self._known

    async def commit(self, effects: Sequence[Effect] = ()) -> Reply:
        if self._inspection is not None:
            await self.results()
            effects = [*effects, Effect(EffectKind.PREPEND, self._told().decode())]
        return await self._draft.commit(effects)

    async def abort(self) -> None:
        await self._draft.abort()

    def _told(self) -> bytes:
        self._log.info(f"{self.queue_id}: authentication: {summary(self._known)}")
        return authentication_results(self._known)

    def _know(self, dkim: tuple[DkimResult, ...], author_fields: tuple[str, ...] = ()) -> None:
        self._has_all = True
        self._known = replace(self._known, dkim=dkim, author_fields=author_fields)

    def _give_up(self, error: Exception) -> None:
        self._log.error(f"{self.queue_id}: DKIM verification: {type(error).__name__}: {error}")
        self._know((DkimResult(Result.TEMPERROR),))
