"""local(8): aliases, `.forward` files and mailboxes of the system's users."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from pymta.delivery.forward import submit_forwards
from pymta.delivery.local_aliases import expand_alias
from pymta.delivery.local_files import expand_forward, expand_include, forward_paths
from pymta.delivery.local_loops import delivered_to, is_loop
from pymta.delivery.local_mailbox import deliver_mailbox, deliver_unknown, deliver_unless_forwarded
from pymta.delivery.local_pass import Transports
from pymta.delivery.local_rights import default_user, identity_of
from pymta.delivery.local_settings import LocalSettings, LocalTables
from pymta.delivery.local_state import Attempt, Context, LocalServices, Step, Steps
from pymta.delivery.local_targets import deliver_command, deliver_file
from pymta.delivery.local_users import SystemUsers, User, Users
from pymta.delivery.mailbox_jobs import ReadJob, UserActions
from pymta.errors import DeliveryError, ResolveError
from pymta.model.address import Address
from pymta.model.delivery import DeliveryRequest, DeliveryResult, Outcome
from pymta.model.envelope import Recipient
from pymta.ports import AddressResolver, Clock, Content, DeliveryAgent, Intake, Log
from pymta.rewrite.aliases import Command, FileName, Include
from pymta.tables import split_extension

_MAX_REASONS = 3


def _no_transports(name: str) -> DeliveryAgent | None:
    return None


class LocalAgent:
    """Delivers to aliases and users of this system.

    `actions` does what needs a user's rights. `transports` finds the agent for mailbox_transport and
    fallback_transport. An expansion is worked off step by step, not by recursion, so that no alias can exhaust
    the stack. Raises ConfigError where default_privs is not usable.
    """

    def __init__(
        self,
        settings: LocalSettings,
        tables: LocalTables,
        addresses: AddressResolver,
        intake: Intake,
        actions: UserActions,
        clock: Clock,
        log: Log,
        *,
        transports: Transports = _no_transports,
        users: Users | None = None,
        find_default_user: Callable[[str], User] = default_user,
    ) -> None:
        settings.locking()
        self._intake = intake
        self._transports = transports
        self._services = LocalServices(
            settings=settings,
            tables=tables,
            users=users or SystemUsers(clock),
            actions=actions,
            addresses=addresses,
            log=log,
            clock=clock,
            default_user=find_default_user(settings.default_privs),
        )

    async def deliver(self, request: DeliveryRequest, content: Content) -> Sequence[DeliveryResult]:
        loops = await delivered_to(content)
        return [
            await self._deliver_one(Attempt(request, recipient, content, loops)) for recipient in request.recipients
        ]

    async def _deliver_one(self, attempt: Attempt) -> DeliveryResult:
        recipient = attempt.recipient
        context = Context(recipient.address, attempt.request.sender, recipient.notify)
        pending: Steps = [Step(recipient.address, context, is_resolved=True)]
        while pending:
            step = pending.pop()
            try:
                pending.extend(reversed(await self._take(attempt, step)))
            except DeliveryError as error:
                # One part that cannot be tried now; what the others come to still counts.
                self._services.log.warning(f"{attempt.request.queue_id}: {error}")
                attempt.failed(step.context, "4.3.0", "local delivery is not possible now")
        await submit_forwards(self._services, self._intake, attempt)
        return _result(attempt)

    async def _take(self, attempt: Attempt, step: Step) -> Steps:
        services, context = self._services, step.context
        match step.destination:
            case Command(command):
                return await deliver_command(services, attempt, context, command)
            case FileName(path):
                return await deliver_file(services, attempt, context, path)
            case Include(path):
                return await expand_include(services, attempt, context, path)
            case Address() as address if step.is_resolved:
                return await self._deliver_address(attempt, replace(context, address=address))
            case Address() as address:
                return await self._resolve(attempt, context, address)

    async def _resolve(self, attempt: Attempt, context: Context, address: Address) -> Steps:
        """An address out of an expansion: ours to deliver, or somebody else's."""
        services = self._services
        try:
            complete = services.addresses.rewrite(address)
            if context.unmatched:
                extension = services.settings.recipient_delimiter[:1] + context.unmatched
                complete = complete.with_local_part(complete.local_part + extension)
            route = await services.addresses.resolve(complete, context.sender)
        except ResolveError as error:
            services.log.warning(f"{attempt.request.queue_id}: {error}")
            return attempt.failed(replace(context, address=address), "4.3.0", "address resolver failure")
        inner = replace(context, address=route.recipient)
        if route.malformed:
            return attempt.failed(inner, "5.1.3", f"bad recipient address syntax: {complete}")
        if route.transport == attempt.request.transport:
            return [Step(route.recipient, inner, is_resolved=True)]
        return _forward(attempt, inner)

    async def _deliver_address(self, attempt: Attempt, context: Context) -> Steps:
        """Split an address of ours into user and extension, after the checks that end loops."""
        services, address = self._services, context.address
        if not attempt.first_time("recipient", context.level, address):
            return []
        if is_loop(attempt.loops, str(address)):
            return attempt.failed(context, "5.4.6", f"mail forwarding loop for {address}")
        local = address.local_part.lower()
        is_mailbox_only = local.startswith("\\")
        local = local.removeprefix("\\")
        user, delimited = split_extension(local, services.settings.recipient_delimiter)
        extension = delimited[1:]
        if "/" in extension:
            services.log.warning(f"{attempt.request.queue_id}: address with illegal extension: {local}")
            user, extension = local, ""
        if not user:
            return attempt.failed(context, "5.1.3", f'null username in "{address}"')
        context = replace(
            context,
            local=local,
            user=user,
            extension=extension,
            unmatched=extension,
            delivered=context.delivered or address,
        )
        if is_mailbox_only:
            plain = replace(context, address=address.with_local_part(address.local_part[1:]))
            return await self._deliver_user(attempt, plain, forward=False)
        return await self._switch(attempt, context)

    async def _switch(self, attempt: Attempt, context: Context) -> Steps:
        """The order of local(8): alias, alias of the bare user, forwarding for an owner, `.forward`, mailbox."""
        services = self._services
        found = await expand_alias(services, attempt, replace(context, unmatched=""), context.local)
        if found is None and context.extension:
            propagates = "alias" in services.settings.propagate_unmatched_extensions
            inner = replace(context, unmatched=context.extension if propagates else "")
            found = await expand_alias(services, attempt, inner, context.user)
        if found is not None:
            return found
        # A member of a list with an owner, or in somebody's `.forward`, gets a message of its own.
        if context.owner is not None and context.owner.lower() != context.user:
            return _forward(attempt, context)
        if context.source == "include":
            return _forward(attempt, context)
        return await self._deliver_user(attempt, context, forward=True)

    async def _deliver_user(self, attempt: Attempt, context: Context, *, forward: bool) -> Steps:
        services = self._services
        user = await services.users.by_name(context.user)
        if user is not None and forward:
            if services.settings.require_home_directory and (problem := await self._missing_home(user)):
                return attempt.failed(context, "4.3.0", f"cannot access home directory {user.home}: {problem}")
            if paths := forward_paths(services, attempt, context, user):
                found = await deliver_unless_forwarded(services, attempt, context, user, paths)
                if found is None:
                    found = await expand_forward(services, attempt, context, user, paths)
                if found is not None:
                    return found
        delivered = await deliver_mailbox(services, self._transports, attempt, context, user)
        if delivered is not None:
            return delivered
        return await deliver_unknown(services, self._transports, attempt, context)

    async def _missing_home(self, user: User) -> str | None:
        """Why the user's home cannot be seen with his own rights, None where it can."""
        found = await self._services.actions.read(identity_of(user, self._services.default_user), ReadJob((user.home,)))
        # The default user need not see root's home.
        return None if found.found or user.uid == 0 else found.error


