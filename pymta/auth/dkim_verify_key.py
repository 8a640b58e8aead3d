"""What DNS publishes under a selector, and whether a signature may use it (RFC 6376 3.6, RFC 8301, RFC 8463)."""

from __future__ import annotations

import base64
import binascii

from pymta.auth.dkim import TagError, parse_tags, without_blanks
from pymta.auth.dkim_verify_signature import Signature
from pymta.model.dns import Answer
from pymta.model.frozen import frozen


@frozen
class KeyRecord:
    """`data` is p=, decoded; empty where the key was revoked. `hashes` and `services` are None where all may be."""

    kind: str
    data: bytes
    hashes: frozenset[str] | None
    services: frozenset[str] | None
    flags: frozenset[str]

    @property
    def testing(self) -> bool:
        return "y" in self.flags

    def problem_for(self, signature: Signature) -> str:
        """Why this key does not stand for that signature; empty where it does."""
        kind, _, hash_name = signature.algorithm.partition("-")
        if not self.data:
            return "key was revoked"
        if kind != self.kind:
            return f"key is of kind {self.kind}, signature of {kind}"
        if self.hashes is not None and hash_name not in self.hashes:
            return f"key does not allow {hash_name}"
        if self.services is not None and not self.services & {"*", "email"}:
            return "key is not for e-mail"
        if "s" in self.flags and signature.identity.rpartition("@")[2].lower() != signature.domain.lower():
            return "key does not allow subdomains in i="
        return ""


def read_key(text: str) -> KeyRecord:
    """A key record (RFC 6376 3.6.1). Raises TagError."""
    tags = parse_tags(text.encode("latin-1", "replace"))
    if "v" in tags and (next(iter(tags)) != "v" or tags["v"] != b"DKIM1"):
        raise TagError("v= is not DKIM1, or not first")
    if "p" not in tags:
        raise TagError("no p=")
    try:
        data = base64.b64decode(without_blanks(tags["p"]), validate=True)
    except binascii.Error:
        raise TagError("p= is not base64") from None
    return KeyRecord(
        kind=tags.get("k", b"rsa").decode("latin-1").lower(),
        data=data,
        hashes=_words(tags.get("h")),
        services=_words(tags.get("s")),
        flags=_words(tags.get("t")) or frozenset(),
    )


def choose_key(answer: Answer) -> KeyRecord:
    """The key of an answer that was found: of several records the first that is one. Raises TagError."""
    problem = TagError("no key for signature")
    for text in answer.values:
        try:
            return read_key(text)
        except TagError as error:
            problem = TagError(f"key record: {error}")
    raise problem


def _words(value: bytes | None) -> frozenset[str] | None:
    """A colon-separated list; empty ones mean what absent ones do."""
    if value is None:
        return None
    return frozenset(word.strip().decode("latin-1").lower() for word in value.split(b":") if word.strip()) or None
