"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677, RFC 5929): both sides prove that they know."""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Generator, Mapping
from functools import lru_cache

from pymta.model.sasl import ScramKeys, Secret
from pymta.protocol.sasl.exchange import Ask, Denied, FindSecret, Question, ServerContext, answer_bytes, decoded
from pymta.protocol.sasl.prepare import saslprep

DEFAULT_ITERATIONS = 4096
# What a client lets a server ask of it: it computes that between two replies.
MAX_ITERATIONS = 100_000
_MIN_ITERATIONS = 4096
# A client binds to what both sides can have under any version of TLS (RFC 5929 4).
CLIENT_BINDING = "tls-server-end-point"
_BAD = "bad protocol / cancel"


class ScramError(Exception):
    """The server broke the protocol, or could not prove that it knows the password: do not go on with it."""


def derive_keys(password: str, salt: bytes, iterations: int = DEFAULT_ITERATIONS) -> ScramKeys:
    """What a server stores for `password`. Slow on purpose: not for the event loop."""
    salted = hashlib.pbkdf2_hmac("sha256", _prepared(password).encode(), salt, iterations)
    client_key = _hmac(salted, b"Client Key")
    return ScramKeys(salt, iterations, hashlib.sha256(client_key).digest(), _hmac(salted, b"Server Key"))


def check_password(keys: ScramKeys, password: str) -> bool:
    """Whether `keys` were made from `password`. Slow on purpose."""
    derived = derive_keys(password, keys.salt, keys.iterations)
    return hmac.compare_digest(derived.stored_key, keys.stored_key)


def scram_server(context: ServerContext, initial: bytes | None) -> Generator[Question, object, str]:
    """Both SCRAM-SHA-256 and -PLUS: the client's header says whether it binds to the channel."""
    first = decoded(initial if initial is not None else answer_bytes((yield Ask())))
    header, username, client_nonce, bare = _parse_first(first, context.bindings)
    secret = yield FindSecret(username, wants_scram=True)
    found = secret if isinstance(secret, Secret) and secret.scram else None
    keys = _keys_of(found, username, context)
    server_first = f"r={client_nonce}{context.nonce()},s={_encode(keys.salt)},i={keys.iterations}"
    final = decoded(answer_bytes((yield Ask(server_first.encode()))), username)
    without_proof, proof = _parse_final(final, username)
    binding = context.bindings[header[2:].partition(",")[0]] if header.startswith("p=") else b""
    expected = f"c={_encode(header.encode() + binding)},{server_first.partition(',')[0]}"
    message = f"{bare},{server_first},{without_proof}".encode()
    if not hmac.compare_digest(without_proof.encode(), expected.encode()):
        raise Denied("channel binding or nonce does not match", username)
    client_key = _xor(proof, _hmac(keys.stored_key, message))
    if not hmac.compare_digest(hashlib.sha256(client_key).digest(), keys.stored_key) or found is None:
        raise Denied("authentication failure", username)
    # RFC 4954 4: what goes with success is a challenge of its own, and the answer to it is empty.
    if answer_bytes((yield Ask(f"v={_encode(_hmac(keys.server_key, message))}".encode()))):
        raise Denied(_BAD, username)
    return username


