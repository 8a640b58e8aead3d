"""Expansion by alias_maps: whose rights, which sender, which members (local(8), aliases(5))."""

from __future__ import annotations

import os
from dataclasses import replace

from pymta.delivery.local_state import MAX_LEVEL, Attempt, Context, LocalServices, Steps, after_expansion, steps
from pymta.delivery.local_users import User
from pymta.errors import ResolveError, TableError
from pymta.model.address import Address
from pymta.ports import Table
from pymta.rewrite.aliases import parse_destinations


async def expand_alias(services: LocalServices, attempt: Attempt, context: Context, name: str) -> Steps | None:
    """The members of alias `name`, None where there is no such alias.

    An alias that lists its own name means the user of that name.
    """
    if context.expanded_from == name:
        return None
    if context.level > MAX_LEVEL:
        services.log.warning(f"alias database loop for {name}")
        return attempt.failed(context, "5.4.6", f"alias database loop for {name}")
    try:
        for table in services.tables.alias_maps.tables:
            text = await table.lookup(name)
            if text is not None:
                return await _members(services, attempt, context, table, name, text)
    except TableError as error:
        services.log.warning(f"{attempt.request.queue_id}: {error}")
        return attempt.failed(context, "4.3.0", "alias database unavailable")
    return None


async def _members(
    services: LocalServices, attempt: Attempt, context: Context, table: Table, name: str, text: str
) -> Steps:
    destinations = parse_destinations(text)
    if not destinations:
        services.log.warning(f"no recipient in alias lookup result for {name}")
        return attempt.failed(context, "4.3.0", "alias database unavailable")
    rights: User | None = None
    owner_uid = _owner_of(table)
    if owner_uid != 0 and (rights := await services.users.by_uid(owner_uid)) is None:
        services.log.warning(f"cannot find alias database owner for {table.name}")
        return attempt.failed(context, "4.3.0", "cannot find alias database owner")
    inner = replace(
        context,
        level=context.level + 1,
        source="alias",
        expanded_from=name,
        rights=rights,
        notify=after_expansion(context.notify),
        delivered=context.delivered if services.settings.frozen_delivered_to else context.address,
    )
    try:
        inner = await _with_owner(services, inner, name)
    except ResolveError:
        return attempt.failed(context, "4.3.0", "address resolver failure")
    attempt.is_expanded = True
    return steps(destinations, inner)


async def _with_owner(services: LocalServices, context: Context, name: str) -> Context:
    """`owner-NAME` becomes the sender, where there is such an alias: errors go to who runs the list."""
    settings = services.settings
    owner = f"owner-{name}"
    text = await services.tables.alias_maps.find(owner) if settings.owner_request_special else None
    if text is None:
        return replace(context, owner=None) if settings.reset_owner_alias else context
    address = Address(owner)
    if settings.expand_owner_alias:
        address = next((found for found in parse_destinations(text) if isinstance(found, Address)), address)
    sender = services.addresses.rewrite(address)
    return replace(context, owner=str(sender), sender=sender, is_list=True)


def _owner_of(table: Table) -> int:
    """The user id that owns a table's file; a table without a file is the administrator's own."""
    path = table.name.removeprefix("proxy:").partition(":")[2]
    try:
        return os.stat(path).st_uid if path.startswith("/") else 0  # noqa: PTH116 - the name is a table's, not a path's
    except OSError:
        return 0
