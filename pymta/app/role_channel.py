"""A role's end of its channel to the supervisor: ready, stop, and reloads in two steps so that all go or none."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from pymta.app.wiring import Wiring
from pymta.config import Config
from pymta.errors import ConfigError, PymtaError
from pymta.runtime.processes import Channel, Message

Wire = Callable[[Config], tuple[Wiring, list[str]]]
PutInForce = Callable[[Wiring], Awaitable[list[str]]]


class RoleChannel:
    """Listens from the start and gives signs of life; `serve` says that we are ready and returns when we shall end.

    `listening` are the sockets that came with a reload, by service key.
    """

    def __init__(self, channel: Channel, directory: Path | None) -> None:
        self._channel = channel
        self._directory = directory
        self._loop = asyncio.get_running_loop()
        self._end: asyncio.Future[bool] = self._loop.create_future()
        self._open = asyncio.Event()
        self._reloads: list[asyncio.Future[list[str]]] = []
        self._wire: Wire | None = None
        self._put_in_force: PutInForce | None = None
        self._prepared: Wiring | None = None
        self._task: asyncio.Task[None] | None = None
        self.listening: dict[str, list[socket.socket]] = {}
        self._loop.add_reader(channel.fileno(), self._read)

    def tell(self, message: Message) -> None:
        self._channel.send(message)

    def fail(self, text: str) -> None:
        """Why this role cannot go on; it ends now."""
        self.tell({"op": "failed", "text": text})

    async def unless_ended(self, waiting: Awaitable[object]) -> bool:
        """Wait for `waiting`; False where we shall end before it is done."""
        task = asyncio.ensure_future(waiting)
        both: list[asyncio.Future[Any]] = [task, self._end]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not self._end.done():
            return True
        task.cancel()
        return False

    async def may_open(self) -> bool:
        """Wait until every role is up and clients may be served; False where we shall end before."""
        self.tell({"op": "waiting"})
        return await self.unless_ended(self._open.wait())

    async def serve(self, wire: Wire, put_in_force: PutInForce) -> bool:
        """True where what is under way may end in its own time, False where the supervisor is gone."""
        self._wire, self._put_in_force = wire, put_in_force
        self.tell({"op": "ready"})
        return await asyncio.shield(self._end)

    async def ask_reload(self) -> list[str]:
        """Have all roles reload; warnings. Raises ConfigError where the old configuration stays."""
        answer: asyncio.Future[list[str]] = self._loop.create_future()
        self._reloads.append(answer)
        self.tell({"op": "reload"})
        return await answer

    def _read(self) -> None:
        while True:
            try:
                received = self._channel.receive()
            except BlockingIOError:
                return
            if received is None:
                self._loop.remove_reader(self._channel.fileno())
                self._ends(drain=False)
                return
            message, descriptors = received
            self._take(message, [socket.socket(fileno=one) for one in descriptors])

    def _take(self, message: Message, sockets: list[socket.socket]) -> None:
        operation = message["op"]
        if operation == "ping":
            self.tell({"op": "pong"})
        elif operation == "open":
            self._open.set()
        elif operation == "stop":
            self._ends(drain=True)
        elif operation == "prepare":
            self._answer(*self._prepare())
        elif operation == "apply":
            self._task = asyncio.ensure_future(self._apply(message, sockets))
        elif operation == "reloaded":
            self._reloaded(message)

    def _ends(self, *, drain: bool) -> None:
        if not self._end.done():
            self._end.set_result(drain)

    def _answer(self, messages: list[str], error: str) -> None:
        self.tell({"op": "answer", "messages": messages, "error": error})

    def _prepare(self) -> tuple[list[str], str]:
        if self._directory is None or self._wire is None:
            return [], "there is no configuration to read again"
        try:
            self._prepared, messages = self._wire(Config.load(self._directory))
        except PymtaError as error:
            return [], str(error)
        return messages, ""

    async def _apply(self, message: Message, sockets: list[socket.socket]) -> None:
        self.listening = _by_key(message["listen"], sockets)
        prepared, self._prepared = self._prepared, None
        try:
            if prepared is not None and self._put_in_force is not None:
                self._answer(await self._put_in_force(prepared), "")
        except Exception as error:
            self._answer([f"not all of the new configuration is in force: {error!r}"], "")

    def _reloaded(self, message: Message) -> None:
        reloads, self._reloads = self._reloads, []
        for answer in reloads:
            if answer.done():
                continue
            if message["error"]:
                answer.set_exception(ConfigError(message["error"]))
            else:
                answer.set_result(list(message["messages"]))


def _by_key(layout: list[Any], sockets: list[socket.socket]) -> dict[str, list[socket.socket]]:
    """Listening sockets by service key, as the supervisor counted them out."""
    found: dict[str, list[socket.socket]] = {}
    rest = iter(sockets)
    for key, count in layout:
        found[key] = [next(rest) for _ in range(count)]
    return found
