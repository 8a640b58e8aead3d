"""A small DNS server on loopback, over UDP and TCP, with the failures that real ones have."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping, Sequence
from types import TracebackType

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

SOA = "ns.test. hostmaster.test. 1 3600 600 86400 40"


class DnsServer:
    """Serves `zones` (name -> type -> records) with `ttl`. `behaviours` by name: `servfail`, `refused`, `timeout`,
    `garbage`, `truncate` (an empty answer over UDP with TC), `no-chase` (an alias without its target), `late` (after
    `delay` seconds), `ad` (with the AD bit). `queries` counts what arrived."""

    def __init__(
        self,
        zones: Mapping[str, Mapping[str, Sequence[str]]],
        behaviours: Mapping[str, str] | None = None,
        *,
        ttl: int = 300,
        delay: float = 0.1,
    ) -> None:
        self.zones = zones
        self.behaviours = behaviours or {}
        self.ttl = ttl
        self.delay = delay
        self.queries: list[tuple[str, str]] = []
        self.port = 0

    async def __aenter__(self) -> DnsServer:
        loop = asyncio.get_running_loop()
        self._tcp = await asyncio.start_server(self._on_stream, "127.0.0.1", 0)
        self.port = self._tcp.sockets[0].getsockname()[1]
        self._udp, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), ("127.0.0.1", self.port))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._udp.close()
        self._tcp.close()

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.port)

    async def _on_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = struct.unpack("!H", await reader.readexactly(2))[0]
        wire = self.answer(await reader.readexactly(size), tcp=True)
        if wire:
            writer.write(struct.pack("!H", len(wire)) + wire)
            await writer.drain()
        writer.close()

    def behaviour_of(self, wire: bytes) -> str:
        question = dns.message.from_wire(wire).question[0]
        return self.behaviours.get(question.name.to_text().lower().rstrip("."), "")

    def answer(self, wire: bytes, tcp: bool) -> bytes | None:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name, rdtype = question.name.to_text().lower().rstrip("."), dns.rdatatype.to_text(question.rdtype)
        self.queries.append((name, rdtype))
        behaviour = self.behaviours.get(name, "")
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if behaviour == "timeout":
            return None
        if behaviour == "garbage":
            return wire[:2] + b"\xff" * 30
        if behaviour in ("servfail", "refused"):
            response.set_rcode(dns.rcode.SERVFAIL if behaviour == "servfail" else dns.rcode.REFUSED)
        elif behaviour == "truncate" and not tcp:
            response.flags |= dns.flags.TC
        else:
            self._fill(response, name, rdtype, chase=behaviour != "no-chase")
        if behaviour == "ad" and query.flags & dns.flags.AD:
            response.flags |= dns.flags.AD
        return response.to_wire(max_size=65535)

    def _fill(self, response: dns.message.Message, name: str, rdtype: str, chase: bool) -> None:
        for _ in range(20):
            zone = self.zones.get(name)
            if zone is None:
                response.set_rcode(dns.rcode.NXDOMAIN)
                break
            if rdtype in zone:
                response.answer.append(dns.rrset.from_text(f"{name}.", self.ttl, "IN", rdtype, *zone[rdtype]))
                return
            if "CNAME" not in zone:
                break
            target = zone["CNAME"][0]
            alias = dns.rrset.from_text(f"{name}.", self.ttl, "IN", "CNAME", target)
            if alias not in response.answer:
                response.answer.append(alias)
            name = target.rstrip(".")
            if not chase:
                return
        response.authority.append(dns.rrset.from_text("test.", 60, "IN", "SOA", SOA))


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        wire = self._server.answer(data, tcp=False)
        if wire is None:
            return
        if self._server.behaviour_of(data) == "late":
            asyncio.get_running_loop().call_later(self._server.delay, self._transport.sendto, wire, addr)  # type: ignore[attr-defined]
        else:
            self._transport.sendto(wire, addr)  # type: ignore[attr-defined]
