"""CRAM-MD5 (RFC 2195): the password stays home, but the server has to keep it as it is."""

from __future__ import annotations

import hmac
from collections.abc import Generator

from pymta.model.sasl import Secret
from pymta.protocol.sasl.exchange import Ask, Denied, FindSecret, Question, ServerContext, answer_bytes, decoded


def cram_md5_server(context: ServerContext, initial: bytes | None) -> Generator[Question, object, str]:
    if initial:
        raise Denied("bad protocol / cancel")
    challenge = f"<{context.nonce()}@{context.hostname}>".encode()
    response = answer_bytes((yield Ask(challenge)))
    name, blank, digest = response.rpartition(b" ")
    username = decoded(name)
    if not blank or not username:
        raise Denied("bad protocol / cancel")
    secret = yield FindSecret(username)
    known = secret.password if isinstance(secret, Secret) else None
    # Someone unknown costs what a wrong password costs.
    expected = _digest(known or "", challenge)
    if not hmac.compare_digest(expected, digest.lower()) or known is None:
        raise Denied("authentication failure", username)
    return username


def cram_md5_client(username: str, password: str) -> Generator[bytes | None, bytes, None]:
    challenge = yield None
    yield b"%b %b" % (username.encode(), _digest(password, challenge))


def _digest(password: str, challenge: bytes) -> bytes:
    return hmac.new(password.encode(), challenge, "md5").hexdigest().encode()
