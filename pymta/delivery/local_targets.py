"""Delivery to `|command` and `/file/name` (local(8)): where they are allowed, and with whose rights they run."""

from __future__ import annotations

from dataclasses import replace

from pymta.delivery.command import command_failure, shell_argv
from pymta.delivery.local_expand import ExpandError, expand
from pymta.delivery.local_rights import identity_of
from pymta.delivery.local_state import Attempt, Context, LocalServices, Steps
from pymta.delivery.local_users import User
from pymta.delivery.local_values import command_environment, local_values
from pymta.delivery.mailbox_copy import envelope_header, from_line
from pymta.delivery.mailbox_jobs import NOT_STORED, CommandJob, Identity, MaildirJob, MboxJob, Stored
from pymta.model.address import Address


async def deliver_command(services: LocalServices, attempt: Attempt, context: Context, command: str) -> Steps:
    """Run a command that an alias, `.forward` or `:include:` file names, where allow_mail_to_commands lets it."""
    identity = identity_of(context.rights, services.default_user)
    if not attempt.first_time("command", identity, command):
        return []
    if context.source not in services.settings.allow_mail_to_commands or not command or "\0" in command:
        return attempt.failed(context, "5.7.1", "mail to command is restricted")
    return await run_for_user(services, attempt, context, command, context.rights)


async def run_for_user(
    services: LocalServices, attempt: Attempt, context: Context, command: str, user: User | None
) -> Steps:
    """Run a command with a user's rights, those of default_privs for root and for nobody in particular."""
    settings = services.settings
    if attempt.request.is_probe:
        return attempt.sent(context, f"delivers to command: {command}")
    try:
        directory = expand(
            settings.command_execution_directory,
            local_values(attempt, context, user),
            settings.execution_directory_expansion_filter,
        )
    except ExpandError as error:
        services.log.warning(f"bad parameter value syntax for command_execution_directory: {error}")
        return attempt.failed(context, "4.3.5", "mail system configuration error")
    job = CommandJob(
        argv=shell_argv(command, settings.local_command_shell),
        environment=command_environment(settings, attempt, context, user),
        header=mbox_header(services, attempt, context, "command"),
        time_limit=settings.command_time_limit,
        directory="" if directory.is_incomplete else directory.text,
        file_size_limit=settings.mailbox_size_limit,
    )
    ended = await services.actions.run(identity_of(user, services.default_user), job, attempt.content)
    failure = command_failure(ended, command)
    if failure is None:
        return attempt.sent(context, f"delivered to command: {command}")
    return attempt.failed(context, *failure)


async def deliver_file(services: LocalServices, attempt: Attempt, context: Context, path: str) -> Steps:
    """Append to a file, or add to a maildir, that an alias, `.forward` or `:include:` file names."""
    if path.startswith("~"):
        home_path = _below_home(services, context, path)
        if home_path is None:
            return attempt.misconfigured(context)
        path = home_path
    identity = identity_of(context.rights, services.default_user)
    if not attempt.first_time("file", identity, path):
        return []
    if context.source not in services.settings.allow_mail_to_files or "\0" in path:
        return attempt.failed(context, "5.7.1", "mail to file is restricted")
    if path.endswith("/"):
        return await store_maildir(services, attempt, context, path, identity) or []
    if attempt.request.is_probe:
        return attempt.sent(context, f"delivers to file: {path}")
    job = _file_job(services, attempt, context, path)
    stored = await services.actions.store(identity, job, attempt.content)
    if stored.reason:
        return attempt.failed(context, stored.status, f"cannot append message to file {path}: {stored.reason}")
    return attempt.sent(context, f"delivered to file: {path}")


def _below_home(services: LocalServices, context: Context, path: str) -> str | None:
    home = context.rights.home if context.rights else ""
    if not path.startswith("~/"):
        services.log.warning(f"bad home directory syntax for: {path}")
        return None
    if not home.startswith("/"):
        services.log.warning(f"unknown home directory for: {path}")
        return None
    return home.rstrip("/") + path[1:]


def _file_job(services: LocalServices, attempt: Attempt, context: Context, path: str) -> MboxJob:
    settings = services.settings
    return MboxJob(
        path=path,
        header=mbox_header(services, attempt, context, "file"),
        size_limit=settings.mailbox_size_limit,
        # Whoever may write the file need not be able to write next to it.
        locking=replace(settings.locking(), dotlock_may_fail=True),
        refuse_executable=True,
        allow_special=True,
    )


async def store_maildir(
    services: LocalServices,
    attempt: Attempt,
    context: Context,
    path: str,
    identity: Identity,
    unless: tuple[str, ...] = (),
) -> Steps | None:
    """None where one of the files `unless` is there: then nothing was delivered."""
    if attempt.request.is_probe:
        return attempt.sent(context, "delivers to maildir")
    shown = delivered_address(services, context, "file")
    header = envelope_header(sender=context.sender, original=attempt.recipient.original, delivered=shown)
    job = MaildirJob(path, header, services.settings.mailbox_size_limit, unless)
    stored = await services.actions.store(identity, job, attempt.content)
    if stored == NOT_STORED:
        return None
    if stored.reason:
        explain_access(services, stored, identity)
        return attempt.failed(context, stored.status, stored.reason)
    return attempt.sent(context, "delivered to maildir")


def explain_access(services: LocalServices, stored: Stored, identity: Identity) -> None:
    """A maildir that its owner cannot write is an administrator's mistake: say what to look at."""
    if stored.reason.endswith("Permission denied"):
        services.log.warning(f"maildir access problem for UID/GID={identity.uid}/{identity.gid}: {stored.reason}")
        services.log.warning("perhaps you need to create the maildirs in advance")


def delivered_address(services: LocalServices, context: Context, kind: str) -> Address | None:
    """What Delivered-To says, if prepend_delivered_header wants it for this `kind` of delivery.

    With frozen_delivered_to that is the queue's recipient, whatever it was expanded to.
    """
    if kind not in services.settings.prepend_delivered_header:
        return None
    return context.delivered or context.address


def mbox_header(services: LocalServices, attempt: Attempt, context: Context, kind: str) -> bytes:
    """`From_` line and envelope header as mbox files and commands get them."""
    shown = delivered_address(services, context, kind)
    line = from_line(context.sender, services.clock.now())
    header = envelope_header(sender=context.sender, original=attempt.recipient.original, delivered=shown)
    return line + b"\n" + header
