"""dkimpy's syntax: tag lists and the rules of signature fields, made safe for any input. The only file that knows it.

What dkimpy does to whole messages is not used: its canonicalisation is quadratic in runs of blanks, its RSA is pure
Python (twenty times the time of OpenSSL's), it wants the message in memory, and it takes a name server's silence for
a bad signature.
"""

from __future__ import annotations

import re

import dkim
from dkim.util import InvalidTagValueList, parse_tag_value

MAXIMUM_TAG_LIST = 16384
# dkimpy's messages show bytes as Python writes them.
_BYTES = re.compile(r"\bb'([^']*)'")


class TagError(ValueError):
    """A tag list, or a DKIM-Signature field, that is not one; the text is for the reason of a result."""


def parse_tags(text: bytes) -> dict[str, bytes]:
    """A tag=value list (RFC 6376 3.2): values unfolded, without blanks around them. Raises TagError."""
    if len(text) > MAXIMUM_TAG_LIST:
        raise TagError("too long")
    try:
        found: dict[bytes, bytes] = parse_tag_value(text.replace(b"\r\n", b""))
        return {name.decode("ascii"): value for name, value in found.items()}
    except (InvalidTagValueList, ValueError, IndexError) as error:
        raise TagError(f"bad syntax: {_shown(error)}") from None


def check_signature_tags(tags: dict[str, bytes]) -> None:
    """Whether the tags of a DKIM-Signature are all there and well-formed (RFC 6376 3.5). Raises TagError.

    Times are left to the caller, who has a clock; blanks in base64 are taken out first, since dkimpy's check of
    them takes time in the square of their number.
    """
    checked = {name.encode(): value for name, value in tags.items() if name not in ("t", "x", "q")}
    for name in (b"b", b"bh"):
        if name in checked:
            checked[name] = without_blanks(checked[name])
    try:
        dkim.validate_signature_fields(checked)
    except (dkim.DKIMException, ValueError, IndexError) as error:
        raise TagError(_shown(error)) from None


def without_blanks(value: bytes) -> bytes:
    """Base64 as it may be folded in a header or a record."""
    return b"".join(value.split())


def _shown(error: Exception) -> str:
    text = error.args[0] if error.args else type(error).__name__
    shown = text.decode("latin-1") if isinstance(text, bytes) else _BYTES.sub(r"\1", str(text))
    return "".join(character if " " <= character <= "~" else "?" for character in shown[:100])
