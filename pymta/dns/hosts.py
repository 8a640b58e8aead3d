"""Names as the system's own programs see them: /etc/hosts before DNS (hosts(5), getnameinfo(3))."""

from __future__ import annotations

import ipaddress
import time
from functools import lru_cache
from pathlib import Path

from pymta.model.dns import Answer, Lookup
from pymta.ports import Resolver

_HOSTS = Path("/etc/hosts")
_CHECK_SECONDS = 5.0
_SIZE_LIMIT = 4 << 20


class SystemNames:
    """A Resolver for the names of clients: A, AAAA and PTR come from the hosts file where it has them."""

    def __init__(self, resolver: Resolver, path: Path = _HOSTS) -> None:
        self._resolver = resolver
        self._path = path
        self._due = 0.0
        self._stamp: tuple[int, int] | None = None
        self._answers: dict[tuple[str, str], Answer] = {}

    async def query(self, name: str, rdtype: str) -> Answer:
        if time.monotonic() >= self._due:
            self._refresh()
        key = (_address(name) if rdtype == "PTR" else name.lower().rstrip("."), rdtype)
        return self._answers.get(key) or await self._resolver.query(name, rdtype)

    def _refresh(self) -> None:
        """Read the file where it changed; next time in some seconds."""
        self._due = time.monotonic() + _CHECK_SECONDS
        try:
            info = self._path.stat()
            stamp = (info.st_mtime_ns, info.st_size)
            if stamp != self._stamp and info.st_size <= _SIZE_LIMIT:
                self._answers = parse_hosts(self._path.read_text(errors="replace"))
                self._stamp = stamp
        except OSError:
            self._answers = {}


@lru_cache(maxsize=4096)
def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text


def parse_hosts(text: str) -> dict[tuple[str, str], Answer]:
    """hosts(5) as answers by name and type; the first name of an address is its PTR."""
    found: dict[tuple[str, str], list[str]] = {}
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) < 2 or "%" in words[0]:
            continue
        try:
            address = ipaddress.ip_address(words[0])
        except ValueError:
            continue
        found.setdefault((str(address), "PTR"), words[1:2])
        for name in words[1:]:
            values = found.setdefault((name.lower(), "AAAA" if address.version == 6 else "A"), [])
            if str(address) not in values:
                values.append(str(address))
    return {key: Answer(Lookup.FOUND, tuple(values)) for key, values in found.items()}
