"""The few facts of a certificate that the ssl module tells of trusted ones only (RFC 5280 4.1)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime

from pymta.model.frozen import frozen

_SEQUENCE, _CONTEXT_0, _UTC_TIME = 0x30, 0xA0, 0x17
_COMMON_NAME = bytes.fromhex("550403")
_ORGANIZATION = bytes.fromhex("55040a")
_TEXT_CODECS = {0x0C: "utf-8", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1E: "utf-16-be", 0x1C: "utf-32-be"}
_UNPRINTABLE = re.compile(r"[^ -~]")
_NAME_LIMIT = 255


class CertificateError(ValueError):
    """What should be a certificate is none."""


@frozen
class Certificate:
    """Names are common names; an issuer without one shows its organization. `public_key` is SubjectPublicKeyInfo."""

    der: bytes
    subject: str
    issuer: str
    is_self_issued: bool
    not_before: datetime
    not_after: datetime
    public_key: bytes

    def fingerprint(self, digest: str) -> str:
        return colon_hex(hashlib.new(digest, self.der).digest())

    def public_key_fingerprint(self, digest: str) -> str:
        return colon_hex(hashlib.new(digest, self.public_key).digest())


def colon_hex(data: bytes) -> str:
    """`0A:1B:...`."""
    return data.hex(":").upper()


def parse_certificate(der: bytes) -> Certificate:
    """Read a certificate from DER. Raises CertificateError."""
    try:
        outer = _children(_only(der))
        fields = [one for one in _children(next(outer)) if one.tag != _CONTEXT_0]
        _, _, issuer, validity, subject, public_key = fields[:6]
        not_before, not_after = (_time(one) for one in _children(validity))
        issuer_names = _names(issuer)
        return Certificate(
            der,
            subject=_names(subject).get(_COMMON_NAME, ""),
            issuer=issuer_names.get(_COMMON_NAME) or issuer_names.get(_ORGANIZATION, ""),
            is_self_issued=issuer.value == subject.value,
            not_before=not_before,
            not_after=not_after,
            public_key=public_key.whole,
        )
    except (ValueError, IndexError, StopIteration) as error:
        raise CertificateError(f"not an X.509 certificate: {error}") from None


@frozen
class _Element:
    """One DER element: its value, and the `whole` with tag and length."""

    tag: int
    value: bytes
    whole: bytes


def _only(data: bytes) -> _Element:
    return next(_elements(data))


def _children(element: _Element) -> Iterator[_Element]:
    return _elements(element.value)


def _elements(data: bytes) -> Iterator[_Element]:
    at = 0
    while at < len(data):
        tag, length, start = data[at], data[at + 1], at + 2
        if length & 0x80:
            count = length & 0x7F
            if not 1 <= count <= 4:
                raise ValueError("bad length")
            length = int.from_bytes(data[start : start + count], "big")
            start += count
        end = start + length
        if end > len(data):
            raise ValueError("it is cut short")
        yield _Element(tag, data[start:end], data[at:end])
        at = end


def _names(name: _Element) -> dict[bytes, str]:
    """The attributes of a distinguished name, the last of each kind, fit for a log line."""
    found = {}
    for relative in _children(name):
        for attribute in _children(relative):
            kind, value = list(_children(attribute))[:2]
            text = value.value.decode(_TEXT_CODECS.get(value.tag, "latin-1"), "replace")
            if "\0" not in text:
                # A name with NUL in it was made to look like another.
                found[kind.value] = _UNPRINTABLE.sub("?", text[:_NAME_LIMIT])
    return found


def _time(element: _Element) -> datetime:
    text = element.value.decode("ascii")
    if element.tag == _UTC_TIME:
        text = ("19" if text[:2] >= "50" else "20") + text
    # Not strptime(): it imports a module when it is first used, which may be after root was given up.
    if len(text) != 15 or not text.endswith("Z"):
        raise ValueError(f"not a time: {text!r}")
    parts = (text[:4], text[4:6], text[6:8], text[8:10], text[10:12], text[12:14])
    year, month, day, hour, minute, second = map(int, parts)
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
