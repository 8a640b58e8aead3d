"""The sockets of smtpd, and the servers behind them: those of now, and those that only end their sessions."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence

from pymta.app.plan import listen_plan
from pymta.app.wiring import Wiring
from pymta.config import Config
from pymta.errors import ConfigError
from pymta.runtime.sockets import bind, start_listening
from pymta.smtpd import SmtpServer

Sockets = Mapping[str, Sequence[socket.socket]]


def close_sockets(sockets: Sockets) -> None:
    for one in (one for group in sockets.values() for one in group):
        one.close()


def open_sockets(config: Config) -> dict[str, list[socket.socket]]:
    """A bound socket for each place of each smtpd service, by the service's key; raises ConfigError."""
    return {key: [bind(place, {}) for place in places] for key, places in listen_plan(config).items()}


def let_clients_wait(sockets: Sockets) -> None:
    """Listen: from now on the kernel keeps clients for us; raises ConfigError."""
    for one in (one for group in sockets.values() for one in group):
        start_listening(one)


def listen_anew(listening: dict[str, list[socket.socket]], config: Config) -> list[str]:
    """Open what a new configuration adds and close what it no longer has; messages about what cannot be."""
    warnings = []
    plan = listen_plan(config)
    for key in listening.keys() - plan.keys():
        for one in listening.pop(key):
            one.close()
    for key in plan.keys() - listening.keys():
        try:
            opened = {key: [bind(place, {}) for place in plan[key]]}
            let_clients_wait(opened)
            listening |= opened
        except ConfigError as error:
            warnings.append(f"{key}: {error}; it needs a restart")
    return warnings


class Doors:
    """Serves clients by one wiring after the other; the sockets stay open throughout, so a reload refuses nobody."""

    def __init__(self) -> None:
        self.listening: dict[str, list[socket.socket]] = {}
        self._servers: list[SmtpServer] = []

    @property
    def ports(self) -> tuple[int, ...]:
        """The TCP ports in the order of the services."""
        return tuple(one.getsockname()[1] for group in self.listening.values() for one in group)

    async def serve(self, wiring: Wiring) -> None:
        """Let `wiring` take new clients; the servers before it keep the sessions that they have. Raises ConfigError."""
        let_clients_wait(self.listening)
        before = self._servers
        self._servers = list(wiring.servers.values())
        for key, server in wiring.servers.items():
            if key in self.listening:
                # Servers close what they listen on.
                await server.serve([one.dup() for one in self.listening[key]])
        for server in before:
            server.stop_listening()
            if server.connection_count:
                self._servers.append(server)

    async def close(self, drain_seconds: float) -> None:
        """Let sessions end within `drain_seconds`. Twice is harmless."""
        await asyncio.gather(*(server.close(drain_seconds) for server in self._servers))
        close_sockets(self.listening)
        self.listening = {}
