"""Sessions that remember what was said, for the postmaster who wants to hear of errors (postconf(5) notify_classes)."""

from __future__ import annotations

from typing import Any

from pymta.model.reply import Reply
from pymta.protocol.smtp.server import LONGEST_TRANSCRIPT, ServerSession
from pymta.protocol.smtp.server_blame import own_kind
from pymta.protocol.smtp.server_events import Errors

_WIDTH = 78
_CUT = " (What followed is not shown.)"


class TranscriptSession(ServerSession):
    """Keeps the first commands and replies, long commands in part; content and what SASL says are in neither.

    Where the session has errors of a `wanted` kind, it asks for them to be reported before it closes.
    """

    def __init__(self, *arguments: Any, wanted: frozenset[str], **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._transcript: list[bytes | Reply] = []
        self.said = self._transcript
        self._wanted = wanted
        self._kinds: set[str] = set()
        self._reason = ""

    def final(self, reply: Reply) -> Reply:
        reply = super().final(reply)
        self._kinds.add(own_kind(reply) or self.blame)
        if reply.code == 421 and self.error_count >= self.options.hard_error_limit:
            self._reason = "too many errors"
        return reply

    def time_out(self) -> None:
        self._reason = "timeout"
        super().time_out()

    def give_up_on_client(self) -> None:
        self._reason = "lost connection"
        super().give_up_on_client()

    def close(self) -> None:
        if not self.is_closed and (due := frozenset(self._kinds & self._wanted)):
            self.ask(Errors(due, self.label, self._text()), lambda *_: None)
        super().close()

    def _text(self) -> str:
        """In the form of Postfix's notices."""
        lines = [part for said in self._transcript for part in _lines(said)]
        if len(self._transcript) == LONGEST_TRANSCRIPT:
            lines.append(_CUT)
        reason = f"Session aborted, reason: {self._reason}\n" if self._reason else ""
        shown = "\n".join(lines)
        return f"Transcript of session follows.\n\n{shown}\n\n{reason}\nFor other details, see the local mail logfile\n"


def _lines(said: bytes | Reply) -> list[str]:
    if isinstance(said, bytes):
        return _wrapped(f"In:  {_without_secret(said.decode('utf-8', 'backslashreplace'))}")
    return [part for line in said.encode().decode("utf-8", "replace").splitlines() for part in _wrapped(f"Out: {line}")]


def _without_secret(command: str) -> str:
    words = command.split(None, 2)
    return f"{words[0]} {words[1]} (not shown)" if len(words) > 2 and words[0].upper() == "AUTH" else command


def _wrapped(text: str) -> list[str]:
    """Broken at blanks; what has none stays long. What follows is indented."""
    lines = []
    indent = ""
    while len(indent) + len(text) > _WIDTH:
        cut = text.rfind(" ", 1, _WIDTH - len(indent) + 1)
        if cut < 0:
            cut = text.find(" ", _WIDTH - len(indent))
        if cut < 0:
            break
        lines.append(f" {indent}{text[:cut]}")
        text, indent = text[cut + 1 :], "    "
    return [*lines, f" {indent}{text}"]
