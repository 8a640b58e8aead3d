"""Who may ask what of the running program, and the answers."""

from __future__ import annotations

import os
import pwd
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from pymta.control.queue import QueueCommands
from pymta.model.frozen import frozen
from pymta.model.reply import Reply
from pymta.protocol.control import Request
from pymta.runtime.control import Body, Caller, ControlRefused
from pymta.tables import TableFactory

Submit = Callable[[Mapping[str, Any], int, AsyncIterator[bytes]], Awaitable[Reply]]
Rows = AsyncIterator[Mapping[str, Any]]


@frozen(kw_only=True)
class ControlSettings:
    """postconf(5) authorized_mailq_users and authorized_flush_users."""

    authorized_mailq_users: str
    authorized_flush_users: str


@frozen
class Hooks:
    """What only the composition root can do. `reload` returns messages for the caller."""

    submit: Submit
    status: Callable[[], Awaitable[Mapping[str, Any]]]
    reload: Callable[[], Awaitable[list[str]]]
    stop: Callable[[], None]
    flush_site: Callable[[str], Awaitable[bool]]


class ControlService:
    """Handles requests of the control socket.

    root and the user that the program runs as may do everything; others may submit, list and flush where the
    `authorized_*_users` say so, and ask for the status.
    """

    def __init__(self, settings: ControlSettings, tables: TableFactory, queue: QueueCommands, hooks: Hooks) -> None:
        self._queue = queue
        self._hooks = hooks
        self._allowed = {
            "list": tables.string_list(settings.authorized_mailq_users),
            "count": tables.string_list(settings.authorized_mailq_users),
            "flush": tables.string_list(settings.authorized_flush_users),
            "flush_site": tables.string_list(settings.authorized_flush_users),
        }

    async def handle(self, request: Request, caller: Caller, body: Body) -> Rows:
        await self._authorize(request.command, caller)
        if request.command in self._queue.names:
            async for row in self._queue.run(request.command, request.arguments):
                yield row
        elif request.command == "flush_site":
            await self._flush_site(request.arguments)
        elif request.command == "submit":
            yield await self._submit(request.arguments, caller, body)
        elif request.command == "status":
            yield await self._hooks.status()
        elif request.command == "reload":
            for message in await self._hooks.reload():
                yield {"message": message}
        elif request.command == "stop":
            self._hooks.stop()
        else:
            raise ControlRefused(f"unknown command {request.command!r}")

    async def _authorize(self, command: str, caller: Caller) -> None:
        if caller.uid in (0, os.geteuid()) or command in ("submit", "status"):
            return
        users = self._allowed.get(command)
        if users is None or not await users.matches(_login(caller.uid)):
            raise ControlRefused(
                f"User {_login(caller.uid)}({caller.uid}) is not allowed to {command.partition('_')[0]} the mail queue"
            )

    async def _flush_site(self, arguments: Mapping[str, Any]) -> None:
        site = arguments.get("site")
        if not isinstance(site, str):
            raise ValueError("site is not a text")
        if not await self._hooks.flush_site(site):
            raise ControlRefused(f'Flush service is not configured for destination "{site}"')

    async def _submit(self, arguments: Mapping[str, Any], caller: Caller, body: Body) -> Mapping[str, Any]:
        reply = await self._hooks.submit(arguments, caller.uid, body.chunks())
        if not reply.is_positive:
            raise ControlRefused(str(reply), temporary=reply.is_temporary)
        return {"reply": str(reply)}


def _login(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
