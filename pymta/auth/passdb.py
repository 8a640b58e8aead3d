"""Stored passwords in every form that password files have, over libcrypt, hashlib and passlib (libpass).

A stored password is `{SCHEME}hash`, `{SCHEME.hex}hash`, `{SCHEME.b64}hash`, or a hash that says itself what it is
(`$6$...`, `$2y$...`, `$apr1$...`), as in htpasswd files and /etc/shadow. The only file that knows passlib.
"""

from __future__ import annotations

import binascii
import hmac
import os
import re
import secrets
from base64 import b64decode
from collections.abc import Callable
from dataclasses import field

import passlib.context
import passlib.exc
import passlib.hash
import passlib.registry

from pymta.auth import libcrypt
from pymta.auth.keys import argon2id_hash, argon2id_matches
from pymta.auth.verify_digest import (
    DIGEST_SCHEMES,
    decode_digest,
    digest_matches,
    format_scram,
    parse_scram,
    pbkdf2_matches,
    salted_sha512,
)
from pymta.model.frozen import frozen
from pymta.model.sasl import Secret
from pymta.protocol.sasl.scram import check_password, derive_keys

_PREFIX = re.compile(r"\{([A-Za-z0-9-]+)(?:\.(hex|b64|base64))?\}", re.IGNORECASE)
_PLAIN = frozenset({"PLAIN", "CLEAR", "CLEARTEXT"})
_CRYPT = frozenset({"CRYPT", "DES-CRYPT", "MD5-CRYPT", "MD5", "SHA256-CRYPT", "SHA512-CRYPT", "BLF-CRYPT"})
_ARGON2 = frozenset({"ARGON2I", "ARGON2ID"})
# Hashes that name their method; tried where libcrypt does not know it.
_BY_MARK = passlib.context.CryptContext(
    ["bcrypt", "sha512_crypt", "sha256_crypt", "apr_md5_crypt", "md5_crypt", "phpass", "argon2", "scrypt",
     "pbkdf2_sha256", "pbkdf2_sha512", "pbkdf2_sha1", "bcrypt_sha256", "sha1_crypt", "sun_md5_crypt", "des_crypt"]
)  # fmt: skip
_LIBCRYPT_MARKS = ("$y$", "$gy$", "$7$", "$6$", "$5$", "$1$", "$2a$", "$2b$", "$2y$", "$sha1$", "$md5", "$3$")
_BCRYPT_LIMIT = 72
_SALT = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
DEFAULT_SCHEME = "ARGON2ID"


@frozen
class StoredPassword:
    """One account's stored password, its form known. `parse` raises ValueError with what is wrong."""

    scheme: str
    _hash: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> StoredPassword:
        match = _PREFIX.match(text)
        if not match:
            return cls(_scheme_by_mark(text), text)
        scheme, encoding, rest = match[1].upper(), (match[2] or "").lower(), text[match.end() :]
        if not rest:
            raise ValueError(f"no hash behind {{{scheme}}}")
        if encoding and scheme in DIGEST_SCHEMES:
            rest = _as_base64(rest, encoding)
        elif encoding:
            rest = _decoded(rest, encoding).decode("utf-8", "strict")
        if scheme in _CRYPT and not rest.startswith(("$", "_")) and len(rest) != 13:
            raise ValueError(f"{{{scheme}}}: not a hash that crypt(3) makes")
        stored = cls(scheme, rest)
        stored._checker()
        if scheme == "SCRAM-SHA-256":
            parse_scram(rest)
        return stored

    @property
    def text(self) -> str:
        """All of it; where it changes, what was proved of it is void."""
        return f"{{{self.scheme}}}{self._hash}"

    @property
    def secret(self) -> Secret:
        """What of it a mechanism can use that does not get the password."""
        if self.scheme in _PLAIN:
            return Secret(password=self._hash)
        if self.scheme == "SCRAM-SHA-256":
            return Secret(scram=parse_scram(self._hash))
        return Secret()

    def matches(self, password: str) -> bool:
        """Whether it was made from `password`. Slow on purpose. Raises ValueError for a hash that cannot be used."""
        if "\0" in password:
            return False
        return self._checker()(self._hash, password.encode())

    def _checker(self) -> Callable[[str, bytes], bool]:
        scheme = self.scheme
        if scheme in _PLAIN:
            return _plain_matches
        if scheme in _CRYPT:
            return _crypt_matches
        if scheme in DIGEST_SCHEMES:
            return lambda text, password: digest_matches(scheme, decode_digest(scheme, text), password)
        if scheme in _ARGON2:
            return argon2id_matches if scheme == "ARGON2ID" else _marked_matches
        if scheme == "SCRAM-SHA-256":
            return lambda text, password: check_password(parse_scram(text), password.decode())
        if scheme == "PBKDF2":
            return pbkdf2_matches
        return _handler(scheme)


