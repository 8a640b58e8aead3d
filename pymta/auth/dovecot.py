"""Dovecot's auth service as SASL backend: the protocol between its login processes and it (auth-protocol.txt 1.x)."""

from __future__ import annotations

import asyncio
import binascii
import secrets
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from pymta.errors import AuthUnavailableError
from pymta.model.envelope import Client
from pymta.model.frozen import frozen
from pymta.model.sasl import Mechanism, MechanismFlag, SaslChallenge, SaslFailure, SaslStep, SaslSuccess
from pymta.ports import Log
from pymta.protocol.sasl.mechanisms import without_bindings

_TIMEOUT = 30.0
_CONNECT_TIMEOUT = 5.0
# Seconds after a connection that failed in which no other is tried.
_PAUSE = 1.0
_LINE_LIMIT = 65536
_PENDING_LIMIT = 1000
_MAX_MECHANISMS = 100
_FLAGS = {
    "plaintext": MechanismFlag.PLAINTEXT,
    "dictionary": MechanismFlag.DICTIONARY,
    "active": MechanismFlag.ACTIVE,
    "anonymous": MechanismFlag.ANONYMOUS,
    "forward-secrecy": MechanismFlag.FORWARD_SECRECY,
    "mutual-auth": MechanismFlag.MUTUAL_AUTH,
}
_ESCAPES = {"0": "\0", "1": "\1", "t": "\t", "r": "\r", "n": "\n"}
_TEMPORARY = SaslFailure("cannot be checked now", is_temporary=True)


@frozen
class DovecotAddress:
    """Where the service listens: a Unix socket's path, or a host and port."""

    path: str = ""
    host: str = ""
    port: int = 0

    @classmethod
    def parse(cls, text: str, directory: str) -> DovecotAddress:
        """`smtpd_sasl_path`: `inet:host:port`, `unix:path` or a path; relative to `directory`. Raises ValueError."""
        if text.startswith("inet:"):
            host, _, port = text.removeprefix("inet:").rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 65536:
                raise ValueError(f'expected inet:host:port instead of "{text}"')
            return cls(host=host.strip("[]"), port=int(port))
        path = text.removeprefix("unix:")
        return cls(path if path.startswith("/") else f"{directory}/{path}")

    def __str__(self) -> str:
        return self.path or f"inet:{self.host}:{self.port}"


class DovecotSasl:
    """A `SaslBackend` over one connection, opened when it is needed and again when it broke.

    `service` is `smtpd_sasl_service`. Any number of exchanges run at once, told apart by their ids.
    """

    def __init__(self, address: DovecotAddress, log: Log, *, service: str = "smtp", timeout: float = _TIMEOUT) -> None:
        self.service = service
        self.timeout = timeout
        self._address = address
        self._log = log
        self._link: _Link | None = None
        self._connecting = asyncio.Lock()
        self._failure: AuthUnavailableError | None = None
        self._try_again = 0.0

    async def mechanisms(self) -> Sequence[Mechanism]:
        # The protocol as Dovecot 2.3 speaks it has no words for what to bind to.
        return without_bindings((await self.link()).mechanisms)

    def begin(
        self, mechanism: str, client: Client, bindings: Mapping[str, bytes] = MappingProxyType({})
    ) -> DovecotExchange:
        return DovecotExchange(self, mechanism.upper(), client)

    async def link(self) -> _Link:
        """The connection, past its handshake. Raises AuthUnavailableError."""
        async with self._connecting:
            if self._link is None or not self._link.is_alive:
                now = asyncio.get_running_loop().time()
                if self._failure and now < self._try_again:
                    # New clients are greeted while it is away: they must not all wait for it in turn.
                    raise AuthUnavailableError(str(self._failure))
                try:
                    self._link, self._failure = await self._connect(), None
                except AuthUnavailableError as error:
                    self._failure = error
                    self._try_again = asyncio.get_running_loop().time() + _PAUSE
                    raise
            return self._link

    async def _connect(self) -> _Link:
        place = self._address
        try:
            async with asyncio.timeout(min(self.timeout, _CONNECT_TIMEOUT)):
                reader, writer = (
                    await asyncio.open_unix_connection(place.path, limit=_LINE_LIMIT)
                    if place.path
                    else await asyncio.open_connection(place.host, place.port, limit=_LINE_LIMIT)
                )
                link = _Link(reader, writer)
                try:
                    await link.shake_hands()
                except BaseException:
                    link.close()
                    raise
        except (OSError, TimeoutError, ValueError, EOFError) as error:
            raise AuthUnavailableError(f"SASL: connect to Dovecot auth socket '{place}' failed: {error}") from error
        return link

    def close(self) -> None:
        if self._link:
            self._link.close()

    def complain(self, error: Exception) -> None:
        self._log.warning(str(error))


