"""What the results of header_checks and body_checks do to a message that comes in (header_checks(5), ACTIONS)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from pymta.checks.actions import Action, CheckActions, Looked
from pymta.model.access import Effect, EffectKind
from pymta.model.reply import Reply, split_status
from pymta.ports import Log

_DEFAULT_REASON = "message content rejected"


class IntakeActions(CheckActions):
    """The outcome for one message. `describe` is what the log says of where it comes from."""

    known: ClassVar[Mapping[str, Action]]
    shown_limit = 200

    def __init__(self, log: Log, queue_id: str, describe: Callable[[], str]) -> None:
        super().__init__(log, queue_id)
        self.effects: list[Effect] = []
        self.refusal: Reply | None = None
        self._describe = describe

    def _origin(self) -> str:
        return f" {self._describe()}"

    def _warn(self, text: str) -> None:
        self._log.warning(f"{self._queue_id}: {text}")

    def _warn_unknown(self, looked: Looked, result: str) -> None:
        self._warn(f"unknown command in {looked.parameter} map: {result}")

    def _effect(self, kind: EffectKind, value: str = "") -> None:
        self.effects.append(Effect(kind, value))

    # Actions.

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


IntakeActions.known = {
    **CheckActions.known,
    "BCC": IntakeActions._bcc,
    "DISCARD": IntakeActions._discard,
    "FILTER": IntakeActions._filter,
    "HOLD": IntakeActions._hold,
    "PASS": IntakeActions._pass_all,
    "REDIRECT": IntakeActions._redirect,
    "REJECT": IntakeActions._reject,
}
