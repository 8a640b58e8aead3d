"""Which header fields cleanup(8) knows, and what it does with each."""

from __future__ import annotations

from collections.abc import Iterable

from pymta.rewrite.canonical import Place

# Fields whose addresses are rewritten, by the role of these addresses (ADDRESS_REWRITING_README).
SENDER_FIELDS = frozenset(
    {
        *("disposition-notification-to", "errors-to", "from", "mail-followup-to", "reply-to", "return-path"),
        *("return-receipt-to", "sender", "resent-from", "resent-sender"),
    }
)
RECIPIENT_FIELDS = frozenset(
    {"apparently-to", "bcc", "cc", "to", "resent-bcc", "resent-cc", "resent-reply-to", "resent-to"}
)
RESENT_FIELDS = frozenset(
    {
        *("resent-bcc", "resent-cc", "resent-date", "resent-from", "resent-message-id", "resent-reply-to"),
        *("resent-sender", "resent-to"),
    }
)
VISIBLE_RECIPIENTS = frozenset({"to", "cc", "resent-to", "resent-cc"})
_NOTED = frozenset({"received", "message-id", "date", "content-transfer-encoding"})
_ALL = SENDER_FIELDS | RECIPIENT_FIELDS | RESENT_FIELDS | _NOTED

# The names in the spelling that most messages use, so that most fields need no further look.
_BY_NAME: dict[bytes, str] = {
    spelling: name for name in _ALL for spelling in (name.encode(), name.title().encode(), name.upper().encode())
} | {b"Message-ID": "message-id"}


def known_names(dropped: Iterable[str]) -> dict[bytes, str]:
    """Spellings of all names that matter when `message_drop_headers` are dropped too."""
    extra = {spelling: name.lower() for name in dropped for spelling in (name.encode(), name.lower().encode())}
    return _BY_NAME | extra


PLACES: dict[str, Place] = dict.fromkeys(SENDER_FIELDS, Place.HEADER_SENDER) | dict.fromkeys(
    RECIPIENT_FIELDS, Place.HEADER_RECIPIENT
)
"""The role of the addresses in those fields that have some."""
