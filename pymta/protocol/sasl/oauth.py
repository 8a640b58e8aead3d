"""OAUTHBEARER (RFC 7628) and XOAUTH2 (Google, Microsoft): an access token instead of a password."""

from __future__ import annotations

import json
from collections.abc import Generator

from pymta.protocol.sasl.exchange import Ask, CheckToken, Denied, Question, ServerContext, answer_bytes, decoded

_KVSEP = "\x01"
_BAD = "bad protocol / cancel"


def oauthbearer_server(_: ServerContext, initial: bytes | None) -> Generator[Question, object, str]:
    """`n,a=user,^Ahost=..^Aport=..^Aauth=Bearer token^A^A`."""
    text = decoded(initial if initial is not None else answer_bytes((yield Ask())))
    header, separator, rest = text.partition(_KVSEP)
    words = header.split(",")
    if not separator or len(words) != 3 or words[0] not in ("n", "y") or words[2]:
        raise Denied(_BAD)
    username = words[1].removeprefix("a=").replace("=2C", ",").replace("=3D", "=")
    return (yield from _check(username, _fields(rest).get("auth", "")))


def xoauth2_server(_: ServerContext, initial: bytes | None) -> Generator[Question, object, str]:
    """`user=name^Aauth=Bearer token^A^A`."""
    fields = _fields(decoded(initial if initial is not None else answer_bytes((yield Ask()))))
    if not fields.get("user"):
        raise Denied(_BAD)
    return (yield from _check(fields["user"], fields.get("auth", "")))


def _check(username: str, credentials: str) -> Generator[Question, object, str]:
    """The owner's verdict; a refusal tells why in JSON first, and the client says a dummy answer to that."""
    scheme, _, token = credentials.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Denied(_BAD, username)
    owner = yield CheckToken(username, token.strip())
    if isinstance(owner, str) and owner:
        return owner
    yield Ask(json.dumps({"status": "invalid_token", "schemes": "bearer"}).encode())
    raise Denied("authentication failure", username)


def oauthbearer_client(
    username: str, token: str, host: str = "", port: int = 0
) -> Generator[bytes | None, bytes, None]:
    name = username.replace("=", "=3D").replace(",", "=2C")
    place = (f"host={host}{_KVSEP}" if host else "") + (f"port={port}{_KVSEP}" if port else "")
    yield f"n,a={name},{_KVSEP}{place}auth=Bearer {token}{_KVSEP}{_KVSEP}".encode()
    # RFC 7628 3.2.3: a challenge now is the error; the answer to it ends the exchange.
    yield _KVSEP.encode()


def xoauth2_client(username: str, token: str) -> Generator[bytes | None, bytes, None]:
    yield f"user={username}{_KVSEP}auth=Bearer {token}{_KVSEP}{_KVSEP}".encode()
    yield b""


def _fields(text: str) -> dict[str, str]:
    return {key: value for key, equals, value in (part.partition("=") for part in text.split(_KVSEP)) if equals}