def make_stored(password: str, scheme: str = DEFAULT_SCHEME) -> str:
    """`password` as a password file keeps it, with a fresh salt. Slow on purpose. Raises ValueError for the scheme."""
    folded, secret = scheme.upper(), password.encode()
    if folded not in _MAKERS:
        raise ValueError(f"unknown scheme {scheme}; known are {', '.join(MAKEABLE)}")
    if folded == "BLF-CRYPT" and len(secret) > _BCRYPT_LIMIT:
        raise ValueError(f"bcrypt looks at the first {_BCRYPT_LIMIT} bytes only; choose another scheme")
    return f"{{{folded}}}{_MAKERS[folded](secret)}"


def _salt(length: int) -> str:
    return "".join(secrets.choice(_SALT) for _ in range(length))


_MAKERS: dict[str, Callable[[bytes], str]] = {
    "ARGON2ID": argon2id_hash,
    "SCRAM-SHA-256": lambda secret: format_scram(derive_keys(secret.decode(), os.urandom(16), 16384)),
    "SHA512-CRYPT": lambda secret: str(passlib.hash.sha512_crypt.using(rounds=100_000).hash(secret)),
    "SHA256-CRYPT": lambda secret: str(passlib.hash.sha256_crypt.using(rounds=100_000).hash(secret)),
    "BLF-CRYPT": lambda secret: libcrypt.crypt(secret, f"$2y$10${_salt(21)}."),
    "CRYPT": lambda secret: libcrypt.crypt(secret, f"$y$j9T${_salt(21)}."),
    "SSHA512": lambda secret: salted_sha512(secret, os.urandom(16)),
    "PLAIN": lambda secret: secret.decode(),
}
MAKEABLE = tuple(_MAKERS)


def _scheme_by_mark(text: str) -> str:
    if text.startswith("$argon2id$"):
        return "ARGON2ID"
    if text.startswith(_LIBCRYPT_MARKS) or (len(text) == 13 and set(text) <= set(_SALT)):
        return "CRYPT"
    if text.startswith(("$", "_")) and _BY_MARK.identify(text):
        return "CRYPT"
    if not text or text[0] in "!*":
        raise ValueError("the account is locked")
    raise ValueError("not a hash that is known by its looks; put {SCHEME} before it")


def _plain_matches(stored: str, password: bytes) -> bool:
    return hmac.compare_digest(stored.encode(), password)


def _crypt_matches(stored: str, password: bytes) -> bool:
    """The system's libcrypt first: it is fast, and lets other threads run."""
    if stored.startswith(_LIBCRYPT_MARKS) or not stored.startswith("$"):
        try:
            return hmac.compare_digest(libcrypt.crypt(password, stored), stored)
        except libcrypt.CryptUnavailable:
            pass
    return _marked_matches(stored, password)


def _marked_matches(stored: str, password: bytes) -> bool:
    # The bcrypt package raises where others cut off; no password beyond that length would ever match.
    secret = password[:_BCRYPT_LIMIT] if stored.startswith("$2") else password
    try:
        return bool(_BY_MARK.verify(secret, stored))
    except (passlib.exc.UnknownHashError, passlib.exc.MissingBackendError) as error:
        raise ValueError(f"no library here knows this hash: {error}") from None


def _handler(scheme: str) -> Callable[[str, bytes], bool]:
    """Any other scheme under its name in passlib: `{PHPASS}`, `{FSHP}`, `{DJANGO-PBKDF2-SHA256}` ..."""
    try:
        handler = passlib.registry.get_crypt_handler(scheme.lower().replace("-", "_"))
    except (KeyError, ValueError):
        raise ValueError(f"unknown password scheme {scheme}") from None

    def matches(stored: str, password: bytes) -> bool:
        try:
            return bool(handler.verify(password, stored))
        except (TypeError, passlib.exc.PasslibSecurityError, passlib.exc.MissingBackendError) as error:
            raise ValueError(f"scheme {scheme} cannot be used: {error}") from None

    return matches


def _decoded(text: str, encoding: str) -> bytes:
    try:
        return bytes.fromhex(text) if encoding == "hex" else b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"not {encoding}") from None


def _as_base64(text: str, encoding: str) -> str:
    return binascii.b2a_base64(_decoded(text, encoding), newline=False).decode()
