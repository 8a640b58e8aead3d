"""saslauthd: Cyrus' daemon that checks passwords against PAM, shadow, LDAP ... (saslauthd(8))."""

from __future__ import annotations

import asyncio
import struct

from pymta.errors import AuthUnavailableError
from pymta.model.sasl import Secret, SecretKind

DEFAULT_PATH = "/var/run/saslauthd/mux"
_TIMEOUT = 30.0
_MAX_ANSWER = 2048
_MAX_FIELD = 1024


class Saslauthd:
    """A `PasswordDatabase` that asks the daemon behind a Unix socket; only PLAIN and LOGIN can use it."""

    def __init__(self, path: str, *, service: str = "smtp", realm: str = "") -> None:
        self._path = path
        self._service = service
        self._realm = realm

    async def verify(self, username: str, password: str) -> bool:
        name, at, domain = username.rpartition("@")
        user, realm = (name, domain) if at else (username, self._realm)
        fields = [text.encode() for text in (user, password, self._service, realm)]
        if any(len(field) > _MAX_FIELD for field in fields):
            return False
        request = b"".join(struct.pack("!H", len(field)) + field for field in fields)
        try:
            async with asyncio.timeout(_TIMEOUT):
                answer = await self._ask(request)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise AuthUnavailableError(f"cannot connect to saslauthd server {self._path}: {error}") from error
        return answer.startswith(b"OK")

    async def _ask(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(self._path)
        try:
            writer.write(request)
            await writer.drain()
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            return await reader.readexactly(min(length, _MAX_ANSWER))
        finally:
            writer.close()

    async def secret(self, username: str) -> Secret | None:
        return None

    async def secret_kinds(self) -> SecretKind:
        return SecretKind.NONE
