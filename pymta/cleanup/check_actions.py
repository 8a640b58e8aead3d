"""What the results of header_checks and body_checks do (header_checks(5), ACTIONS)."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from pymta.cleanup.completion import is_header
from pymta.model.access import Effect, EffectKind
from pymta.model.frozen import frozen
from pymta.model.reply import Reply, split_status
from pymta.ports import Log

_NOTED = 200
_DEFAULT_REASON = "message content rejected"
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


class CheckActions:
    """The outcome for one message. `describe` is what the log says of where it comes from.

    `is_over` turns true when nothing more of the message is to be looked at.
    """

    def __init__(self, log: Log, queue_id: str, describe: Callable[[], str]) -> None:
        self.effects: list[Effect] = []
        self.refusal: Reply | None = None
        self.is_over = False
        self._log = log
        self._queue_id = queue_id
        self._describe = describe

    def apply(self, looked: Looked, result: str) -> bytes:
        """Act on a table's result; the bytes that take the place of what was looked at."""
        word, _, text = result.strip().partition(" ")
        action = _ACTIONS.get(word.upper())
        if action is None:
            self._warn(f"unknown command in {looked.parameter} map: {result.strip()}")
            return looked.raw
        return action(self, looked, text.strip())

    def _note(self, what: str, looked: Looked, text: str = "") -> None:
        shown = "".join(char if char.isprintable() else "?" for char in looked.text[:_NOTED])
        said = f": {text}" if text else ""
        self._log.info(f"{self._queue_id}: {what}: {looked.part.value} {shown} {self._describe()}{said}")

    def _warn(self, text: str) -> None:
        self._log.warning(f"{self._queue_id}: {text}")

    def _effect(self, kind: EffectKind, value: str = "") -> None:
        self.effects.append(Effect(kind, value))

    # --- actions ---

    def _pass_on(self, looked: Looked, text: str) -> bytes:
        return looked.raw

    def _reject(self, looked: Looked, text: str) -> bytes:
        status, reason = split_status(text)
        status, reason = status or "5.7.1", reason or _DEFAULT_REASON
        self._note("reject", looked, f"{status} {reason}")
        self.refusal = Reply.of(451 if status.startswith("4") else 550, reason, status)
        self.is_over = True
        return looked.raw

    def _discard(self, looked: Looked, text: str) -> bytes:
        self._note("discard", looked, text)
        self._effect(EffectKind.DISCARD)
        self.is_over = True
        return looked.raw

    def _pass_all(self, looked: Looked, text: str) -> bytes:
        self._note("pass", looked, text)
        self.is_over = True
        return looked.raw

    def _hold(self, looked: Looked, text: str) -> bytes:
        if all(effect.kind is not EffectKind.HOLD for effect in self.effects):
            self._note("hold", looked, text)
            self._effect(EffectKind.HOLD)
        return looked.raw

    def _warning(self, looked: Looked, text: str) -> bytes:
        self._note("warning", looked, text)
        return looked.raw

    def _info(self, looked: Looked, text: str) -> bytes:
        self._note("info", looked, text)
        return looked.raw

    def _filter(self, looked: Looked, text: str) -> bytes:
        if not text:
            self._warn(f"missing FILTER command argument in {looked.parameter} map")
        elif ":" not in text:
            self._warn(f"bad FILTER command {text} in {looked.parameter} -- need transport:destination")
        else:
            self._note("filter", looked, text)
            self._effect(EffectKind.FILTER, text)
        return looked.raw

    def _redirect(self, looked: Looked, text: str) -> bytes:
        if self._is_address("REDIRECT target", looked, text):
            self._note("redirect", looked, text)
            self._effect(EffectKind.REDIRECT, text)
            self.is_over = True
        return looked.raw

    def _bcc(self, looked: Looked, text: str) -> bytes:
        if self._is_address("BCC address", looked, text):
            self._note("bcc", looked, text)
            self._effect(EffectKind.BCC, text)
        return looked.raw

    def _is_address(self, what: str, looked: Looked, text: str) -> bool:
        if "@" not in text:
            self._warn(f'bad {what} "{text}" in {looked.parameter} map -- need user@domain')
        return "@" in text

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


def _line(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape").replace(b"\n", _CRLF) + _CRLF


_ACTIONS: dict[str, Callable[[CheckActions, Looked, str], bytes]] = {
    "BCC": CheckActions._bcc,
    "DISCARD": CheckActions._discard,
    "DUNNO": CheckActions._pass_on,
    "FILTER": CheckActions._filter,
    "HOLD": CheckActions._hold,
    "IGNORE": CheckActions._ignore,
    "INFO": CheckActions._info,
    "OK": CheckActions._pass_on,
    "PASS": CheckActions._pass_all,
    "PREPEND": CheckActions._prepend,
    "REDIRECT": CheckActions._redirect,
    "REJECT": CheckActions._reject,
    "REPLACE": CheckActions._replace,
    "STRIP": CheckActions._strip,
    "WARN": CheckActions._warning,
}
