"""Keys and certificates over `cryptography`: reading, making, signing, comparing (RFC 6376 3.3, RFC 8463, RFC 8301)."""

from __future__ import annotations

import base64
import binascii
import os
import re
from datetime import datetime
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidKey, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from pymta.errors import PymtaError
from pymta.model.frozen import frozen

_PREHASHED = utils.Prehashed(hashes.SHA256())
_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_ED25519_SIZE = 32
_LARGEST_RSA = 16384


class KeyProblem(PymtaError):
    """A key that cannot be used; the text names the file, says what is wrong with it and what mends it."""


@frozen
class SigningKey:
    """A private key; `algorithm` is the `a=` of its signatures."""

    algorithm: str
    bits: int
    _key: rsa.RSAPrivateKey | Ed25519PrivateKey

    def sign(self, digest: bytes) -> bytes:
        """The signature of a SHA-256 digest (RFC 6376 3.3.2; RFC 8463 3 signs the digest itself)."""
        if isinstance(self._key, Ed25519PrivateKey):
            return self._key.sign(digest)
        return self._key.sign(digest, padding.PKCS1v15(), _PREHASHED)

    @property
    def kind(self) -> str:
        """The key record's `k=`: `rsa` or `ed25519`."""
        return self.algorithm.partition("-")[0]

    @property
    def public(self) -> str:
        """The key record's `p=`."""
        return base64.b64encode(_public_bytes(self._key.public_key())).decode()


def parse_private_key(data: bytes) -> SigningKey:
    """A key in PEM (PKCS #1, PKCS #8), base64 DER, or the 32 bytes of an Ed25519 key in base64 (as dknewkey writes).

    Raises KeyProblem with a text that does not show the key.
    """
    try:
        key = _load(data)
    except (ValueError, TypeError, UnsupportedAlgorithm, binascii.Error) as error:
        raise KeyProblem(f"not a private key that can be read: {_why(data, error)}") from None
    if isinstance(key, Ed25519PrivateKey):
        return SigningKey("ed25519-sha256", 256, key)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise KeyProblem(f"wrong type of key ({type(key).__name__.lstrip('_')}); DKIM has rsa and ed25519")
    _check_consistency(key)
    return SigningKey("rsa-sha256", key.key_size, key)


def _load(data: bytes) -> object:
    match = _PEM.search(data)
    if match:
        return serialization.load_pem_private_key(
            match[0].replace(b"\r\n", b"\n"), None, unsafe_skip_rsa_key_validation=True
        )
    raw = base64.b64decode(b"".join(data.split()), validate=True)
    if len(raw) == _ED25519_SIZE:
        return Ed25519PrivateKey.from_private_bytes(raw)
    return serialization.load_der_private_key(raw, None, unsafe_skip_rsa_key_validation=True)


def _why(data: bytes, error: Exception) -> str:
    match = _PEM.search(data)
    if match and b"PRIVATE" not in match[1]:
        return f"the file holds a {match[1].decode().lower()}"
    if b"ENCRYPTED" in data:
        return "the key is protected by a passphrase"
    if not data.strip():
        return "the file is empty"
    return "damaged key" if match else "neither PEM nor base64"


def _check_consistency(key: rsa.RSAPrivateKey) -> None:
    """Sign and verify once. OpenSSL's own check of the primes takes 25 ms, which would hold up all sessions."""
    if key.key_size > _LARGEST_RSA:
        raise KeyProblem(f"an RSA key of {key.key_size} bits is more than can be used ({_LARGEST_RSA})")
    digest = bytes(32)
    try:
        signature = key.sign(digest, padding.PKCS1v15(), _PREHASHED)
        key.public_key().verify(signature, digest, padding.PKCS1v15(), _PREHASHED)
    except (ValueError, InvalidSignature):
        raise KeyProblem("damaged key: its signatures do not verify") from None


def generate_private_key(kind: str, bits: int = 2048) -> bytes:
    """A new key of kind `rsa` or `ed25519`, PEM in PKCS #8."""
    key: rsa.RSAPrivateKey | Ed25519PrivateKey
    key = Ed25519PrivateKey.generate() if kind == "ed25519" else rsa.generate_private_key(65537, bits)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@frozen
