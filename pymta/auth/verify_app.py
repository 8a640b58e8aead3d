"""An app's own answers: async functions as password database and token verifier."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pymta.model.sasl import Secret, SecretKind

CheckFunction = Callable[[str, str], Awaitable[bool]]
TokenFunction = Callable[[str, str], Awaitable[str | None]]


class PasswordFunction:
    """A `PasswordDatabase` from `async check(username, password) -> bool`; an exception is a temporary failure."""

    def __init__(self, check: CheckFunction) -> None:
        self._check = check

    async def verify(self, username: str, password: str) -> bool:
        # An answer that is not exactly True lets nobody in: a forgotten `return` must not.
        return await self._check(username, password) is True

    async def secret(self, username: str) -> Secret | None:
        return None

    async def secret_kinds(self) -> SecretKind:
        return SecretKind.NONE


class TokenCheck:
    """A `TokenVerifier` from `async check(username, token)`, which gives whose token it is, or None."""

    def __init__(self, check: TokenFunction) -> None:
        self._check = check

    async def verify_token(self, username: str, token: str) -> str | None:
        owner = await self._check(username, token)
        return owner if isinstance(owner, str) and owner else None
