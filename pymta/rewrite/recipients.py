"""Who exists here: the answers behind reject_unlisted_recipient and reject_unlisted_sender (postconf(5))."""

from __future__ import annotations

from pymta.model.address import NULL_SENDER, Address
from pymta.model.reply import Reply, split_status
from pymta.model.route import AddressClass, Route
from pymta.rewrite.probe_sender import ProbeSender
from pymta.rewrite.resolver import Rewriter
from pymta.rewrite.settings import RecipientSettings
from pymta.tables import Maps, TableFactory

# What a status about the other role becomes for an address in this one (RFC 3463 3.2).
_FOR_SENDERS = {"1.1": "1.7", "1.2": "1.8", "1.3": "1.7", "1.6": "1.7"}
_FOR_RECIPIENTS = {"1.7": "1.3", "1.8": "1.2"}
# Transports to which nothing can be delivered.
_REFUSING = ("error", "retry")
# Made or taken in by the mail system itself, in every local domain.
_ALWAYS = ("postmaster", "mailer-daemon")


class Recipients:
    """The `RecipientDirectory` of one smtpd service. Raises ConfigError for a table that cannot be opened.

    An empty map for an address class means that every address in it exists, and so does the `probe_sender` now.
    """

    def __init__(
        self,
        settings: RecipientSettings,
        rewriter: Rewriter,
        tables: TableFactory,
        probe_sender: ProbeSender | None = None,
    ) -> None:
        self._settings = settings
        self._rewriter = rewriter
        self._probe_sender = probe_sender if probe_sender and probe_sender.changes else None
        self._always = frozenset({*_ALWAYS, settings.double_bounce_sender.lower()})
        rewritten = ["recipient_canonical_maps", "canonical_maps", "virtual_alias_maps"]
        self._mapped = [maps for name in rewritten if (maps := tables.maps(getattr(settings, name), name))]
        self._mapped_sender = tables.maps(settings.sender_canonical_maps, "sender_canonical_maps")
        known: dict[AddressClass, tuple[Maps, int, str]] = {
            AddressClass.LOCAL: (
                tables.maps(settings.local_recipient_maps, "local_recipient_maps"),
                settings.unknown_local_recipient_reject_code,
                "local recipient table",
            ),
            AddressClass.VIRTUAL_MAILBOX: (
                tables.maps(settings.virtual_mailbox_maps, "virtual_mailbox_maps"),
                settings.unknown_virtual_mailbox_reject_code,
                "virtual mailbox table",
            ),
            AddressClass.RELAY: (
                tables.maps(settings.relay_recipient_maps, "relay_recipient_maps"),
                settings.unknown_relay_recipient_reject_code,
                "relay recipient table",
            ),
        }
        self._classes = {address_class: entry for address_class, entry in known.items() if entry[0]}

    async def check_recipient(self, recipient: Address) -> Reply | None:
        """None for an address that exists or is not ours to know; else the refusal. Raises TableError."""
        return await self._check(recipient, "Recipient address", "5.1.1", self._mapped)

    async def check_sender(self, sender: Address) -> Reply | None:
        """The same for a sender; the null sender always exists. Raises TableError."""
        if sender.is_null:
            return None
        maps = [*self._mapped, self._mapped_sender] if self._mapped_sender else self._mapped
        return await self._check(sender, "Sender address", "5.1.0", maps)

    async def _check(self, address: Address, role: str, status: str, mapped: list[Maps]) -> Reply | None:
        if self._probe_sender and self._probe_sender.plain(address):
            return None
        route = await self._rewriter.route(address, NULL_SENDER)
        for maps in mapped:
            if await self._has(maps, route.recipient):
                return None
        problem = self._by_transport(route, status) if route.transport in _REFUSING else None
        if problem is None and route.address_class in self._classes:
            problem = await self._by_class(route, status)
        if problem is None:
            return None
        code, own_status, text = problem
        subject = (_FOR_RECIPIENTS if status == "5.1.1" else _FOR_SENDERS).get(own_status[2:])
        own_status = f"{own_status[0]}.{subject}" if subject else own_status
        return Reply.of(code, f"<{address}>: {role} rejected: {text}", own_status)

    def _by_transport(self, route: Route, status: str) -> tuple[int, str, str] | None:
        """An address that goes to the error or retry transport cannot be delivered, whatever its class."""
        if route.malformed:
            return None
        found, text = split_status(route.nexthop)
        if route.transport == "retry":
            return 450, _with_class(found or status, "4"), text
        is_alias = route.address_class is AddressClass.VIRTUAL_ALIAS
        code = self._settings.unknown_virtual_alias_reject_code if is_alias else 550
        return code, _with_class(found or status, str(code)[0]), text

    async def _by_class(self, route: Route, status: str) -> tuple[int, str, str] | None:
        maps, code, table = self._classes[route.address_class]
        if route.address_class is AddressClass.LOCAL and route.recipient.local_part.lower() in self._always:
            return None
        if await self._has(maps, route.recipient):
            return None
        where = f" in {table}" if self._settings.show_user_unknown_table_name else ""
        return code, _with_class(status, str(code)[0]), f"User unknown{where}"

    async def _has(self, maps: Maps, address: Address) -> bool:
        match = await maps.find_address(
            address, delimiter=self._settings.recipient_delimiter, is_local=self._rewriter.is_local
        )
        return match is not None


def _with_class(status: str, class_: str) -> str:
    return class_ + status[1:]
