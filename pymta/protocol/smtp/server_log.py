"""What a server session writes to the log, in the forms that log readers know."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from pymta.model.address import Address
from pymta.model.envelope import Client
from pymta.protocol.smtp.server_events import Note

if TYPE_CHECKING:
    from pymta.protocol.smtp.server import ServerSession

AFTER_MESSAGE = "END-OF-MESSAGE"


def sasl_words(client: Client) -> str:
    """What follows `client=NAME[ADDR]` for one who logged in, or who says in MAIL for whom he sends."""
    if not (client.sasl_method or client.sasl_username or client.sasl_sender):
        return ""
    words = [("sasl_method", client.sasl_method), ("sasl_username", client.sasl_username)]
    words.append(("sasl_sender", client.sasl_sender))
    return "".join(f", {name}={value}" for name, value in words if value)


def escaped(text: str) -> str:
    """`text` on one line: line ends and control characters as backslash sequences."""
    if text.isprintable():
        return text
    # Not the codec unicode_escape: it is loaded at its first use, when root's folders may be closed to us.
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def reject_line(session: ServerSession, where: str, text: str, sender: Address | None = None) -> str:
    """`reject: MAIL from NAME[ADDR]: TEXT; from=<..> to=<..> proto=ESMTP helo=<..>`, what is known of it."""
    transaction = session.transaction
    sender = sender if sender is not None else transaction.sender
    parts = []
    if sender is not None:
        parts.append(f"from=<{sender}>")
    if len(transaction.recipients) == 1:
        parts.append(f"to=<{transaction.recipients[0].address}>")
    parts.append(f"proto={session.client.protocol}")
    if session.helo_name is not None:
        parts.append(f"helo=<{session.helo_name}>")
    return f"reject: {where} from {session.label}: {text}; {' '.join(parts)}"


def note_bad_address(session: ServerSession, path: str) -> None:
    line = f"Illegal address syntax from {session.label} in {session.verb} command: {escaped(path)}"
    session.emit(Note(line, is_warning=True))


def note_bdat(session: ServerSession, text: str) -> None:
    session.emit(Note(f"{session.transaction.queue_id or 'NOQUEUE'}: {escaped(text)}", is_warning=True))


def note_end(session: ServerSession, reason: str) -> None:
    """Why a session ended early; a client that leaves behind its message without QUIT is not worth a line."""
    if session.where == AFTER_MESSAGE and reason == "lost connection":
        return
    size = f" ({session.message.size} bytes)" if session.message.is_reading and session.message.content else ""
    prefix = f"{session.transaction.queue_id}: " if session.transaction.queue_id else ""
    session.emit(Note(f"{prefix}{reason} after {session.where}{size} from {session.label}"))


class Tally:
    """How often each verb came (`seen`) and how often it did what it should (`good`)."""

    __slots__ = ("good", "got_bare_newline", "seen")

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}
        self.good: dict[str, int] = {}
        self.got_bare_newline = False

    def disconnect_line(self, label: str, order: tuple[str, ...]) -> str:
        """`disconnect from NAME[ADDR] ehlo=1 rcpt=1/2 quit=1 commands=3/4`, verbs in `order`."""
        counts = _counts(tuple(self.seen.items()), tuple(self.good.items()), order)
        return f"disconnect from {label} {counts}{' notes=bare_lf' if self.got_bare_newline else ''}"


# Most sessions are like one before.
@lru_cache(maxsize=256)
def _counts(seen: tuple[tuple[str, int], ...], good: tuple[tuple[str, int], ...], order: tuple[str, ...]) -> str:
    came, did = dict(seen), dict(good)
    verbs = [verb for verb in (*order, "UNKNOWN") if verb in came]
    words = [f"{verb.lower()}={_share(did.get(verb, 0), came[verb])}" for verb in verbs]
    return " ".join([*words, f"commands={_share(sum(did.values()), sum(came.values()))}"])


def _share(good: int, total: int) -> str:
    return str(total) if good == total and total else f"{good}/{total}"
