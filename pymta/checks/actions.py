"""What the results of header_checks and body_checks do to content, wherever it is checked (header_checks(5))."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, ClassVar

from pymta.model.frozen import frozen
from pymta.ports import Log

_HEADER = re.compile(r"[!-9;-~]+[ \t]*:")
_CRLF = b"\r\n"


class Part(Enum):
    """What is looked at; the value is the word of the log."""

    HEADER = "header"
    BODY = "body"


@frozen
class Looked:
    """One header field or body line (`text`, without its last line end) and the parameter whose tables it matched."""

    part: Part
    text: str
    raw: bytes
    parameter: str


Action = Callable[[Any, Looked, str], bytes]
"""From the actions of a message, what was looked at and the text behind the action's word to what takes its place."""


class CheckActions:
    """One message's. `is_over` is true when nothing more of the message is to be looked at."""

    known: ClassVar[Mapping[str, Action]]
    shown_limit: ClassVar[int] = 60
    """Characters of a field or line that the log shows."""

    def __init__(self, log: Log, queue_id: str) -> None:
        self.is_over = False
        self._log = log
        self._queue_id = queue_id

    def apply(self, looked: Looked, result: str) -> bytes:
        """Act on a table's result; the bytes that take the place of what was looked at."""
        word, _, text = result.strip().partition(" ")
        action = self.known.get(word.upper())
        if action is None:
            self._warn_unknown(looked, result.strip())
            return looked.raw
        return action(self, looked, text.strip())

    # Words for the log.

    def _note(self, what: str, looked: Looked, text: str = "") -> None:
        shown = "".join(char if char.isprintable() else "?" for char in looked.text[: self.shown_limit])
        said = f": {text}" if text else ""
        self._log.info(f"{self._queue_id}: {what}: {looked.part.value} {shown}{self._origin()}{said}")

    def _origin(self) -> str:
        """Where the message comes from, a blank first."""
        return ""

    def _warn(self, text: str) -> None:
        self._log.warning(text)

    def _warn_unknown(self, looked: Looked, result: str) -> None:
        self._warn(f"unsupported command in {looked.parameter} map: {result}")

    # Actions.

    def _pass_on(self, looked: Looked, text: str) -> bytes:
        return looked.raw

    def _warning(self, looked: Looked, text: str) -> bytes:
        self._note("warning", looked, text)
        return looked.raw

    def _info(self, looked: Looked, text: str) -> bytes:
        self._note("info", looked, text)
        return looked.raw

    def _ignore(self, looked: Looked, text: str) -> bytes:
        return b""

    def _strip(self, looked: Looked, text: str) -> bytes:
        self._note("strip", looked, text)
        return b""

    def _prepend(self, looked: Looked, text: str) -> bytes:
        if not self._can_stand("PREPEND", looked, text):
            return looked.raw
        self._note("prepend", looked, text)
        return _line(text) + looked.raw

    def _replace(self, looked: Looked, text: str) -> bytes:
        if not self._can_stand("REPLACE", looked, text):
            return looked.raw
        self._note("replace", looked, text)
        return _line(text)

    def _can_stand(self, action: str, looked: Looked, text: str) -> bool:
        if not text:
            self._warn(f"{action} action without text in {looked.parameter} map")
            return False
        if looked.part is Part.HEADER and not is_header(text):
            need = 'need "headername: headervalue"'
            self._warn(f'bad {action} header text "{text}" in {looked.parameter} map -- {need}')
            return False
        return True


CheckActions.known = {
    "DUNNO": CheckActions._pass_on,
    "IGNORE": CheckActions._ignore,
    "INFO": CheckActions._info,
    "OK": CheckActions._pass_on,
    "PREPEND": CheckActions._prepend,
    "REPLACE": CheckActions._replace,
    "STRIP": CheckActions._strip,
    "WARN": CheckActions._warning,
}


def is_header(text: str) -> bool:
    """Whether `text` may stand in a header as a field, or as several."""
    return _HEADER.match(text) is not None


def _line(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape").replace(b"\n", _CRLF) + _CRLF
