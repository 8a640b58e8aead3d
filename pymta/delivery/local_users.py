"""The system's users."""

from __future__ import annotations

import asyncio
import pwd
from collections.abc import Callable
from typing import Protocol

from pymta.model.frozen import frozen
from pymta.ports import Clock

_KEEP = 5.0
_MANY = 10_000


@frozen
class User:
    """One entry of passwd(5)."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str = ""


class Users(Protocol):
    """Who has an account here; may ask a directory service."""

    async def by_name(self, name: str) -> User | None: ...

    async def by_uid(self, uid: int) -> User | None: ...


class SystemUsers:
    """getpwnam(3) and getpwuid(3) in a thread; an answer is kept for five seconds, a missing user is not."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[str | int, tuple[float, User]] = {}

    async def by_name(self, name: str) -> User | None:
        return await self._find(name, lambda: pwd.getpwnam(name))

    async def by_uid(self, uid: int) -> User | None:
        return await self._find(uid, lambda: pwd.getpwuid(uid))

    async def _find(self, key: str | int, ask: Callable[[], pwd.struct_passwd]) -> User | None:
        until, user = self._known.get(key, (0.0, None))
        if user is not None and self._clock.monotonic() < until:
            return user
        try:
            entry = await asyncio.get_running_loop().run_in_executor(None, ask)
        except (KeyError, ValueError):
            # ValueError: a name with NUL or what the system's encoding cannot say is nobody's.
            return None
        user = User(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir, entry.pw_shell)
        if len(self._known) >= _MANY:
            self._known.clear()
        self._known[key] = (self._clock.monotonic() + _KEEP, user)
        return user
