"""Expansion by `.forward` and `:include:` files: whose rights read them, and what makes one unfit (local(8))."""

from __future__ import annotations

import re
import stat
from dataclasses import replace

from pymta.delivery.local_expand import ExpandError, expand
from pymta.delivery.local_rights import identity_of, reading_identity
from pymta.delivery.local_state import MAX_LEVEL, Attempt, Context, LocalServices, Steps, after_expansion, steps
from pymta.delivery.local_users import User
from pymta.delivery.local_values import local_values
from pymta.delivery.mailbox_jobs import FileText, ReadJob
from pymta.rewrite.aliases import parse_destination_lines

# Separators of forward_path, outside of braces.
_SEPARATOR = re.compile(r"[,\s]+(?![^{}]*\})")

ForwardPaths = dict[str, bool]


async def expand_forward(
    services: LocalServices, attempt: Attempt, context: Context, user: User, paths: ForwardPaths
) -> Steps | None:
    """The destinations in the user's `.forward`; None where he has none that may be used, or it names nobody."""
    found = await services.actions.read(reading_identity(user), ReadJob(tuple(paths)))
    if not found.found or not attempt.first_time("forward", found.path):
        return None
    problem = _forward_problem(found, user)
    if problem:
        services.log.warning(f"{attempt.request.queue_id}: {problem}")
        return None
    destinations = parse_destination_lines(found.text)
    if not destinations:
        return None
    propagates = "forward" in services.settings.propagate_unmatched_extensions and not paths[found.path]
    inner = replace(
        context,
        level=context.level + 1,
        source="forward",
        expanded_from=context.local,
        rights=user,
        owner=context.user,
        unmatched=context.unmatched if propagates else "",
        notify=after_expansion(context.notify),
        delivered=context.delivered if services.settings.frozen_delivered_to else context.address,
    )
    attempt.is_expanded = True
    return steps(destinations, inner)


def forward_paths(services: LocalServices, attempt: Attempt, context: Context, user: User) -> ForwardPaths:
    """Expanded forward_path: each absolute name, and whether it has the address extension in it."""
    settings = services.settings
    values = local_values(attempt, context, user)
    paths: ForwardPaths = {}
    for template in filter(None, _SEPARATOR.split(settings.forward_path.strip())):
        try:
            expansion = expand(template, values, settings.forward_expansion_filter)
        except ExpandError as error:
            services.log.warning(f"bad parameter value syntax for forward_path: {error}")
            continue
        if not expansion.is_incomplete and expansion.text.startswith("/") and "\0" not in expansion.text:
            paths.setdefault(expansion.text, "extension" in expansion.used)
    return paths


def _forward_problem(found: FileText, user: User) -> str | None:
    if not stat.S_ISREG(found.mode):
        return f"file {found.path} is not a regular file"
    if found.uid not in (0, user.uid):
        return f"file {found.path} has bad owner uid {found.uid}"
    if found.mode & stat.S_IWOTH:
        return f"file {found.path} is world writable"
    return f"cannot open file {found.path}: {found.error}" if found.error else None


async def expand_include(services: LocalServices, attempt: Attempt, context: Context, path: str) -> Steps:
    """The destinations in an `:include:` file, read with the rights of the alias or `.forward` that names it.

    In an alias of root's those are default_privs; what they cannot read is read with the rights of the file's
    owner, and its commands and files run with those rights too.
    """
    rights = context.rights
    if not attempt.first_time("include", rights.uid if rights else None, path):
        return []
    if context.level > MAX_LEVEL:
        return attempt.failed(context, "5.4.6", f"alias database loop for {path}")
    if not path.startswith("/") or "\0" in path:
        services.log.warning(f":include:{path} uses a relative path")
        return attempt.misconfigured(context)
    found, owner = await _read_include(services, rights, path)
    problem = _include_problem(found, path)
    if problem:
        services.log.warning(f"{attempt.request.queue_id}: {problem}")
        return attempt.misconfigured(context)
    if rights is None and found.uid != 0 and owner is None:
        services.log.warning(f"{path}: cannot find :include: file owner username")
        return attempt.failed(context, "4.3.5", "mail system configuration error")
    inner = replace(
        context,
        level=context.level + 1,
        source="include",
        expanded_from=context.local,
        rights=owner if rights is None else rights,
        owner=context.owner or str(context.address),
        unmatched=context.unmatched if "include" in services.settings.propagate_unmatched_extensions else "",
    )
    attempt.is_expanded = True
    return steps(parse_destination_lines(found.text), inner)


async def _read_include(services: LocalServices, rights: User | None, path: str) -> tuple[FileText, User | None]:
    """The file, and its owner where that is not root and no other rights hold."""
    job = ReadJob((path,), follow_links=True)
    found = await services.actions.read(identity_of(rights, services.default_user), job)
    if rights is not None or not found.found or found.uid == 0:
        return found, None
    owner = await services.users.by_uid(found.uid)
    if owner is not None and found.denied:
        found = await services.actions.read(identity_of(owner, services.default_user), job)
    return found, owner


def _include_problem(found: FileText, path: str) -> str | None:
    if not found.found:
        return f"unable to lookup :include: file {path}: {found.error}"
    if not stat.S_ISREG(found.mode):
        return f":include: file {path} is not a regular file"
    if found.mode & stat.S_IWOTH:
        return f":include: file {path} is world writable"
    return f"cannot open include file {path}: {found.error}" if found.error else None
