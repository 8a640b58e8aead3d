"""Password schemes that are a digest and perhaps a salt (Dovecot's and OpenLDAP's `{SSHA}` family, htpasswd)."""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import b64decode, b64encode

from pymta.model.sasl import ScramKeys

# Scheme -> algorithm and whether a salt follows the digest.
_DIGESTS = {
    "SHA": ("sha1", False),
    "SHA1": ("sha1", False),
    "SHA256": ("sha256", False),
    "SHA512": ("sha512", False),
    "LDAP-MD5": ("md5", False),
    "PLAIN-MD5": ("md5", False),
    "SMD5": ("md5", True),
    "SSHA": ("sha1", True),
    "SSHA256": ("sha256", True),
    "SSHA512": ("sha512", True),
}
DIGEST_SCHEMES = frozenset(_DIGESTS)
_MAX_ROUNDS = 10_000_000


def digest_matches(scheme: str, stored: bytes, password: bytes) -> bool:
    """`stored` is the decoded digest, with its salt behind it where the scheme has one. Raises ValueError."""
    algorithm, salted = _DIGESTS[scheme]
    size = hashlib.new(algorithm, usedforsecurity=False).digest_size
    if len(stored) < size or (not salted and len(stored) != size):
        raise ValueError(f"a hash of scheme {scheme} has {size} bytes{' and a salt' if salted else ''}")
    computed = hashlib.new(algorithm, password + stored[size:], usedforsecurity=False).digest()
    return hmac.compare_digest(computed, stored[:size])


def decode_digest(scheme: str, text: str) -> bytes:
    """Base64 or hexadecimal, told apart by length as Dovecot does. Raises ValueError."""
    algorithm, salted = _DIGESTS[scheme]
    size = hashlib.new(algorithm, usedforsecurity=False).digest_size
    try:
        if len(text) == 2 * size and not salted:
            return bytes.fromhex(text)
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"a hash of scheme {scheme} is base64 or hexadecimal") from None


def salted_sha512(password: bytes, salt: bytes) -> str:
    return b64encode(hashlib.sha512(password + salt).digest() + salt).decode()


def pbkdf2_matches(text: str, password: bytes) -> bool:
    """Dovecot's `$1$SALT$ROUNDS$HEX` with SHA-1. Raises ValueError."""
    fields = text.split("$")
    if len(fields) != 5 or fields[:2] != ["", "1"] or not fields[3].isdecimal():
        raise ValueError("a hash of scheme PBKDF2 is $1$SALT$ROUNDS$HEX")
    expected = bytes.fromhex(fields[4])
    if not expected or not 0 < int(fields[3]) <= _MAX_ROUNDS:
        raise ValueError(f"a hash of scheme PBKDF2 with {fields[3][:12]} rounds")
    computed = hashlib.pbkdf2_hmac("sha1", password, fields[2].encode(), int(fields[3]), len(expected))
    return hmac.compare_digest(computed, expected)


def parse_scram(text: str) -> ScramKeys:
    """Dovecot's `ITERATIONS,SALT,STOREDKEY,SERVERKEY`. Raises ValueError."""
    fields = text.split(",")
    if len(fields) != 4 or not fields[0].isdecimal() or len(fields[0]) > 9:
        raise ValueError("a hash of scheme SCRAM-SHA-256 is ITERATIONS,SALT,STOREDKEY,SERVERKEY")
    try:
        salt, stored_key, server_key = (b64decode(field, validate=True) for field in fields[1:])
    except (binascii.Error, ValueError):
        raise ValueError("salt and keys of scheme SCRAM-SHA-256 are base64") from None
    if not salt or len(stored_key) != 32 or len(server_key) != 32:
        raise ValueError("keys of scheme SCRAM-SHA-256 have 32 bytes")
    return ScramKeys(salt, int(fields[0]), stored_key, server_key)


def format_scram(keys: ScramKeys) -> str:
    parts = (b64encode(part).decode() for part in (keys.salt, keys.stored_key, keys.server_key))
    return ",".join([str(keys.iterations), *parts])
