"""The header half of a signature: which fields, in which form; the DKIM-Signature field (RFC 6376 3.4, 3.5, 3.7)."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from pymta.model.frozen import frozen

_FIELD = re.compile(rb"[^\n]*\n(?:[ \t][^\n]*\n)*")
_NAME = "DKIM-Signature:"
_LINE = 75
_SIGNATURE_TAG = b";\r\n\tb="
_NOT_SAFE = re.compile(r"[^!-:<>-~]+")

# RFC 6376 5.4.1, with the fields that say what the content is.
SIGNED_BY_DEFAULT = (
    *("from", "sender", "reply-to", "subject", "date", "message-id", "to", "cc", "mime-version", "content-type"),
    *("content-transfer-encoding", "content-id", "content-description", "resent-date", "resent-from", "resent-sender"),
    *("resent-to", "resent-cc", "resent-message-id", "in-reply-to", "references", "list-id", "list-help"),
    *("list-unsubscribe", "list-unsubscribe-post", "list-subscribe", "list-post", "list-owner", "list-archive"),
)
# RFC 6376 5.4 and 3.5: fields that others change on the way, or that are no part of what is signed.
OMITTED_BY_DEFAULT = (*("return-path", "received", "comments", "keywords", "bcc", "resent-bcc", "dkim-signature"),)


def split_fields(header: bytes) -> list[bytes]:
    """The fields of a header whose lines are complete."""
    return _FIELD.findall(header)


class HeaderFields:
    """One message's fields, for any number of signatures over them."""

    def __init__(self, fields: Sequence[bytes]) -> None:
        self._by_name: dict[str, list[bytes]] = {}
        for field in fields:
            name = field.partition(b":")[0].rstrip(b" \t").lower().decode("ascii", "replace")
            self._by_name.setdefault(name, []).append(field)

    def first(self, name: str) -> bytes | None:
        """The first field of that name, as it stands."""
        found = self._by_name.get(name)
        return found[0] if found else None

    def listed(self, signed: Iterable[str], oversigned: frozenset[str]) -> tuple[str, ...]:
        """The names for `h=`: every field of `signed` as often as it is there; those of `oversigned` once more.

        An absent field that is listed stands for nothing, so that adding one breaks the signature (RFC 6376 5.4).
        """
        found: list[str] = []
        for name in signed:
            if fields := self._by_name.get(name):
                found += [name] * len(fields)
            if name in oversigned:
                found.append(name)
        return tuple(found)

    def canonical(self, names: Iterable[str], *, relaxed: bool) -> bytes:
        """The fields of `h=` as they are hashed; of several with one name the last comes first (RFC 6376 5.4.2)."""
        left: dict[str, int] = {}
        parts: list[bytes] = []
        for name in names:
            fields = self._by_name.get(name, ())
            index = left.get(name, len(fields)) - 1
            if index >= 0:
                left[name] = index
                parts.append(relaxed_field(fields[index]) if relaxed else fields[index])
        return b"".join(parts)


def relaxed_field(field: bytes) -> bytes:
    """RFC 6376 3.4.2: name in lower case, unfolded, single blanks, none at the ends of the value; ends in CRLF."""
    name, _, value = field.partition(b":")
    if b"\n" in value[:-2] or b"\t" in value:
        value = value.replace(b"\r\n", b"").replace(b"\t", b" ")
    else:
        value = value.removesuffix(b"\r\n")
    while b"  " in value:
        value = value.replace(b"  ", b" ")
    return b"%s:%s\r\n" % (name.rstrip(b" \t").lower(), value.strip(b" "))


@frozen
class Tags:
    """What a signature says but its two hashes. Times are whole seconds since the epoch, None for no `x=`."""

    algorithm: str
    relaxed_header: bool
    relaxed_body: bool
    domain: str
    selector: str
    identity: str
    timestamp: int
    expiration: int | None
    names: tuple[str, ...]


class SignatureField:
    """A DKIM-Signature field, of which only the values of `bh=` and `b=` are still open."""

    def __init__(self, tags: Tags) -> None:
        self._relaxed = tags.relaxed_header
        self._before = _before(tags)

    def unsigned(self, body_hash: bytes) -> bytes:
        """The field with an empty `b=` and no CRLF, in the form that is hashed (RFC 6376 3.7)."""
        text = self._before + base64.b64encode(body_hash) + _SIGNATURE_TAG
        return relaxed_field(text)[:-2] if self._relaxed else text

    def complete(self, body_hash: bytes, signature: bytes) -> bytes:
        """The field as it goes out, ending in CRLF."""
        text = base64.b64encode(signature)
        lines = [text[start : start + _LINE] for start in range(0, len(text), _LINE)]
        return self._before + base64.b64encode(body_hash) + _SIGNATURE_TAG + b"\r\n\t".join(lines) + b"\r\n"


@lru_cache(maxsize=256)
def _before(tags: Tags) -> bytes:
    """The field up to the value of `bh=`: the same for all messages of a second that have the same fields."""
    return _folded(_pieces(tags)) + b"\r\n\tbh="


def _pieces(tags: Tags) -> list[tuple[str, str]]:
    """The field up to `h=` in pieces that stay on one line, each with what stands before it there."""
    forms = {True: "relaxed", False: "simple"}
    values = {
        "v": "1",
        "a": tags.algorithm,
        "c": f"{forms[tags.relaxed_header]}/{forms[tags.relaxed_body]}",
        "d": tags.domain,
        "s": tags.selector,
        "i": _quoted_printable(tags.identity),
        "t": str(tags.timestamp),
        "x": "" if tags.expiration is None else str(tags.expiration),
    }
    pieces = [(" ", f"{name}={value};") for name, value in values.items() if value]
    # A list of names may be folded at its colons (RFC 6376 3.5).
    first, *others = tags.names
    names = [f"h={first}", *(f":{name}" for name in others)]
    names[-1] += ";"
    return [*pieces, (" ", names[0]), *(("", name) for name in names[1:])]


def _folded(pieces: Iterable[tuple[str, str]]) -> bytes:
    lines = [_NAME]
    for separator, piece in pieces:
        if len(lines[-1]) + len(separator) + len(piece) > _LINE:
            lines.append(f"\t{piece}")
        else:
            lines[-1] += separator + piece
    return "\r\n".join(lines).encode("ascii")


def _quoted_printable(text: str) -> str:
    """`dkim-quoted-printable` (RFC 6376 2.11)."""
    return _NOT_SAFE.sub(lambda match: "".join(f"={byte:02X}" for byte in match[0].encode()), text)
