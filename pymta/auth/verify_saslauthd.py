"""saslauthd: Cyrus' daemon that checks passwords against PAM, shadow, LDAP ... (saslauthd(8)), and its protocol."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable

from pymta.auth.verify_cache import LoginCache, no_cache
from pymta.errors import AuthUnavailableError
from pymta.model.sasl import Secret, SecretKind

DEFAULT_PATH = "/var/run/saslauthd/mux"
_TIMEOUT = 30.0
_MAX_ANSWER = 2048
_MAX_FIELD = 1024
_YES, _NO = b"OK", b"NO"


class Saslauthd:
    """A `PasswordDatabase` that asks the daemon behind a Unix socket; only PLAIN and LOGIN can use it.

    `realm` is that of names without one; with `is_only_realm` there are no others. A good password stays good for as
    long as `cache` says, whatever the daemon may think of it meanwhile.
    """

    def __init__(
        self,
        path: str,
        *,
        service: str = "smtp",
        realm: str = "",
        is_only_realm: bool = False,
        cache: LoginCache | None = None,
    ) -> None:
        self._path = path
        self._cache = cache or no_cache()
        self._is_only_realm = is_only_realm
        self._service = service
        self._realm = realm

    async def verify(self, username: str, password: str) -> bool:
        name, at, domain = username.rpartition("@")
        user, realm = (name, domain) if at else (username, self._realm)
        if self._is_only_realm and realm.lower() != self._realm.lower():
            return False
        fields = [text.encode() for text in (user, password, self._service, realm)]
        if any(len(field) > _MAX_FIELD for field in fields):
            return False
        proof = (self._path, user, realm, self._service, password)
        if self._cache.knows(*proof):
            return True
        request = b"".join(struct.pack("!H", len(field)) + field for field in fields)
        try:
            async with asyncio.timeout(_TIMEOUT):
                answer = await self._ask(request)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise AuthUnavailableError(f"cannot connect to saslauthd server {self._path}: {error}") from error
        if not answer.startswith((_YES, _NO)):
            raise AuthUnavailableError(f"{self._path}: {answer.decode('utf-8', 'replace')}")
        if answer.startswith(_YES):
            self._cache.keep(*proof)
        return answer.startswith(_YES)

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


def answer_saslauthd(connection: socket.socket, check: Callable[[str, str], bool]) -> None:
    """The daemon's side: one question about a name and a password, one answer. Blocks; may raise OSError.

    What keeps `check` from an answer (AuthUnavailableError) is told in words.
    """
    connection.settimeout(_TIMEOUT)
    username, password, _, _ = (_field(connection).decode("utf-8", "replace") for _ in range(4))
    try:
        answer = _YES if check(username, password) else _NO
    except AuthUnavailableError as error:
        answer = f"ER {error}".encode()[:_MAX_ANSWER]
    connection.sendall(struct.pack("!H", len(answer)) + answer)


def _field(connection: socket.socket) -> bytes:
    (length,) = struct.unpack("!H", _exactly(connection, 2))
    if length > _MAX_FIELD:
        raise ConnectionError("a field is too long")
    return _exactly(connection, length)


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise ConnectionError("the other side has gone")
        data += piece
    return data
