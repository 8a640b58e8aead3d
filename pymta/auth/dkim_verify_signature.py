"""A DKIM-Signature field, read (RFC 6376 3.5)."""

from __future__ import annotations

import base64
import binascii

from pymta.auth.dkim import TagError, check_signature_tags, parse_tags, without_blanks
from pymta.auth.dkim_sign_header import relaxed_field
from pymta.model.frozen import frozen

MAXIMUM_FIELD = 8192
_FORMS = {b"simple": False, b"relaxed": True}
_LONGEST_NUMBER = 15
# How far another host's clock may be ahead of ours.
_CLOCK_SKEW = 300.0


@frozen
class Signature:
    """What one signature claims. `field` is the header field as it stands; times are seconds since the epoch.

    `limit` is l=, None where all of the body counts.
    """

    field: bytes
    algorithm: str
    domain: str
    selector: str
    identity: str
    relaxed_header: bool
    relaxed_body: bool
    names: tuple[str, ...]
    body_hash: bytes
    signature: bytes
    limit: int | None
    made: int | None
    expires: int | None

    @property
    def key_name(self) -> str:
        """Where DNS has the key (RFC 6376 3.6.2.1)."""
        return f"{self.selector}._domainkey.{self.domain}"

    def unsigned(self) -> bytes:
        """The field as it is hashed itself: b= without its value, no CRLF at the end (RFC 6376 3.7)."""
        name, _, value = self.field.partition(b":")
        parts = value.removesuffix(b"\r\n").split(b";")
        for number, part in enumerate(parts):
            tag, equals, _ = part.partition(b"=")
            if tag.strip() == b"b":
                parts[number] = tag + equals
                break
        text = name + b":" + b";".join(parts)
        return relaxed_field(text)[:-2] if self.relaxed_header else text

    def problem_of_time(self, now: float) -> str:
        """Why the signature does not count at this hour; empty where it does."""
        if self.expires is not None and self.expires < now:
            return "signature expired"
        return "signature is from the future" if self.made is not None and self.made > now + _CLOCK_SKEW else ""


def read_tags(field: bytes) -> dict[str, bytes]:
    """The tags of a DKIM-Signature field, checked or not. Raises TagError."""
    if len(field) > MAXIMUM_FIELD:
        raise TagError(f"field larger than {MAXIMUM_FIELD} bytes")
    return parse_tags(field.partition(b":")[2])


def read_signature(field: bytes, tags: dict[str, bytes]) -> Signature:
    """Raises TagError with what is wrong."""
    check_signature_tags(tags)
    if b"dns/txt" not in [method.strip() for method in tags.get("q", b"dns/txt").split(b":")]:
        raise TagError("q= has no method that we know")
    domain = _text(tags["d"])
    relaxed_header, relaxed_body = _canonicalization(tags.get("c", b"simple/simple"))
    made, expires = _number(tags, "t"), _number(tags, "x")
    if made is not None and expires is not None and expires < made:
        raise TagError("x= is before t=")
    return Signature(
        field=field,
        algorithm=_text(tags["a"]),
        domain=domain,
        selector=_text(tags["s"]),
        identity=_text(tags.get("i", b"@" + tags["d"])),
        relaxed_header=relaxed_header,
        relaxed_body=relaxed_body,
        names=_names(tags["h"]),
        body_hash=_base64(tags["bh"], "bh"),
        signature=_base64(tags["b"], "b"),
        limit=_number(tags, "l"),
        made=made,
        expires=expires,
    )


def shown(tags: dict[str, bytes], name: str) -> str:
    """A tag of a signature that may be broken, for showing."""
    return without_blanks(tags.get(name, b"")).decode("utf-8", "replace")[:255]


def _canonicalization(value: bytes) -> tuple[bool, bool]:
    header, _, body = value.partition(b"/")
    try:
        return _FORMS[header.strip()], _FORMS[body.strip() or b"simple"]
    except KeyError:
        raise TagError("c= has no canonicalization that we know") from None


def _names(value: bytes) -> tuple[str, ...]:
    names = tuple(name.strip().lower().decode("ascii", "replace") for name in value.split(b":"))
    if not all(names):
        raise TagError("h= has an empty name")
    if "from" not in names:
        raise TagError("From is not signed")
    return names


def _number(tags: dict[str, bytes], name: str) -> int | None:
    value = tags.get(name)
    if value is None:
        return None
    if not value.isdigit() or len(value) > _LONGEST_NUMBER:
        raise TagError(f"{name}= is not a number that we can use")
    return int(value)


def _base64(value: bytes, name: str) -> bytes:
    try:
        return base64.b64decode(without_blanks(value), validate=True)
    except binascii.Error:
        raise TagError(f"{name}= is not base64") from None


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise TagError("a tag is neither ASCII nor UTF-8") from None