class _Link:
    """One connection: requests go out with an id, answers find their way back by it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.mechanisms: tuple[Mechanism, ...] = ()
        self._reader = reader
        self._writer = writer
        self._last_id = 0
        self._waiting: dict[str, asyncio.Future[list[str]]] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def is_alive(self) -> bool:
        return self._task is not None and not self._task.done()

    async def shake_hands(self) -> None:
        """Read what the server can do. It wants a number that no other connection has; we have no process each."""
        self._writer.write(f"VERSION\t1\t1\nCPID\t{secrets.randbelow(1 << 30) + 1}\n".encode())
        found: dict[str, Mechanism] = {}
        while True:
            words = await self._read()
            if words[0] == "VERSION" and words[1:2] != ["1"]:
                raise ValueError(f"protocol version {words[1:2]} instead of 1")
            if words[0] == "MECH" and len(words) > 1 and len(found) < _MAX_MECHANISMS:
                found[words[1].upper()] = _mechanism(words)
            elif words[0] == "DONE":
                break
        self.mechanisms = tuple(found.values())
        self._task = asyncio.create_task(self._receive())

    def new_id(self) -> str:
        self._last_id += 1
        return str(self._last_id)

    async def ask(self, request_id: str, line: str, timeout: float) -> list[str]:
        """Send a request, wait for its answer. Raises AuthUnavailableError."""
        if len(self._waiting) >= _PENDING_LIMIT or not self.is_alive:
            raise AuthUnavailableError("SASL: Dovecot's auth service has too much to do, or is gone")
        answer: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = answer
        try:
            self._writer.write(line.encode())
            async with asyncio.timeout(timeout):
                return await answer
        except (OSError, TimeoutError) as error:
            raise AuthUnavailableError("SASL: Dovecot's auth service does not answer") from error
        finally:
            self._waiting.pop(request_id, None)

    def tell(self, line: str) -> None:
        if self.is_alive:
            self._writer.write(line.encode())

    def close(self) -> None:
        if self._task:
            self._task.cancel()
        self._writer.close()

    async def _read(self) -> list[str]:
        line = await self._reader.readline()
        if not line.endswith(b"\n"):
            raise EOFError("the connection was closed")
        return [_unescaped(word) for word in line.decode("utf-8", "replace").rstrip("\n").split("\t")]

    async def _receive(self) -> None:
        try:
            while True:
                words = await self._read()
                answer = self._waiting.get(words[1]) if len(words) > 1 else None
                if answer and not answer.done():
                    answer.set_result(words)
        except (OSError, ValueError, EOFError):
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(AuthUnavailableError("SASL: lost connection with Dovecot's auth service"))
        finally:
            self._writer.close()


class DovecotExchange:
    """One client's attempt; the mechanism runs in Dovecot."""

    def __init__(self, sasl: DovecotSasl, mechanism: str, client: Client) -> None:
        self._sasl = sasl
        self._mechanism = mechanism
        self._client = client
        self._link: _Link | None = None
        self._id = ""

    async def step(self, response: bytes | None) -> SaslStep:
        try:
            words = await self._ask(response)
        except AuthUnavailableError as error:
            self._sasl.complain(error)
            return _TEMPORARY
        return _read_answer(words)

    def cancel(self) -> None:
        if self._link:
            self._link.tell(f"CANCEL\t{self._id}\n")

    async def _ask(self, response: bytes | None) -> list[str]:
        if self._link is None:
            self._link = await self._sasl.link()
            self._id = self._link.new_id()
            line = f"AUTH\t{self._id}\t{self._request(response)}\n"
        else:
            line = f"CONT\t{self._id}\t{b64encode(response or b'').decode()}\n"
        return await self._link.ask(self._id, line, self._sasl.timeout)

    def _request(self, response: bytes | None) -> str:
        client = self._client
        fields = [self._mechanism, f"service={self._sasl.service}", "nologin"]
        fields += [f"lip={client.server_address}"] if client.server_address else []
        fields += [f"rip={client.address}"]
        fields += [f"lport={client.server_port}"] if client.server_port.isdecimal() else []
        fields += [f"rport={client.port}"] if client.port.isdecimal() else []
        fields += ["secured"] if client.tls else []
        # The protocol wants it last.
        fields += [f"resp={b64encode(response).decode() or '='}"] if response is not None else []
        return "\t".join(fields)


def _read_answer(words: list[str]) -> SaslStep:
    values = dict(word.partition("=")[::2] for word in words[2:])
    if words[0] == "CONT":
        try:
            return SaslChallenge(b64decode(words[2] if len(words) > 2 else "", validate=True))
        except (binascii.Error, ValueError):
            return _TEMPORARY
    username = values.get("user", "")
    if words[0] == "OK" and username:
        return SaslSuccess(username)
    is_temporary = "temp" in values or values.get("code") == "temp_fail"
    return SaslFailure(values.get("reason", ""), username, is_temporary)


def _mechanism(words: Sequence[str]) -> Mechanism:
    flags = MechanismFlag.NONE
    for word in words[2:]:
        flags |= _FLAGS.get(word, MechanismFlag.NONE)
    return Mechanism(words[1].upper(), flags)


def _unescaped(text: str, escapes: Mapping[str, str] = _ESCAPES) -> str:
    """`\\001` and a character stand for what would be read as structure."""
    if "\1" not in text:
        return text
    first, *rest = text.split("\1")
    return first + "".join(escapes.get(part[:1], part[:1]) + part[1:] for part in rest)
