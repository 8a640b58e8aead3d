"""What a restriction speaks about: the words of its refusals and the enhanced codes that fit them."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from pymta.model.access import AccessContext


class Kind(Enum):
    """The value is how a refusal names it: `<name>: Client host rejected: ...`."""

    CLIENT = "Client host"
    REVERSE_CLIENT = "Unverified Client host"
    SASL = "SASL login name"
    CERTIFICATE = "Client certificate"
    HELO = "Helo command"
    SENDER = "Sender address"
    RECIPIENT = "Recipient address"
    DATA = "Data command"
    END_OF_DATA = "End-of-data"
    ETRN = "Etrn command"


class Subject(NamedTuple):
    name: str
    kind: Kind

    def rejected(self, why: str) -> str:
        return f"<{self.name}>: {self.kind.value} rejected: {why}"

    def noted(self, what: str) -> str:
        return f"<{self.name}>: {self.kind.value} {what}"


SubjectOf = Callable[[AccessContext], Subject]
"""Most decisions refuse nothing: what they are about is put into words by whoever does."""


def client(context: AccessContext) -> Subject:
    return Subject(str(context.client), Kind.CLIENT)


def helo(context: AccessContext) -> Subject:
    return Subject(context.helo_name or "", Kind.HELO)


def sender(context: AccessContext) -> Subject:
    return Subject(str(context.sender) if context.sender else "", Kind.SENDER)


def recipient(context: AccessContext) -> Subject:
    return Subject(str(context.recipient) if context.recipient else "", Kind.RECIPIENT)


def data(context: AccessContext) -> Subject:
    return Subject("DATA", Kind.DATA)


def end_of_data(context: AccessContext) -> Subject:
    return Subject("END-OF-MESSAGE", Kind.END_OF_DATA)


def etrn(context: AccessContext) -> Subject:
    return Subject(context.etrn_domain, Kind.ETRN)


# access(5), ENHANCED STATUS CODES: an address status is turned into the one that says the same of a sender
# or of a recipient; about anything else it has no meaning.
_ADDRESS_STATUS = {
    "1.0": ("1.0", "1.0"),
    "1.1": ("1.7", "1.1"),
    "1.2": ("1.8", "1.2"),
    "1.3": ("1.7", "1.3"),
    "1.4": ("1.7", "1.4"),
    "1.5": ("1.0", "1.5"),
    "1.6": ("1.7", "1.6"),
    "1.7": ("1.7", "1.3"),
    "1.8": ("1.8", "1.2"),
}


def fitting_status(status: str, kind: Kind) -> str:
    """`status` (`5.1.1`) as it may be said about `kind`; the class stays."""
    class_, detail = status[:1], status[2:]
    pair = _ADDRESS_STATUS.get(detail)
    if pair is None:
        return status
    if kind is Kind.SENDER:
        return f"{class_}.{pair[0]}"
    if kind is Kind.RECIPIENT:
        return f"{class_}.{pair[1]}"
    return f"{class_}.0.0"
