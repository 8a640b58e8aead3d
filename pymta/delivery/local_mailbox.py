"""Delivery to a user's mailbox, and what happens to users that do not exist (local(8))."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from dataclasses import replace

from pymta.delivery.local_expand import ExpandError, expand
from pymta.delivery.local_pass import Transports, pass_on
from pymta.delivery.local_rights import reading_identity
from pymta.delivery.local_settings import LocalSettings
from pymta.delivery.local_state import Attempt, Context, LocalServices, Step, Steps
from pymta.delivery.local_targets import mbox_header, run_for_user, store_maildir
from pymta.delivery.local_users import User
from pymta.delivery.local_values import local_values
from pymta.delivery.mailbox_jobs import Identity, MboxJob
from pymta.errors import TableError
from pymta.model.address import Address
from pymta.rewrite.aliases import parse_destinations

_RESERVED = {"postmaster", "mailer-daemon", "double-bounce"}


async def deliver_mailbox(
    services: LocalServices, transports: Transports, attempt: Attempt, context: Context, user: User | None
) -> Steps | None:
    """Deliver to the mailbox of the address's user by the settings' order; None where there is no such user."""
    settings, tables = services.settings, services.tables
    try:
        transport = await tables.mailbox_transport_maps.find(context.user)
        command = await tables.mailbox_command_maps.find(context.user)
    except TableError as error:
        services.log.warning(f"{attempt.request.queue_id}: {error}")
        return attempt.failed(context, "4.3.0", "table lookup failure")
    transport = transport or settings.mailbox_transport
    if not transport and user is None:
        return None
    if not attempt.first_time("mailbox", context.user):
        return []
    if transport:
        return await pass_on(services, transports, attempt, context, transport)
    assert user is not None
    command = command or settings.mailbox_command
    if command:
        return await run_for_user(services, attempt, context, command, user)
    return await _deliver_file(services, attempt, context, user)


async def deliver_unless_forwarded(
    services: LocalServices, attempt: Attempt, context: Context, user: User, forwards: Collection[str]
) -> Steps | None:
    """Deliver to the user's maildir, if he has none of the files `forwards`: one question to his worker, not two.

    None where he has, or where something else may come before his maildir.
    """
    settings, tables = services.settings, services.tables
    path = _mailbox_path(settings, context, user)
    transports = tables.mailbox_transport_maps or settings.mailbox_transport
    commands = tables.mailbox_command_maps or settings.mailbox_command
    if context.level or path is None or not path.endswith("/") or transports or commands or attempt.request.is_probe:
        return None
    return await store_maildir(services, attempt, context, path, reading_identity(user), tuple(forwards))


def _mailbox_path(settings: LocalSettings, context: Context, user: User) -> str | None:
    """The file, or with a slash at the end the maildir, of a user; None where his name makes none."""
    home, spool = settings.home_mailbox, settings.mail_spool_directory
    if not home and ("/" in context.user or context.user in (".", "..")):
        return None
    path = f"{user.home.rstrip('/')}/{home}" if home else f"{spool.rstrip('/')}/{context.user}"
    if "\0" in path:
        return None
    return path.rstrip("/") + "/" if (home or spool).endswith("/") else path


async def _deliver_file(services: LocalServices, attempt: Attempt, context: Context, user: User) -> Steps:
    settings = services.settings
    path = _mailbox_path(settings, context, user)
    if path is None:
        return attempt.failed(context, "5.1.1", f'unknown user: "{context.user}"')
    if path.endswith("/"):
        return await store_maildir(services, attempt, context, path, reading_identity(user)) or []
    if attempt.request.is_probe:
        return attempt.sent(context, "delivers to mailbox")
    identity = _mailbox_identity(user, "" if settings.home_mailbox else settings.mail_spool_directory)
    job = MboxJob(
        path=path,
        header=mbox_header(services, attempt, context, "file"),
        size_limit=settings.mailbox_size_limit,
        owner_uid=user.uid if settings.strict_mailbox_ownership else None,
        locking=settings.locking(),
        create_uid=user.uid if identity.is_keeper else None,
        create_gid=user.gid if identity.is_keeper else None,
    )
    stored = await services.actions.store(identity, job, attempt.content)
    if not stored.reason:
        return attempt.sent(context, "delivered to mailbox")
    if stored.reason.endswith("not owned by recipient"):
        services.log.warning('specify "strict_mailbox_ownership = no" to ignore mailbox ownership mismatch')
    reason = f"cannot update mailbox {path} for user {context.user}. {stored.reason}"
    return attempt.failed(context, stored.status, reason)


def _mailbox_identity(user: User, spool: str) -> Identity:
    """The least rights that do: the user's own, in a spool directory for a group together with that group.

    Only where root alone may write to the spool directory, and for root's own mailbox, the keeper is needed.
    """
    if user.uid == 0:
        return Identity(0, 0, is_keeper=True)
    if not spool:
        return Identity(user.uid, user.gid)
    try:
        found = os.stat(spool)  # noqa: PTH116 - a setting's text, once per delivery
    except OSError:
        return Identity(user.uid, user.gid)
    if found.st_mode & stat.S_IWOTH or found.st_uid == user.uid:
        return Identity(user.uid, user.gid)
    if found.st_mode & stat.S_IWGRP and found.st_gid != 0:
        return Identity(user.uid, found.st_gid)
    return Identity(user.uid, user.gid, is_keeper=True)


async def deliver_unknown(services: LocalServices, transports: Transports, attempt: Attempt, context: Context) -> Steps:
    """fallback_transport(_maps), luser_relay, the names that RFC 5321 4.5.1 reserves, and the bounce."""
    settings = services.settings
    try:
        transport = await services.tables.fallback_transport_maps.find(context.user)
    except TableError as error:
        services.log.warning(f"{attempt.request.queue_id}: {error}")
        return attempt.failed(context, "4.3.0", "table lookup failure")
    transport = transport or settings.fallback_transport
    if transport:
        return await pass_on(services, transports, attempt, context, transport)
    if settings.luser_relay:
        return _relay_luser(services, attempt, context)
    if context.user in _RESERVED:
        services.log.warning(f"required alias not found: {context.user}")
        return attempt.sent(context, "discarded")
    return attempt.failed(context, "5.1.1", f'unknown user: "{context.user}"')


def _relay_luser(services: LocalServices, attempt: Attempt, context: Context) -> Steps:
    """luser_relay names one address; commands and files in it are addresses that nobody has."""
    try:
        text = expand(services.settings.luser_relay, local_values(attempt, context, None)).text
    except ExpandError as error:
        services.log.warning(f"bad parameter value syntax for luser_relay: {error}")
        return attempt.failed(context, "4.3.5", "mail system configuration error")
    if not attempt.first_time("luser_relay", text):
        return attempt.failed(context, "5.1.1", f'unknown user: "{context.user}"')
    found = [item for item in parse_destinations(text) if isinstance(item, Address)]
    if not found:
        services.log.warning(f"luser_relay: {text!r} is not an address")
        return attempt.misconfigured(context)
    return [Step(found[0], replace(context, level=context.level + 1, unmatched=""))]
