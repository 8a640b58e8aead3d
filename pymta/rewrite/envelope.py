"""The addresses of an envelope on their way into the queue, in cleanup(8)'s order.

standard form -> canonical maps -> masquerading -> automatic BCC -> virtual aliases -> duplicates.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pymta.model.address import Address
from pymta.model.envelope import Notify, Recipient
from pymta.ports import Log
from pymta.rewrite.canonical import CanonicalForm, Place
from pymta.rewrite.resolver import Rewriter
from pymta.rewrite.settings import MappingSettings
from pymta.rewrite.virtual import VirtualAliases
from pymta.tables import Maps, TableFactory


@dataclass(slots=True)
class _Collected:
    """Recipients without duplicates. No more than `limit` of them are remembered for comparison."""

    limit: int
    with_original: bool
    recipients: list[Recipient] = field(default_factory=list)
    expanded: list[Recipient] = field(default_factory=list)
    _seen: set[object] = field(default_factory=set)

    def add(self, recipient: Recipient) -> None:
        address = recipient.address.folded()
        key: object = address
        if self.with_original:
            original = address if recipient.original is recipient.address else recipient.original.folded()
            key = (recipient.orcpt.lower(), recipient.notify, original, address)
        if key in self._seen:
            return
        if not self.limit or len(self._seen) < self.limit:
            self._seen.add(key)
        self.recipients.append(recipient)


class EnvelopeMapping:
    """All mappings of one configuration; raises ConfigError for a table that cannot be opened.

    What is asked raises TableError where a table cannot tell, and MappingError for a table without end.
    """

    def __init__(self, settings: MappingSettings, rewriter: Rewriter, tables: TableFactory, log: Log) -> None:
        self._settings = settings
        self._form = rewriter.local_form
        self._rewriter = rewriter
        self.canonical = CanonicalForm(settings, rewriter, tables, log)
        self._virtual = VirtualAliases(settings, rewriter, tables)
        self._always_bcc = settings.always_bcc
        self._sender_bcc = tables.maps(settings.sender_bcc_maps, "sender_bcc_maps")
        self._recipient_bcc = tables.maps(settings.recipient_bcc_maps, "recipient_bcc_maps")
        changing = (self.canonical, self._virtual, self._always_bcc, self._sender_bcc, self._recipient_bcc)
        self.only_completes = not any(changing)

    def completed(self, sender: Address, recipients: tuple[Recipient, ...]) -> tuple[Address, list[Recipient]]:
        """All that is to be done where nothing is set up that changes an address, and no table to wait for."""
        completed = [self._completed(recipient) for recipient in recipients]
        if len(completed) > 1:
            collected = self._collected()
            for recipient in completed:
                collected.add(recipient)
            completed = collected.recipients
        return self._form.apply(sender), completed

    def _collected(self) -> _Collected:
        return _Collected(self._settings.duplicate_filter_limit, self._settings.enable_original_recipient)

    async def sender(self, sender: Address, *, mappings: bool = True) -> Address:
        """The sender as it is queued; the null sender stays. Without `mappings`, only its standard form."""
        if sender.is_null:
            return sender
        completed = self._form.apply(sender)
        return await self.canonical.apply(completed, Place.ENVELOPE_SENDER) if mappings else completed

    async def recipients(
        self,
        sender: Address,
        recipients: tuple[Recipient, ...],
        *,
        mappings: bool = True,
        bcc: bool = True,
        expanded: list[Recipient] | None = None,
    ) -> list[Recipient]:
        """The recipients as they are queued. `sender` is what `sender` made of it; `bcc` allows automatic ones.

        `expanded` is filled with the aliases that others replace and of whose success the sender wants to hear.
        """
        if self.only_completes:
            return self.completed(sender, recipients)[1]
        collected = self._collected()
        if bcc and not sender.is_null and (copy := await self._bcc(self._sender_bcc, sender)):
            await self._add_bcc(collected, copy, mappings=mappings)
        for recipient in recipients:
            address = await self._canonical(recipient.address, mappings=mappings)
            await self._expand(collected, recipient, address, mappings=mappings)
            if bcc and (copy := await self._bcc(self._recipient_bcc, address)):
                await self._add_bcc(collected, copy, mappings=mappings)
        if bcc and self._always_bcc and collected.recipients:
            await self._add_bcc(collected, self._always_bcc, mappings=mappings)
        if expanded is not None:
            expanded += collected.expanded
        return collected.recipients

    def _completed(self, recipient: Recipient) -> Recipient:
        address = self._form.apply(recipient.address)
        if address is recipient.address:
            return recipient
        return Recipient(address, recipient.original, recipient.notify, recipient.orcpt)

    async def _canonical(self, address: Address, *, mappings: bool) -> Address:
        completed = self._form.apply(address)
        return await self.canonical.apply(completed, Place.ENVELOPE_RECIPIENT) if mappings else completed

    async def _bcc(self, maps: Maps, address: Address) -> str:
        if not maps:
            return ""
        found = await maps.find_address(
            address, delimiter=self._settings.recipient_delimiter, is_local=self._rewriter.is_local
        )
        return found.value if found else ""

    async def _add_bcc(self, collected: _Collected, text: str, *, mappings: bool) -> None:
        """Nobody is told of what becomes of a copy (postconf(5), always_bcc)."""
        original = Address.from_internal(text)
        address = await self._canonical(original, mappings=mappings)
        copy = Recipient(address, self._form.apply(original), Notify.NEVER)
        await self._expand(collected, copy, address, mappings=mappings)

    async def _expand(self, collected: _Collected, recipient: Recipient, address: Address, *, mappings: bool) -> None:
        original, notify, orcpt = recipient.original, recipient.notify, recipient.orcpt
        if not (mappings and self._virtual):
            collected.add(Recipient(address, original, notify, orcpt))
            return
        members = await self._virtual.expand(address)
        if len(members) > 1 or members[0] != address:
            if Notify.SUCCESS in notify:
                collected.expanded.append(Recipient(address, original, notify, orcpt))
            notify = _after_expansion(notify)
        for member in members:
            collected.add(Recipient(member, original, notify, orcpt))


def _after_expansion(notify: Notify) -> Notify:
    """What members inherit: a success report is for the alias, not for its members (RFC 3461 5.2.7.3)."""
    if Notify.SUCCESS not in notify:
        return notify
    return (notify & ~Notify.SUCCESS) or Notify.NEVER
