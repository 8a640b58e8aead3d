"""OAuth 2 access tokens for logins to other hosts: from a file, a command, or by a refresh token (RFC 6749 6).

`oauth2:file:/path` is read for each login; `oauth2:command:/path arg ...` prints the token; `oauth2:refresh:/path`
names a JSON file with `token_endpoint`, `client_id`, `client_secret`, `refresh_token` and perhaps `scope`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pymta.ports import Clock, Log

PREFIX = "oauth2:"
_LIMIT = 65536
_TIMEOUT = 30.0
_COMMAND_LIFETIME = 60.0
_SAFETY = 60.0
_DEFAULT_LIFETIME = 3600.0
_TOKENS_KEPT = 1000

Fetch = Callable[[str, Mapping[str, str]], bytes]


class TokenError(Exception):
    """There is no token; the text says where it was to come from and never shows a secret."""


class TokenSource:
    """Fetches tokens and keeps them while they are good. `fetch` posts a form and gives the answer; it may block."""

    def __init__(self, clock: Clock, log: Log, fetch: Fetch | None = None) -> None:
        self._clock = clock
        self._log = log
        self._fetch = fetch or post_form
        self._kept: dict[str, tuple[str, float]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def token(self, source: str) -> str:
        """The access token of `oauth2:...`. Raises TokenError."""
        async with self._locks.setdefault(source, asyncio.Lock()):
            kept = self._kept.get(source)
            if kept and self._clock.monotonic() < kept[1]:
                return kept[0]
            token, lifetime = await self._get(source)
            if len(self._kept) >= _TOKENS_KEPT:
                self._kept.clear()
            self._kept[source] = (token, self._clock.monotonic() + lifetime)
            return token

    def forget(self, source: str) -> None:
        """The server did not like it: ask anew next time."""
        self._kept.pop(source, None)

    async def _get(self, source: str) -> tuple[str, float]:
        kind, _, rest = source.removeprefix(PREFIX).partition(":")
        if not rest:
            raise TokenError("expected oauth2:file:, oauth2:command: or oauth2:refresh: and what follows it")
        try:
            if kind == "file":
                return _checked(await asyncio.to_thread(_read, rest), rest), 0.0
            if kind == "command":
                return _checked(await _run(rest), shlex.split(rest)[0]), _COMMAND_LIFETIME
            if kind == "refresh":
                return await asyncio.to_thread(self._refresh, Path(rest))
        except (OSError, ValueError, TimeoutError) as error:
            raise TokenError(f"{kind} {rest.split()[0]}: {_cause(error)}") from error
        raise TokenError(f"oauth2:{kind}: is not known; use file, command or refresh")

    def _refresh(self, path: Path) -> tuple[str, float]:
        """Runs in a thread. A refresh token that the server replaces is written back."""
        account = json.loads(_read(str(path)))
        if not isinstance(account, dict):
            raise ValueError("expected a JSON object")
        endpoint = str(account.get("token_endpoint", ""))
        _check_endpoint(endpoint)
        form = {"grant_type": "refresh_token"}
        for name in ("client_id", "client_secret", "refresh_token", "scope"):
            if account.get(name):
                form[name] = str(account[name])
        answer = json.loads(self._fetch(endpoint, form)[:_LIMIT])
        token = answer.get("access_token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not token:
            raise ValueError("the token endpoint gave no access_token")
        self._keep_refresh_token(path, account, answer)
        lifetime = answer.get("expires_in", _DEFAULT_LIFETIME)
        seconds = float(lifetime) if str(lifetime).replace(".", "", 1).isdecimal() else _DEFAULT_LIFETIME
        return _checked(token, str(path)), max(0.0, min(seconds, 86400.0) - _SAFETY)

    def _keep_refresh_token(self, path: Path, account: dict[str, Any], answer: dict[str, Any]) -> None:
        fresh = answer.get("refresh_token")
        if not isinstance(fresh, str) or not fresh or fresh == account.get("refresh_token"):
            return
        new = path.with_name(f".{path.name}.new")
        try:
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump({**account, "refresh_token": fresh}, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
        except OSError as error:
            self._log.warning(f"{path}: cannot keep the new refresh token: {error.strerror}; the old one may end")


def post_form(endpoint: str, form: Mapping[str, str]) -> bytes:
    """POST a form by HTTPS; blocks. Raises OSError, of which urllib's errors are."""
    data = urllib.parse.urlencode(form).encode()
    request = urllib.request.Request(endpoint, data, {"Accept": "application/json"})  # noqa: S310  # checked before
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310  # as above
        return bytes(answer.read(_LIMIT))


def _check_endpoint(endpoint: str) -> None:
    """Secrets go there: only by TLS, or to this host."""
    parts = urllib.parse.urlsplit(endpoint)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme != "http" or parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise ValueError("token_endpoint must be an https: address")


async def _run(command: str) -> str:
    argv = shlex.split(command)
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_TIMEOUT):
            output = bytearray()
            while (piece := await process.stdout.read(_LIMIT)) and len(output) <= _LIMIT:
                output += piece
            code = await process.wait() if len(output) <= _LIMIT else -1
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if code:
        raise ValueError(f"ended with exit status {code}")
    return bytes(output).decode("utf-8", "replace")


def _read(path: str) -> str:
    with open(path, "rb") as file:  # noqa: PTH123  # a bounded read
        return file.read(_LIMIT).decode("utf-8", "replace")


def _checked(text: str, where: str) -> str:
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise TokenError(f"{where}: no access token there")
    return token


def _cause(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
