"""smtp_dns_reply_filter and its kin: records that are taken out of DNS answers (postconf(5))."""

from __future__ import annotations

from dataclasses import replace

from pymta.delivery.hosts import HostResolver
from pymta.errors import TableError
from pymta.model.dns import WITHHELD, Answer, Lookup
from pymta.ports import Log
from pymta.tables import Maps

_BAD_FILTER = "Invalid DNS reply filter syntax"


class _FilterError(Exception):
    """The filter does not say what to do."""


class FilteredResolver:
    """A HostResolver that shows each record of `resolver` to `maps`, as `name ttl IN type [preference] value`.

    An answer of which nothing is left puts mail off. What the system's own resolver says is not filtered, nor a null
    MX, which is no record of a host.
    """

    def __init__(self, resolver: HostResolver, maps: Maps, log: Log, parameter: str) -> None:
        self._resolver = resolver
        self._maps = maps
        self._log = log
        self._parameter = parameter

    async def query(self, name: str, rdtype: str) -> Answer:
        answer = await self._resolver.query(name, rdtype)
        if answer.status is not Lookup.FOUND:
            return answer
        try:
            return await self._filtered(name, rdtype, answer)
        except _FilterError:
            return _put_off(name, rdtype, _BAD_FILTER)

    async def lookup_native(self, name: str) -> Answer:
        return await self._resolver.lookup_native(name)

    async def _filtered(self, name: str, rdtype: str, answer: Answer) -> Answer:
        start = f"{answer.owner or name}. {int(answer.ttl)} IN {rdtype} "
        mx = tuple(
            [
                one
                for one in answer.mx
                if not one.host or not await self._ignores(f"{start}{one.preference} {one.host}.")
            ]
        )
        values = tuple([one for one in answer.values if not await self._ignores(start + one)])
        if not mx and not values:
            return replace(_put_off(name, rdtype, WITHHELD), withheld=True)
        return replace(answer, mx=mx, values=values)

    async def _ignores(self, record: str) -> bool:
        try:
            action = await self._maps.find(record)
        except TableError as error:
            self._log.warning(f"{self._parameter}: lookup of {record}: {error.message}")
            raise _FilterError from None
        if action is None:
            return False
        if action.strip().partition(" ")[0].upper() != "IGNORE":
            self._log.warning(f'{self._parameter}: unknown DNS filter action: "{action}"')
            raise _FilterError
        self._log.info(f"ignoring DNS RR: {record}")
        return True


def _put_off(name: str, rdtype: str, why: str) -> Answer:
    return Answer(Lookup.TRY_AGAIN, reason=f"Error looking up name={name} type={rdtype}: {why}")
