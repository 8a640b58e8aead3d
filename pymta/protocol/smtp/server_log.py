"""What a server session writes to the log, in the forms that log readers know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pymta.model.address import Address
from pymta.model.envelope import Client
from pymta.protocol.smtp.server_events import Note

if TYPE_CHECKING:
    from pymta.protocol.smtp.commands import Command
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
    """How often each verb came and how often it did what it should."""

    __slots__ = ("_seen", "_succeeded", "got_bare_newline")

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._succeeded: dict[str, int] = {}
        self.got_bare_newline = False

    def seen(self, verb: str) -> None:
        self._seen[verb] = self._seen.get(verb, 0) + 1

    def succeeded(self, verb: str) -> None:
        self._succeeded[verb] = self._succeeded.get(verb, 0) + 1

    def disconnect_line(self, label: str, commands: Sequence[Command]) -> str:
        """`disconnect from NAME[ADDR] ehlo=1 rcpt=1/2 quit=1 commands=3/4`."""
        verbs = [command.verb for command in commands if command.verb in self._seen]
        if "UNKNOWN" in self._seen:
            verbs.append("UNKNOWN")
        counts = [f"{verb.lower()}={self._share(verb)}" for verb in verbs]
        total, good = sum(self._seen.values()), sum(self._succeeded.values())
        counts.append(f"commands={_share(good, total)}")
        notes = " notes=bare_lf" if self.got_bare_newline else ""
        return f"disconnect from {label} {' '.join(counts)}{notes}"

    def _share(self, verb: str) -> str:
        return _share(self._succeeded.get(verb, 0), self._seen[verb])


def _share(good: int, total: int) -> str:
    return str(total) if good == total and total else f"{good}/{total}"
