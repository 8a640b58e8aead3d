"""A resolver that answers from a dictionary."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from pymta.dns.answers import alias_loop, no_records
from pymta.model.dns import MX, Answer, Lookup

Records = Sequence[str]


class FakeResolver:
    """Zones and failures as values; `queries` lists what was asked.

    `zones` maps a name to its records by type: `{"example.com": {"MX": ["10 mx.example.com"], "A": ["192.0.2.1"]}}`.
    Strings are values; an MX is `PREFERENCE HOST`, `0 .` the null MX. PTR records stand under the address. A name
    that is there without the type has no data, one that is not there does not exist. `failures` are names, or
    (name, type) pairs, that nobody answers for. `secure` names have the AD bit. `native` is the hosts file.
    """

    def __init__(
        self,
        zones: Mapping[str, Mapping[str, Records]] | None = None,
        *,
        failures: Collection[str | tuple[str, str]] = (),
        secure: Collection[str] = (),
        native: Mapping[str, Records] | None = None,
    ) -> None:
        self.zones = {name.lower(): dict(records) for name, records in (zones or {}).items()}
        self.failures = set(failures)
        self.secure = {name.lower() for name in secure}
        self.native = {name.lower(): tuple(values) for name, values in (native or {}).items()}
        self.queries: list[tuple[str, str]] = []

    async def query(self, name: str, rdtype: str) -> Answer:
        self.queries.append((name, rdtype))
        target = name
        for _ in range(10):
            answer = self._records(name, target.lower().removesuffix("."), rdtype)
            if not isinstance(answer, str):
                return answer
            target = answer
        return alias_loop(name)

    def _records(self, name: str, key: str, rdtype: str) -> Answer | str:
        """The answer, or the alias to follow."""
        secure = key in self.secure
        if key in self.failures or (key, rdtype) in self.failures:
            return no_records(name, rdtype, Lookup.TRY_AGAIN)
        zone = self.zones.get(key)
        if zone is None:
            return no_records(name, rdtype, Lookup.NOT_FOUND, 300.0, secure)
        records = zone.get(rdtype)
        if not records and "CNAME" in zone and rdtype != "CNAME":
            return zone["CNAME"][0]
        if not records:
            return no_records(name, rdtype, Lookup.NO_DATA, 300.0, secure)
        if rdtype == "MX":
            return Answer(Lookup.FOUND, mx=tuple(map(_mx, records)), ttl=300.0, secure=secure)
        return Answer(Lookup.FOUND, tuple(records), ttl=300.0, secure=secure)

    async def lookup_native(self, name: str) -> Answer:
        self.queries.append((name, "native"))
        values = self.native.get(name.lower())
        if values is None:
            reason = f"unable to look up host {name}: Name or service not known"
            return Answer(Lookup.NOT_FOUND, reason=reason)
        return Answer(Lookup.FOUND, values, ttl=300.0)


def _mx(record: str) -> MX:
    preference, _, host = record.partition(" ")
    return MX(int(preference), host.removesuffix("."))
