"""From recipients to destinations: resolve, drop duplicates, group (qmgr(8))."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pymta.errors import ResolveError
from pymta.model.address import Address
from pymta.model.envelope import Origin, Trace
from pymta.model.frozen import frozen
from pymta.model.queue import QueuedRecipient, QueueEntry
from pymta.ports import AddressResolver, Log


@frozen
class Group:
    """Recipients that share transport and next hop; `name` is the destination for concurrency and rates."""

    transport: str
    name: str
    nexthop: str
    recipients: list[QueuedRecipient]


Places = dict[tuple[str, str], list[QueuedRecipient]]
"""Recipients by transport and next hop."""


class Router:
    """Asks where recipients go: `probes` for those of address verification."""

    def __init__(self, resolver: AddressResolver, probes: AddressResolver, log: Log, filter_nexthop: str) -> None:
        self._resolver = resolver
        self._probes = probes
        self._log = log
        self._filter_nexthop = filter_nexthop

    def with_filter_nexthop(self, filter_nexthop: str) -> Router:
        return Router(self._resolver, self._probes, self._log, filter_nexthop)

    def known(self, entry: QueueEntry, recipients: Sequence[QueuedRecipient]) -> Places | None:
        """Where they go; None unless that is known of all of them without asking."""
        if entry.filter:
            return None
        places: Places = {}
        resolver = self._resolver_of(entry)
        for recipient in recipients:
            route = resolver.known(recipient.address)
            if route is None:
                return None
            _put(places, route.transport, route.nexthop, recipient, route.recipient)
        return places

    async def route(
        self, entry: QueueEntry, recipients: Sequence[QueuedRecipient]
    ) -> tuple[Places, list[QueuedRecipient]]:
        """Where they go, and those that cannot be resolved now."""
        places: Places = {}
        lost: list[QueuedRecipient] = []
        for recipient in recipients:
            try:
                transport, nexthop, address = await self._resolve(entry, recipient.address)
            except ResolveError as error:
                self._log.warning(f"{entry.queue_id}: cannot resolve <{recipient.address.quoted()}>: {error}")
                lost.append(recipient)
                continue
            except Exception as error:
                # A fault of ours must not lose mail: the message waits, and the log says what to mend.
                self._log.error(f"{entry.queue_id}: cannot resolve <{recipient.address.quoted()}>: {error!r}")
                lost.append(recipient)
                continue
            _put(places, transport, nexthop, recipient, address)
        return places, lost

    async def _resolve(self, entry: QueueEntry, address: Address) -> tuple[str, str, Address]:
        # A filter would take everything: what is asked is where mail goes behind it.
        if entry.filter and entry.trace is not Trace.VERIFY:
            transport, _, nexthop = entry.filter.partition(":")
            return transport, nexthop or self._filter_nexthop or address.domain, address
        route = await self._resolver_of(entry).resolve(address, entry.sender)
        return route.transport, route.nexthop, route.recipient

    def _resolver_of(self, entry: QueueEntry) -> AddressResolver:
        """What a user asks with `sendmail -bv` is where his mail would go."""
        return self._probes if entry.origin is Origin.VERIFY else self._resolver


def _put(places: Places, transport: str, nexthop: str, recipient: QueuedRecipient, address: Address) -> None:
    if address is not recipient.address and address != recipient.address:
        recipient = replace(recipient, address=address)
    place = transport, nexthop
    if place in places:
        places[place].append(recipient)
    else:
        places[place] = [recipient]


def group(places: Places, limits: dict[str, int], delimiter: str) -> list[Group]:
    """One group per destination. A transport with one recipient per delivery is scheduled by mailbox, so that a
    slow mailbox delays itself only (postconf(5) default_destination_concurrency_limit)."""
    groups = []
    for (transport, nexthop), recipients in places.items():
        if limits[transport] != 1:
            groups.append(Group(transport, nexthop.lower(), nexthop, recipients))
            continue
        by_mailbox: dict[str, list[QueuedRecipient]] = {}
        for recipient in recipients:
            by_mailbox.setdefault(mailbox(recipient.address.local_part, delimiter), []).append(recipient)
        groups.extend(
            Group(transport, f"{name}@{nexthop}".lower(), nexthop, members) for name, members in by_mailbox.items()
        )
    return groups


def mailbox(local_part: str, delimiter: str) -> str:
    """`local_part` without its extension; owner- and request names keep what only looks like one."""
    lowered = local_part.lower()
    if delimiter == "-" and (lowered.startswith("owner-") or lowered.endswith("-request")):
        return local_part
    if lowered in ("postmaster", "mailer-daemon", "double-bounce"):
        return local_part
    ends = [place for place in (local_part.find(character, 1) for character in delimiter) if place > 0]
    return local_part[: min(ends)] if ends else local_part


def duplicate_key(recipient: QueuedRecipient) -> object:
    """Recipients with equal keys are one: the same address from the same original with the same wishes."""
    address = recipient.address.folded()
    original = address if recipient.original is recipient.address else recipient.original.folded()
    return address, original, recipient.notify._value_, recipient.orcpt
