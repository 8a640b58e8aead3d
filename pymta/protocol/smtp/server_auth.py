"""AUTH on the server's side (RFC 4954; replies and log lines of smtpd(8))."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from dataclasses import replace
from typing import TYPE_CHECKING

from pymta.model.frozen import frozen
from pymta.model.reply import Reply
from pymta.model.sasl import SaslChallenge, SaslFailure, SaslStep, SaslSuccess
from pymta.protocol.smtp.server_events import Authenticate, CancelAuthentication, Delay, Note
from pymta.protocol.smtp.server_log import escaped

if TYPE_CHECKING:
    from pymta.protocol.smtp.server import ServerSession

_HELLO_FIRST = Reply.of(503, "Error: send HELO/EHLO first", "5.5.1")
_NOT_ENABLED = Reply.of(503, "Error: authentication not enabled", "5.5.1")
_IN_TRANSACTION = Reply.of(503, "Error: MAIL transaction in progress", "5.5.1")
_NEEDS_TLS = Reply.of(538, "Encryption required for requested authentication mechanism", "5.7.11")
_ALREADY = Reply.of(503, "Error: already authenticated", "5.5.1")
_SYNTAX = Reply.of(501, "Syntax: AUTH mechanism", "5.5.4")
_TOO_LONG = Reply.of(500, "SASL response limit exceeded", "5.5.6")
_ABORTED = Reply.of(501, "Authentication aborted", "5.7.0")
_SUCCESS = Reply.of(235, "Authentication successful", "2.7.0")
_NO_MECHANISM = SaslFailure("Invalid authentication mechanism")
_UNAVAILABLE = SaslFailure("cannot be checked now", is_temporary=True)
_BASE64 = re.compile(rb"[A-Za-z0-9+/]*={0,2}")


@frozen
class AuthRules:
    """What AUTH is in one session; a session without rules has it not enabled.

    `clear` and `secured` are the mechanisms without and with TLS. `is_announced` is False for clients of
    `smtpd_sasl_exceptions_networks`, `is_available` while nobody can tell who is who. `needs_tls` is
    `smtpd_tls_auth_only`, `repeats_keyword` `broken_sasl_auth_clients`, `response_limit` in bytes.
    """

    clear: tuple[str, ...] = ()
    secured: tuple[str, ...] = ()
    is_announced: bool = True
    is_available: bool = True
    needs_tls: bool = False
    repeats_keyword: bool = False
    response_limit: int = 12288

    def mechanisms(self, has_tls: bool) -> tuple[str, ...]:
        return self.secured if has_tls else self.clear


def auth_keywords(session: ServerSession) -> tuple[str, ...]:
    """The lines of the EHLO reply that tell of AUTH."""
    rules, has_tls = session.auth, session.tls is not None
    if rules is None or not rules.is_announced:
        return ()
    if not has_tls and (rules.needs_tls or session.options.enforce_tls):
        return ()
    names = " ".join(rules.mechanisms(has_tls))
    if not names:
        return ()
    return (f"AUTH {names}", f"AUTH={names}") if rules.repeats_keyword else (f"AUTH {names}",)


def check_auth(session: ServerSession, argument: str) -> Reply | list[str]:
    """The refusal, or mechanism and perhaps initial response."""
    rules = session.auth
    if rules is None or not session.options.offers("AUTH"):
        return _NOT_ENABLED
    if session.options.helo_required and session.helo_name is None:
        return _HELLO_FIRST
    if session.transaction.sender is not None:
        return _IN_TRANSACTION
    if rules.needs_tls and session.tls is None:
        return _NEEDS_TLS
    if session.client.sasl_username:
        return _ALREADY
    words = argument.split()
    return words if 1 <= len(words) <= 2 else _SYNTAX


def begin_auth(session: ServerSession, words: list[str]) -> None:
    attempt = _Attempt(session, words[0])
    if len(words) < 2:
        attempt.step(None)
    elif words[1] == "=":
        # RFC 4954 4: an initial response that is there and empty.
        attempt.step(b"")
    else:
        attempt.decode(words[1].encode(), "initial")


class _Attempt:
    """One AUTH command, from its mechanism to the verdict. `_exchange` is the owner's, and means nothing to us."""

    def __init__(self, session: ServerSession, method: str) -> None:
        self._session = session
        self._method = method
        self._exchange: object = None

    def step(self, response: bytes | None) -> None:
        session = self._session
        assert session.auth is not None
        if self._exchange is None and self._method.upper() not in session.auth.mechanisms(session.tls is not None):
            self._take(_NO_MECHANISM if session.auth.is_available else _UNAVAILABLE)
            return
        session.ask(Authenticate(self._method, response, self._exchange), self._take)

    def decode(self, text: bytes, which: str) -> None:
        """Base64, and nothing else (RFC 4954 4)."""
        try:
            if not _BASE64.fullmatch(text):
                raise ValueError
            self.step(b64decode(text, validate=True))
        except (binascii.Error, ValueError):
            self._cancel()
            self._take(SaslFailure(f"Invalid base64 data in {which} response"))

    def _take(self, step: SaslStep, exchange: object = None) -> None:
        self._exchange = exchange if exchange is not None else self._exchange
        if isinstance(step, SaslChallenge):
            self._session.reply(Reply.of(334, b64encode(step.data).decode()))
            assert self._session.auth is not None
            self._session.expect_line(self._respond, self._session.auth.response_limit)
        elif isinstance(step, SaslSuccess):
            self._succeed(step)
        elif step.delay > 0:
            self._session.ask(Delay(step.delay), lambda: self._fail(step))
        else:
            self._fail(step)

    def _respond(self, line: bytes | None) -> None:
        """A response to the challenge; None for one that is longer than any may be."""
        if line is None:
            self._cancel()
            self._session.fail(_TOO_LONG)
        elif line == b"*":
            self._cancel()
            self._note(f"SASL {escaped(self._method)} authentication aborted")
            self._session.fail(_ABORTED)
        else:
            self.decode(line, "continued")

    def _succeed(self, step: SaslSuccess) -> None:
        session = self._session
        session.client = replace(session.client, sasl_method=self._method, sasl_username=escaped(step.username))
        session.succeed(_SUCCESS)

    def _fail(self, step: SaslFailure) -> None:
        reason = escaped(step.reason) or "(reason unavailable)"
        username = escaped(step.username)[:256] or "(unavailable)"
        self._note(f"SASL {escaped(self._method)} authentication failed: {reason}, sasl_username={username}")
        if step.is_temporary:
            self._session.fail(Reply.of(454, f"Temporary authentication failure: {reason}", "4.7.0"))
        else:
            self._session.fail(Reply.of(535, f"Error: authentication failed: {reason}", "5.7.8"))

    def _cancel(self) -> None:
        if self._exchange is not None:
            self._session.emit(CancelAuthentication(self._exchange))

    def _note(self, text: str) -> None:
        self._session.emit(Note(f"{self._session.label}: {text}", is_warning=True))
