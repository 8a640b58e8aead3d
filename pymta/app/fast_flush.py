"""Whose mail may be asked for: ETRN, `postqueue -s` and `sendmail -qR` (postfix ETRN_README)."""

from __future__ import annotations

from pymta.config import Config, build
from pymta.model.frozen import frozen
from pymta.ports import Queue
from pymta.tables import TableFactory


@frozen
class FlushSettings:
    """postconf(5) fast_flush_domains."""

    fast_flush_domains: str
    parent_domain_matches_subdomains: tuple[str, ...]


class FastFlush:
    """`ports.SiteFlush` for the sites of `fast_flush_domains`."""

    def __init__(self, config: Config, tables: TableFactory, queue: Queue) -> None:
        settings = build(FlushSettings, config)
        parents = "fast_flush_domains" in settings.parent_domain_matches_subdomains
        self._domains = tables.domain_list(settings.fast_flush_domains, parents, title="fast_flush_domains")
        self._queue = queue

    async def flush_site(self, site: str) -> bool:
        if not await self._domains.matches(site):
            return False
        await self._queue.flush_site(site)
        return True
