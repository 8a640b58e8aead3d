"""Which header fields cleanup(8) knows, and what it does with each."""

from __future__ import annotations

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
KNOWN_FIELDS = SENDER_FIELDS | RECIPIENT_FIELDS | RESENT_FIELDS | _NOTED
"""Those that matter whatever `message_drop_headers` says."""


def spellings(name: str) -> tuple[bytes, ...]:
    """A name as most messages write it, so that most fields need no further look; in lower case first."""
    title = name.title()
    return (name.encode(), title.encode(), name.upper().encode(), title.replace("-Id", "-ID").encode())


PLACES: dict[str, Place] = dict.fromkeys(SENDER_FIELDS, Place.HEADER_SENDER) | dict.fromkeys(
    RECIPIENT_FIELDS, Place.HEADER_RECIPIENT
)
"""The role of the addresses in those fields that have some."""