def scram_client(
    username: str,
    password: str,
    nonce: str,
    channel_binding: bytes | None = None,
    *,
    binding_type: str = CLIENT_BINDING,
    could_bind: bool = False,
) -> Generator[bytes | None, bytes, None]:
    """The client; with `channel_binding` (of `binding_type`) for -PLUS. Raises ScramError.

    `could_bind` tells the server that only its own list kept us from that (RFC 5802 6).
    """
    header = f"p={binding_type},," if channel_binding else ("y,," if could_bind else "n,,")
    name = _prepared(username).replace("=", "=3D").replace(",", "=2C")
    bare = f"n={name},r={nonce}"
    server_first = (yield f"{header}{bare}".encode()).decode("utf-8", "replace")
    fields = _fields(server_first)
    full_nonce, salt, iterations = fields.get("r", ""), _decode(fields.get("s", "")), fields.get("i", "")
    if not full_nonce.startswith(nonce) or len(full_nonce) == len(nonce) or not salt:
        raise ScramError("the server's challenge is not an answer to ours")
    if not iterations.isdecimal() or not _MIN_ITERATIONS <= int(iterations) <= MAX_ITERATIONS:
        raise ScramError(f"the server wants {iterations[:12]} iterations")
    without_proof = f"c={_encode(header.encode() + (channel_binding or b''))},r={full_nonce}"
    message = f"{bare},{server_first},{without_proof}".encode()
    salted = _salted(_prepared(password), salt, int(iterations))
    client_key = _hmac(salted, b"Client Key")
    proof = _xor(client_key, _hmac(hashlib.sha256(client_key).digest(), message))
    server_final = yield f"{without_proof},p={_encode(proof)}".encode()
    signature = _hmac(_hmac(salted, b"Server Key"), message)
    if not hmac.compare_digest(_decode(_fields(server_final.decode("utf-8", "replace")).get("v", "")), signature):
        raise ScramError("the server does not know the password")
    yield b""


@lru_cache(maxsize=64)
def _salted(password: str, salt: bytes, iterations: int) -> bytes:
    """RFC 5802 3: SaltedPassword may be kept for a server that we log in to again and again."""
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)


def _parse_first(text: str, bindings: Mapping[str, bytes]) -> tuple[str, str, str, str]:
    """The GS2 header, the user's name, the client's nonce, and the message without its header."""
    flag, comma, rest = text.partition(",")
    authorized, second_comma, bare = rest.partition(",")
    if not comma or not second_comma or (authorized and not authorized.startswith("a=")):
        raise Denied(_BAD)
    if flag == "y" and bindings:
        # RFC 5802 6: it did not see our -PLUS, so somebody took it out of the list.
        raise Denied("channel binding was not used although we offer it")
    if flag not in ("n", "y") and not (flag.startswith("p=") and flag[2:] in bindings):
        raise Denied("unsupported channel binding")
    fields = bare.split(",")
    if len(fields) < 2 or fields[0][:2] != "n=" or fields[1][:2] != "r=" or len(fields[1]) < 3:
        raise Denied(_BAD)
    username = _unescaped(fields[0][2:])
    if authorized and _unescaped(authorized[2:]) != username:
        raise Denied("not authorized to act for another user", username)
    return f"{flag},{authorized},", username, fields[1][2:], bare


def _unescaped(name: str) -> str:
    """RFC 5802 5.1: `=2C` is a comma, `=3D` an equals sign, and nothing else follows `=`."""
    if name.replace("=2C", "").replace("=3D", "").count("=") or not name:
        raise Denied(_BAD)
    try:
        return saslprep(name.replace("=2C", ",").replace("=3D", "="))
    except ValueError as error:
        raise Denied(str(error)) from None


def _parse_final(text: str, username: str) -> tuple[str, bytes]:
    without_proof, marker, proof = text.rpartition(",p=")
    decoded_proof = _decode(proof)
    if not marker or len(decoded_proof) != hashlib.sha256().digest_size:
        raise Denied(_BAD, username)
    return without_proof, decoded_proof


def _keys_of(secret: Secret | None, username: str, context: ServerContext) -> ScramKeys:
    """The user's keys; for nobody, keys that look the same each time, so that no name can be probed."""
    if secret and secret.scram:
        return secret.scram
    return ScramKeys(stable_salt(context.salt_key, username), DEFAULT_ITERATIONS, bytes(32), bytes(32))


def stable_salt(key: bytes, username: str) -> bytes:
    """A salt that stays the same for a name while the program runs."""
    return hmac.new(key, username.encode(), "sha256").digest()[:16]


def _fields(text: str) -> dict[str, str]:
    return {part[0]: part[2:] for part in text.split(",") if part[1:2] == "="}


def _prepared(text: str) -> str:
    """Prepared where RFC 4013 allows it; other passwords still count byte by byte."""
    try:
        return saslprep(text)
    except ValueError:
        return text


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, "sha256").digest()


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def _encode(data: bytes) -> str:
    return b64encode(data).decode()


def _decode(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
