"""PLAIN (RFC 4616) and LOGIN (draft-murchison-sasl-login): the password itself, so only where nobody listens."""

from __future__ import annotations

from collections.abc import Generator

from pymta.protocol.sasl.exchange import Ask, CheckPassword, Denied, Question, ServerContext, answer_bytes, decoded

_LOGIN_USERNAME = b"Username:"
_LOGIN_PASSWORD = b"Password:"


def plain_server(_: ServerContext, initial: bytes | None) -> Generator[Question, object, str]:
    """`authzid NUL authcid NUL password`; who asks to act for somebody else is refused."""
    message = initial if initial is not None else answer_bytes((yield Ask()))
    parts = message.split(b"\0")
    if len(parts) != 3 or not parts[1]:
        raise Denied("bad protocol / cancel")
    authorized, username = decoded(parts[0]), decoded(parts[1])
    password = decoded(parts[2], username)
    if not (yield CheckPassword(username, password)):
        raise Denied("authentication failure", username)
    if authorized and authorized != username:
        raise Denied("not authorized to act for another user", username)
    return username


def plain_client(username: str, password: str) -> Generator[bytes | None, bytes, None]:
    yield b"\0%b\0%b" % (username.encode(), password.encode())


def login_server(_: ServerContext, initial: bytes | None) -> Generator[Question, object, str]:
    """The name, then the password; some clients send the name at once."""
    name = initial if initial else answer_bytes((yield Ask(_LOGIN_USERNAME)))
    username = decoded(name)
    if not username or "\0" in username:
        raise Denied("bad protocol / cancel")
    password = decoded(answer_bytes((yield Ask(_LOGIN_PASSWORD))), username)
    if not (yield CheckPassword(username, password)):
        raise Denied("authentication failure", username)
    return username


def login_client(username: str, password: str) -> Generator[bytes | None, bytes, None]:
    """Answers by order: servers word the two questions as they like."""
    yield None
    yield username.encode()
    yield password.encode()