def _forward(attempt: Attempt, context: Context) -> Steps:
    """Note an address for the message that goes on in this expansion's name."""
    if attempt.first_time("indirect", context.address):
        if attempt.request.is_probe:
            return attempt.sent(context, f"forwards to {context.address.quoted()}")
        delivered = context.delivered or context.address
        recipient = Recipient(
            context.address,
            context.address if context.is_list else attempt.recipient.original,
            context.notify,
            "" if context.is_list else attempt.recipient.orcpt,
        )
        attempt.forwards.setdefault((context.sender, delivered, context.is_list), []).append(recipient)
    return []


def _result(attempt: Attempt) -> DeliveryResult:
    """One outcome for all that the recipient was expanded to: the worst that another attempt can mend comes first."""
    parts = attempt.parts
    number = attempt.recipient.number
    relay = attempt.request.transport
    if not parts:
        return DeliveryResult(number, Outcome.SENT, "2.0.0", "expanded to no recipients", relay)
    if attempt.last_passed is not None and len(parts) == 1 and not attempt.is_expanded:
        return attempt.last_passed.for_recipient(number)
    worst = next(
        outcome
        for outcome in (Outcome.DEFERRED, Outcome.BOUNCED, Outcome.SENT)
        if any(part.outcome is outcome for part in parts)
    )
    chosen = [part for part in parts if part.outcome is worst]
    reasons = list(dict.fromkeys(part.reason for part in chosen))
    action = ("expanded" if attempt.is_expanded else "delivered") if worst is Outcome.SENT else ""
    return DeliveryResult(
        number,
        worst,
        chosen[0].status,
        "; ".join(reasons[:_MAX_REASONS]) + ("; ..." if len(reasons) > _MAX_REASONS else ""),
        relay,
        action=action,
        parts=tuple(parts) if attempt.is_expanded else (),
    )