class PublicKey:
    """What a `p=` holds. `canonical` is equal for equal keys, in whichever of the two forms they were written."""

    kind: str
    bits: int
    canonical: str
    _key: rsa.RSAPublicKey | Ed25519PublicKey

    def verifies(self, digest: bytes, signature: bytes) -> bool:
        """Whether `signature` is this key's, of a SHA-256 digest."""
        try:
            if isinstance(self._key, Ed25519PublicKey):
                self._key.verify(signature, digest)
            else:
                self._key.verify(signature, digest, padding.PKCS1v15(), _PREHASHED)
        except InvalidSignature:
            return False
        return True


def parse_public_key(text: str, kind: str) -> PublicKey:
    """The `p=` of a key record whose `k=` is `kind`; blanks do not count. Raises KeyProblem."""
    try:
        raw = base64.b64decode("".join(text.split()), validate=True)
        if kind == "ed25519":
            ed25519 = Ed25519PublicKey.from_public_bytes(raw)
            return PublicKey(kind, 256, base64.b64encode(raw).decode(), ed25519)
        key = serialization.load_der_public_key(raw)
    except (ValueError, UnsupportedAlgorithm, binascii.Error):
        raise KeyProblem(f"p= holds no {kind} key that can be read") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise KeyProblem(f"p= holds another kind of key than {kind}")
    return PublicKey(kind, key.key_size, base64.b64encode(_public_bytes(key)).decode(), key)


@frozen
class VerifyingKey:
    """A public key that others' signatures are checked with. `kind` is the key record's `k=`."""

    kind: str
    bits: int
    _key: rsa.RSAPublicKey | Ed25519PublicKey

    def verifies(self, signature: bytes, digest: bytes) -> bool:
        """Whether `signature` is of a SHA-256 `digest` (RFC 6376 3.3.2, RFC 8463 3)."""
        try:
            if isinstance(self._key, Ed25519PublicKey):
                self._key.verify(signature, digest)
            else:
                self._key.verify(signature, digest, padding.PKCS1v15(), _PREHASHED)
        except (InvalidSignature, ValueError):
            return False
        return True


@lru_cache(maxsize=256)
def verifying_key(kind: str, raw: bytes) -> VerifyingKey:
    """The key of a record's decoded `p=` (RFC 6376 3.6.1; RFC 8463 4.2: 32 bytes for Ed25519). Raises KeyProblem."""
    try:
        if kind == "ed25519":
            return VerifyingKey(kind, 256, Ed25519PublicKey.from_public_bytes(raw))
        key = serialization.load_der_public_key(raw)
    except (ValueError, UnsupportedAlgorithm):
        raise KeyProblem(f"p= holds no {kind} key that can be read") from None
    if kind != "rsa" or not isinstance(key, rsa.RSAPublicKey):
        raise KeyProblem(f"p= holds another kind of key than {kind}")
    if key.key_size > _LARGEST_RSA:
        raise KeyProblem(f"an RSA key of {key.key_size} bits is more than can be used ({_LARGEST_RSA})")
    return VerifyingKey(kind, key.key_size, key)


def _public_bytes(key: rsa.RSAPublicKey | Ed25519PublicKey) -> bytes:
    if isinstance(key, Ed25519PublicKey):
        return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


@frozen
class CertificateFacts:
    """The names that a certificate is for, and when it is valid."""

    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    is_self_signed: bool


def read_certificate(data: bytes) -> CertificateFacts:
    """The first certificate of a PEM file. Raises KeyProblem."""
    try:
        found = x509.load_pem_x509_certificate(data)
    except ValueError:
        raise KeyProblem("no certificate in PEM form that can be read") from None
    try:
        alternatives = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = tuple(alternatives.get_values_for_type(x509.DNSName))
    except (x509.ExtensionNotFound, ValueError):
        names = ()
    if not names:
        common = found.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        names = tuple(str(attribute.value) for attribute in common)
    return CertificateFacts(names, found.not_valid_before_utc, found.not_valid_after_utc, found.issuer == found.subject)


def argon2id_hash(password: bytes) -> str:
    """A password hash in PHC form with the parameters of OWASP's advice: 19 MiB, two passes. Slow on purpose."""
    return Argon2id(salt=os.urandom(16), length=32, iterations=2, lanes=1, memory_cost=19456).derive_phc_encoded(
        password
    )


def argon2id_matches(encoded: str, password: bytes) -> bool:
    """Whether `encoded` (`$argon2id$v=19$...`) was made from `password`. Raises ValueError for what is no such hash."""
    try:
        Argon2id.verify_phc_encoded(password, encoded)
    except InvalidKey:
        return False
    return True
