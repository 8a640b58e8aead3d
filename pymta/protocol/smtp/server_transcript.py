"""Sessions that remember what was said, for the postmaster who wants to hear of errors (postconf(5) notify_classes)."""

from __future__ import annotations

from typing import Any

from pymta.model.access import Stage, Verdict
from pymta.model.reply import Reply
from pymta.protocol.smtp.commands import Command
from pymta.protocol.smtp.server import ServerSession
from pymta.protocol.smtp.server_events import Errors

KINDS = frozenset({"bounce", "data", "policy", "protocol", "resource", "software"})
"""The classes of errors that a session can have."""

# Commands and replies of a session that are kept, and bytes of each command.
_LONGEST = 400
_LARGEST = 256
_WIDTH = 78
_OWN_FAULTS = (
    ("Temporary lookup failure", "resource"),
    ("queue file write error", "resource"),
    ("Server configuration error", "software"),
)
_CUT = " (What followed is not shown.)"


class TranscriptSession(ServerSession):
    """Keeps the first commands and replies, long commands in part; content and what SASL says are in neither.

    Where the session has errors of a `wanted` kind, it asks for them to be reported before it closes.
    """

    def __init__(self, *arguments: Any, wanted: frozenset[str], **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._wanted = wanted
        self._kinds: set[str] = set()
        self._kind = "protocol"
        self._said: list[bytes | Reply] = []
        self._reason = ""

    def reply(self, reply: Reply) -> None:
        if reply.code < 400 and len(self._said) < _LONGEST:
            self._said.append(reply)
        super().reply(reply)

    def final(self, reply: Reply) -> Reply:
        reply = super().final(reply)
        self._kinds.add(_own_kind(reply) or self._kind)
        if len(self._said) < _LONGEST:
            self._said.append(reply)
        if reply.code == 421 and self.error_count >= self.options.hard_error_limit:
            self._reason = "too many errors"
        return reply

    def time_out(self) -> None:
        self._reason = "timeout"
        super().time_out()

    def give_up_on_client(self) -> None:
        self._reason = "lost connection"
        super().give_up_on_client()

    def take_effects(self, verdict: Verdict, stage: Stage | None = None) -> None:
        if verdict.reply:
            self._kind = _policy_kind(verdict.reply)
        super().take_effects(verdict, stage)

    def draft_opened(self, refusal: Reply | None = None) -> None:
        self._kind = "resource"
        super().draft_opened(refusal)

    def message_result(self, reply: Reply) -> None:
        self._kind = "policy" if reply.is_permanent else "resource"
        super().message_result(reply)

    def close(self) -> None:
        if not self.is_closed and (due := frozenset(self._kinds & self._wanted)):
            self.ask(Errors(due, self.label, self._text()), lambda *_: None)
        super().close()

    def _counted(self, command: Command, argument: str, refusal: Reply | None) -> None:
        if refusal:
            self._kind = "policy"
        super()._counted(command, argument, refusal)

    def _read_command(self, line: bytes) -> None:
        self._kind = "protocol"
        if len(self._said) < _LONGEST:
            self._said.append(line[:_LARGEST])
        super()._read_command(line)

    def _text(self) -> str:
        """In the form of Postfix's notices."""
        lines = [part for said in self._said for part in _lines(said)]
        if len(self._said) == _LONGEST:
            lines.append(_CUT)
        reason = f"Session aborted, reason: {self._reason}\n" if self._reason else ""
        shown = "\n".join(lines)
        return f"Transcript of session follows.\n\n{shown}\n\n{reason}\nFor other details, see the local mail logfile\n"


def _own_kind(reply: Reply) -> str:
    """What a reply says of itself, whoever gave it."""
    if reply.code == 552:
        # What MAIL announced is refused by a rule; what came all the same would have bounced.
        return "policy" if "fixed limit" in reply.lines[0] else "bounce"
    # By their words: a rule may give the same code and status (`retry:4.3.0 later` in transport_maps).
    return next((kind for words, kind in _OWN_FAULTS if reply.code == 451 and reply.lines[0].endswith(words)), "")


def _policy_kind(reply: Reply) -> str:
    """Mail to nobody is a bounce that did not have to be sent."""
    return "bounce" if reply.status and reply.status.endswith(".1.1") else "policy"


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
