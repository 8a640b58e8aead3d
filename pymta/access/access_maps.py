"""The check_*_access restrictions and their lookup orders (access(5))."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

from pymta.access import actions, subject
from pymta.access.decision import Decision, Outcome
from pymta.access.environment import AccessTable
from pymta.access.names import is_ip_address
from pymta.access.subject import Kind, Subject
from pymta.errors import TableError
from pymta.model.address import Address
from pymta.tables.search import Parents, parent_domains, split_extension

Key = tuple[str, bool]
"""A key, and whether it is only a part of the name (tables of patterns are not asked for parts)."""


class AccessCheck:
    """One table and what its results may do; `run_list` runs results that are restrictions."""

    def __init__(self, restriction: str, table: AccessTable, table_name: str, run_list: actions.RunList) -> None:
        self.restriction = restriction
        self.table_name = table_name
        self._table = table
        self._run_list = run_list

    async def search(self, decision: Decision, keys: Iterator[Key], about: Subject) -> Outcome:
        """Act on the first key that is found."""
        outcome = await self.act(decision, keys, about)
        return Outcome.DUNNO if outcome is None else outcome

    async def act(self, decision: Decision, keys: Iterator[Key], about: Subject) -> Outcome | None:
        """The same; None where no key is found."""
        for key, partial in keys:
            value = await self._lookup(decision, key, partial)
            if value is not None:
                entry = actions.Entry(about, self.table_name, key)
                return await actions.apply(decision, entry, value, self._run_list)
        return None

    def refuses_ok(self, decision: Decision, name: str) -> Outcome:
        """An OK for `name`, which the client's side chose: the table would let in whoever chooses well."""
        return decision.server_error(
            f"restriction {self.restriction} returns OK for {name}",
            "this is not allowed for security reasons",
            "use DUNNO instead of OK if you want to make an exception",
        )

    async def _lookup(self, decision: Decision, key: str, partial: bool) -> str | None:
        if not key:
            return None
        try:
            return await self._table.find(key, partial=partial)
        except TableError as error:
            decision.environment.log.warning(f"{error}: table lookup problem")
            return "451 4.3.5 Server configuration error"


Check = Callable[[AccessCheck, Decision], Awaitable[Outcome]]


async def check_client(check: AccessCheck, decision: Decision) -> Outcome:
    client = decision.context.client
    keys = _host_keys(decision, client.name, client.address)
    return await check.search(decision, keys, subject.client(decision.context))


async def check_reverse_client_hostname(check: AccessCheck, decision: Decision) -> Outcome:
    """The unverified name. The client's owner may put anything there, so an OK is an error of the table's author."""
    client = decision.context.client
    about = Subject(client.reverse_name, Kind.REVERSE_CLIENT)
    outcome = await check.search(decision, _host_keys(decision, client.reverse_name, client.address), about)
    if outcome is not Outcome.OK or decision.is_discarded:
        return outcome
    return check.refuses_ok(decision, client.reverse_name)


async def check_sasl(check: AccessCheck, decision: Decision) -> Outcome:
    username = decision.context.client.sasl_username
    return await check.search(decision, iter([(username, False)]), Subject(username, Kind.SASL))


async def check_helo(check: AccessCheck, decision: Decision) -> Outcome:
    if decision.context.helo_name is None:
        return Outcome.DUNNO
    keys = domain_keys(decision, decision.context.helo_name)
    return await check.search(decision, keys, subject.helo(decision.context))


async def check_etrn(check: AccessCheck, decision: Decision) -> Outcome:
    keys = domain_keys(decision, decision.context.etrn_domain)
    return await check.search(decision, keys, subject.etrn(decision.context))


async def check_sender(check: AccessCheck, decision: Decision) -> Outcome:
    sender = decision.context.sender
    if sender is None:
        return Outcome.DUNNO
    about = subject.sender(decision.context)
    if sender.is_null:
        key = decision.settings.smtpd_null_access_lookup_key
        return await check.search(decision, iter([(key, False)]), about)
    route = await decision.route(sender)
    return await check.search(decision, _address_keys(decision, route.recipient), about)


async def check_recipient(check: AccessCheck, decision: Decision) -> Outcome:
    recipient = decision.context.recipient
    if not recipient:
        return Outcome.DUNNO
    route = await decision.route(recipient)
    keys = _address_keys(decision, route.recipient)
    outcome = await check.search(decision, keys, subject.recipient(decision.context))
    untrusted = route.routed and not decision.settings.allow_untrusted_routing
    if outcome is Outcome.OK and untrusted and not decision.is_discarded:
        # `user%elsewhere@ours` may leave again behind us: a match of the domain does not authorize that.
        return Outcome.DUNNO
    return outcome


# --- keys ---


def _host_keys(decision: Decision, name: str, address: str) -> Iterator[Key]:
    yield from domain_keys(decision, name)
    yield from address_keys(address)


def address_keys(address: str) -> Iterator[Key]:
    """An IP address and its networks, by octets or groups."""
    yield address, False
    delimiter = ":" if ":" in address else "."
    while delimiter in address:
        address = address.rpartition(delimiter)[0]
        yield address, True


def domain_keys(decision: Decision, name: str, partial: bool = False) -> Iterator[Key]:
    """A name and its parents."""
    yield name, partial
    if is_ip_address(name):
        return
    plain = "smtpd_access_maps" in decision.settings.parent_domain_matches_subdomains
    for parent in parent_domains(name, Parents.PLAIN if plain else Parents.DOT):
        yield parent, True


def _address_keys(decision: Decision, address: Address) -> Iterator[Key]:
    if not address.domain:
        return
    yield str(address), False
    user, extension = split_extension(address.local_part, decision.settings.recipient_delimiter)
    if extension:
        yield f"{user}@{address.domain}", True
    yield from domain_keys(decision, address.domain, partial=True)
    yield f"{address.local_part}@", True
    if extension:
        yield f"{user}@", True
