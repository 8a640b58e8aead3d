"""Connections to policy services: the client's side of SMTPD_POLICY_README."""

from __future__ import annotations

import asyncio
import os
import time
from collections import OrderedDict
from pathlib import Path
from typing import Protocol

from pymta.ports import Log

# Postfix has one connection per smtpd process and service, and 100 such processes.
CONNECTION_LIMIT = 100
_LINE_LIMIT = 65536
_ATTRIBUTE_LIMIT = 100
_INSTANCES_KEPT = 1000
_LOCALHOST = "localhost"


class Terms(Protocol):
    """How one service is asked; times in seconds. `endpoint` is `inet:host:port` or `unix:path`."""

    @property
    def endpoint(self) -> str: ...
    @property
    def max_idle(self) -> float: ...
    @property
    def max_ttl(self) -> float: ...
    @property
    def request_limit(self) -> int: ...
    @property
    def retry_delay(self) -> float: ...
    @property
    def timeout(self) -> float: ...
    @property
    def try_limit(self) -> int: ...


class PolicyDaemons:
    """All policy services of one configuration; `close` when done. Relative sockets are below `directory`."""

    def __init__(self, directory: Path, log: Log) -> None:
        self.process_tag = f"{os.getpid():x}.{int(time.time()):x}"
        self._directory = directory
        self._log = log
        self._services: dict[str, _Service] = {}

    async def ask(self, terms: Terms, request: bytes, instance: str) -> str | None:
        """The action that the service answers with; None, with the cause in the log, where it does not.

        Requests of the same `instance` go over the same connection for as long as it lasts.
        """
        service = self._services.get(terms.endpoint)
        if service is None:
            service = self._services[terms.endpoint] = _Service(_place(terms.endpoint, self._directory))
        for attempt in range(1, terms.try_limit + 1):
            problem = await self._attempt(service, terms, request, instance, attempt == terms.try_limit)
            if isinstance(problem, _Answer):
                return problem.action
            if attempt < terms.try_limit:
                await asyncio.sleep(terms.retry_delay)
        return None

    async def _attempt(
        self, service: _Service, terms: Terms, request: bytes, instance: str, last: bool
    ) -> _Answer | None:
        shown = terms.endpoint.partition(":")[2]
        try:
            return _Answer(await service.ask(terms, request, instance))
        except _ConnectError as error:
            self._log.warning(f"connect to {shown}: {error}")
            problem, always = str(error), True
        except TimeoutError:
            problem, always = os.strerror(110), True
        except (OSError, EOFError, ValueError) as error:
            if isinstance(error, ValueError):
                self._log.warning(f"{error} in input from {shown}")
            problem, always = "Application error", False
        if always or last:
            self._log.warning(f"problem talking to server {shown}: {problem}")
        return None

    def close(self) -> None:
        for service in self._services.values():
            service.close()


class _Answer:
    def __init__(self, action: str) -> None:
        self.action = action


class _ConnectError(Exception):
    """No connection; the text is the system's."""


class _Place:
    """A unix socket's path, or a host and port."""

    def __init__(self, path: str = "", host: str = "", port: str = "") -> None:
        self._path = path
        self._host = host
        self._port = port

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            if self._path:
                return await asyncio.open_unix_connection(self._path, limit=_LINE_LIMIT)
            return await asyncio.open_connection(self._host, self._port, limit=_LINE_LIMIT)
        except OSError as error:
            # Of several addresses asyncio puts all causes into one text; the number names them well enough.
            raise _ConnectError(os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)) from error


def _place(endpoint: str, directory: Path) -> _Place:
    kind, _, text = endpoint.partition(":")
    if kind != "inet":
        return _Place(path=text if text.startswith("/") else str(directory / text))
    host, _, port = text.rpartition(":")
    return _Place(host=host.strip("[]") or _LOCALHOST, port=port)


class _Service:
    """The connections to one service: at most `CONNECTION_LIMIT`, each asked by one session at a time."""

    def __init__(self, place: _Place) -> None:
        self._place = place
        self._links: list[_Link] = []
        self._by_instance: OrderedDict[str, _Link] = OrderedDict()

    async def ask(self, terms: Terms, request: bytes, instance: str) -> str:
        link = self._link(instance)
        link.users += 1
        try:
            async with link.lock, asyncio.timeout(terms.timeout):
                return await link.ask(terms, request)
        finally:
            link.users -= 1

    def _link(self, instance: str) -> _Link:
        link = self._by_instance.get(instance) or self._least_used()
        if instance:
            self._by_instance[instance] = link
            self._by_instance.move_to_end(instance)
            if len(self._by_instance) > _INSTANCES_KEPT:
                self._by_instance.popitem(last=False)
        return link

    def _least_used(self) -> _Link:
        """A connection that nobody uses, the first for preference, so that those not needed grow old."""
        link = min(self._links, key=lambda one: one.users, default=None)
        if link is None or (link.users and len(self._links) < CONNECTION_LIMIT):
            link = _Link(self._place)
            self._links.append(link)
        return link

    def close(self) -> None:
        for link in self._links:
            link.close()


class _Link:
    """One connection, opened when it is needed. Only the holder of `lock` may `ask`."""

    def __init__(self, place: _Place) -> None:
        self.lock = asyncio.Lock()
        self.users = 0
        self._place = place
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._opened = 0.0
        self._requests = 0
        self._expiry: asyncio.TimerHandle | None = None

    async def ask(self, terms: Terms, request: bytes) -> str:
        """Raises _ConnectError, OSError, EOFError, or ValueError for an answer without an action."""
        if self._expiry:
            self._expiry.cancel()
        if self._writer is not None:
            try:
                return await self._exchange(terms, request)
            except (OSError, EOFError):
                # The service may have ended an idle connection at any time: that is no failure yet.
                self.close()
        self._reader, self._writer = await self._place.open()
        self._opened, self._requests = time.monotonic(), 0
        return await self._exchange(terms, request)

    async def _exchange(self, terms: Terms, request: bytes) -> str:
        assert self._reader and self._writer
        try:
            self._writer.write(request)
            await self._writer.drain()
            action = await _read_action(self._reader)
        except BaseException:
            # What is left of an answer must not be taken for the next one.
            self.close()
            raise
        self._requests += 1
        self._rest(terms)
        return action

    def _rest(self, terms: Terms) -> None:
        left = terms.max_ttl - (time.monotonic() - self._opened)
        if left <= 0 or 0 < terms.request_limit <= self._requests:
            self.close()
        else:
            self._expiry = asyncio.get_running_loop().call_later(min(left, terms.max_idle), self._expire)

    def _expire(self) -> None:
        if not self.lock.locked():
            self.close()

    def close(self) -> None:
        if self._expiry:
            self._expiry.cancel()
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


async def _read_action(reader: asyncio.StreamReader) -> str:
    """The first `action=`; other attributes are none of ours. An answer ends with an empty line."""
    action: str | None = None
    for _ in range(_ATTRIBUTE_LIMIT):
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            raise ValueError("unreasonably long attribute") from None
        if line == b"\n":
            if action is None:
                raise ValueError("missing attribute action")
            return action
        name, sign, value = line[:-1].decode("utf-8", "replace").partition("=")
        if sign and name == "action" and action is None:
            action = value.partition("\0")[0]
    raise ValueError("too many attributes")
