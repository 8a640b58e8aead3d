"""Runs our own mechanisms over a password database: a `SaslBackend`."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from pymta.auth.verify_pool import HashPool
from pymta.errors import AuthUnavailableError
from pymta.model.envelope import Client
from pymta.model.sasl import Mechanism, SaslChallenge, SaslFailure, SaslStep, SaslSuccess, Secret, SecretKind
from pymta.ports import Log, PasswordDatabase, TokenVerifier
from pymta.protocol.sasl.exchange import (
    Ask,
    CheckPassword,
    CheckToken,
    Denied,
    FindSecret,
    Question,
    ServerContext,
    ServerExchange,
)
from pymta.protocol.sasl.mechanisms import SERVERS, offered
from pymta.protocol.sasl.scram import derive_keys, stable_salt

_NO_MECHANISM = SaslFailure("Invalid authentication mechanism")
_TEMPORARY = SaslFailure("cannot be checked now", is_temporary=True)


class PasswordSasl:
    """Mechanisms over `database` and `tokens`, either of which may be missing.

    `names` are the only mechanisms to run (`mech_list` of smtpd.conf), empty for all. `local_domain` completes the
    name of who logged in without one. `can_bind` tells that sessions with TLS have channel bindings.
    """

    def __init__(
        self,
        database: PasswordDatabase | None,
        pool: HashPool,
        log: Log,
        *,
        tokens: TokenVerifier | None = None,
        hostname: str = "localhost",
        names: Sequence[str] = (),
        local_domain: str = "",
        can_bind: bool = False,
    ) -> None:
        self._can_bind = can_bind
        self._local_domain = local_domain
        self._database = database
        self._tokens = tokens
        self._pool = pool
        self._log = log
        self._hostname = hostname
        self._names = frozenset(name.upper() for name in names)
        self._salt_key = os.urandom(32)

    async def mechanisms(self) -> Sequence[Mechanism]:
        kinds = await self._database.secret_kinds() if self._database else SecretKind.NONE
        found = offered(
            kinds, passwords=self._database is not None, tokens=self._tokens is not None, bindings=self._can_bind
        )
        return [one for one in found if not self._names or one.name in self._names]

    def begin(
        self, mechanism: str, client: Client, bindings: Mapping[str, bytes] = MappingProxyType({})
    ) -> PasswordExchange:
        context = ServerContext(
            nonce=lambda: secrets.token_urlsafe(18),
            hostname=self._hostname,
            salt_key=self._salt_key,
            bindings=bindings,
        )
        return PasswordExchange(self, mechanism.upper(), context)

    def close(self) -> None:
        """There is nothing to give back."""

    async def answer(self, question: Question) -> object:
        """What a mechanism wants to know. Raises AuthUnavailableError."""
        if isinstance(question, CheckToken):
            return await self._tokens.verify_token(question.username, question.token) if self._tokens else None
        if self._database is None:
            return None
        if isinstance(question, CheckPassword):
            return await self._database.verify(question.username, question.password)
        if isinstance(question, FindSecret):
            return await self._find(self._database, question)
        return None

    async def _find(self, database: PasswordDatabase, question: FindSecret) -> Secret | None:
        secret = await database.secret(question.username)
        if not question.wants_scram or (secret and secret.scram):
            return secret
        # Keys of a password are made here, and made for nobody too, so that a name costs what it costs.
        password = secret.password if secret else ""
        keys = await self._pool.run(derive_keys, password or "", stable_salt(self._salt_key, question.username))
        return Secret(scram=keys) if secret and secret.password is not None else None

    def completed(self, username: str) -> str:
        return f"{username}@{self._local_domain}" if self._local_domain and "@" not in username else username

    def complain(self, error: Exception) -> None:
        self._log.warning(f"SASL: {error}")


class PasswordExchange:
    """One run of a mechanism."""

    def __init__(self, sasl: PasswordSasl, mechanism: str, context: ServerContext) -> None:
        self._sasl = sasl
        self._server = SERVERS.get(mechanism)
        self._context = context
        self._running: ServerExchange | None = None

    async def step(self, response: bytes | None) -> SaslStep:
        if self._server is None:
            return _NO_MECHANISM
        try:
            return await self._advance(response)
        except Denied as denied:
            return SaslFailure(denied.reason, denied.username)
        except AuthUnavailableError as error:
            self._sasl.complain(error)
        except Exception as error:
            self._sasl.complain(RuntimeError(f"{type(error).__name__}: {error}"))
        return _TEMPORARY

    async def _advance(self, response: bytes | None) -> SaslStep:
        """Answer questions until the client has to speak, or the mechanism is through; raises its Denied."""
        assert self._server is not None
        try:
            if self._running is None:
                self._running = self._server(self._context, response)
                question = next(self._running)
            else:
                question = self._running.send(response or b"")
            while not isinstance(question, Ask):
                question = self._running.send(await self._sasl.answer(question))
        except StopIteration as done:
            return SaslSuccess(self._sasl.completed(done.value))
        return SaslChallenge(question.challenge)

    def cancel(self) -> None:
        if self._running is not None:
            self._running.close()
