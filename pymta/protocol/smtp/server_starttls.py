"""STARTTLS on the server's side (RFC 3207); replies as Postfix gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from pymta.model.reply import Reply
from pymta.model.tls import TlsSession
from pymta.protocol.smtp.commands import Command
from pymta.protocol.smtp.server_events import Note, PrepareTls, StartTls
from pymta.protocol.smtp.server_log import escaped

if TYPE_CHECKING:
    from pymta.protocol.smtp.server import ServerSession

_SYNTAX = Reply.of(501, "Syntax: STARTTLS", "5.5.4")
_ACTIVE = Reply.of(554, "Error: TLS already active", "5.5.1")
_NOT_OFFERED = Reply.of(502, "Error: command not implemented", "5.5.1")
_READY = Reply.of(220, "Ready to start TLS", "2.0.0")
_NOTHING = object()


def offers_starttls(session: ServerSession) -> bool:
    return session.options.starttls and session.tls is None and session.options.offers("STARTTLS")


def _check(session: ServerSession, argument: str) -> Reply | object:
    if argument.strip():
        return _SYNTAX
    if session.tls is not None:
        return _ACTIVE
    return _NOTHING if offers_starttls(session) else _NOT_OFFERED


def _starttls(session: ServerSession, nothing: object) -> None:
    session.ask(PrepareTls(), lambda refusal: _prepared(session, refusal))


def _prepared(session: ServerSession, refusal: Reply | None) -> None:
    if refusal:
        session.fail(refusal)
        return
    session.reply(_READY)
    session.ask(StartTls(), partial(_started, session))


def _started(session: ServerSession, tls: TlsSession | None, refusal: Reply | None = None) -> None:
    """RFC 3207 4.2: all that was said before is void, and so is what the client sent ahead of the handshake."""
    if tls is None:
        session.give_up_on_client()
        return
    if refusal:
        secure(session, tls)
        session.give_up(refusal)
        return
    session.count_success()
    session.lines.take_rest()
    session.reset_transaction()
    session.helo_name = None
    session.client = replace(session.client, helo="", sasl_method="", sasl_username="")
    secure(session, tls)
    unmet = _unmet_requirement(session)
    if unmet:
        session.emit(Note(f"NOQUEUE: abort: TLS from {session.label}: {unmet}"))
        session.farewell = Reply.of(421, f"{session.options.myhostname} Error: {unmet}", "4.7.1")


def begin_wrapped(session: ServerSession) -> None:
    """TLS before the greeting (`smtpd_tls_wrappermode`, RFC 8314)."""
    session.ask(StartTls(), partial(_wrapped, session))


def _wrapped(session: ServerSession, tls: TlsSession | None, refusal: Reply | None = None) -> None:
    if tls is None:
        session.give_up_on_client()
        return
    secure(session, tls)
    unmet = _unmet_requirement(session)
    if refusal:
        session.give_up(refusal)
    elif unmet:
        session.emit(Note(f"NOQUEUE: abort: TLS from {session.label}: {unmet}"))
        session.give_up(Reply.of(421, f"{session.options.myhostname} Error: {unmet}", "4.7.1"))
    else:
        session.greet_client()


def secure(session: ServerSession, tls: TlsSession) -> None:
    """From now on the session is one with TLS."""
    session.tls = tls
    session.client = replace(session.client, tls=tls.protocol)
    if session.options.log_peer_certificate and tls.certificate:
        shown = tls.certificate
        names = f"subject_CN={shown.subject}, issuer={shown.issuer}"
        prints = f"fingerprint={shown.fingerprint}, pkey_fingerprint={shown.public_key_fingerprint}"
        session.emit(Note(f"{session.label}: {names}, {prints}"))
    if session.options.log_tls:
        wanted = escaped(tls.server_name)
        if wanted and not tls.is_name_known:
            session.emit(Note(f"TLS SNI {wanted} from {session.label} not matched, using default chain"))
        to = f" to {wanted}" if wanted and tls.is_name_known else ""
        session.emit(Note(f"{tls.standing} TLS connection established from {session.label}{to}: {tls.summary}"))


def _unmet_requirement(session: ServerSession) -> str:
    """Why `smtpd_tls_req_ccert` ends the session; empty where it does not."""
    if not session.options.require_client_certificate or session.tls is None or session.tls.is_trusted:
        return ""
    return "Client certificate not trusted" if session.tls.certificate else "No client certificate presented"


STARTTLS = Command("STARTTLS", _check, _starttls, ends_group=True, works_without_tls=True)


def with_starttls(commands: Sequence[Command]) -> tuple[Command, ...]:
    """`commands` with STARTTLS behind EHLO, where the `disconnect` line counts it."""
    if any(command.verb == "STARTTLS" for command in commands):
        return tuple(commands)
    place = max((number for number, one in enumerate(commands, 1) if one.verb in ("HELO", "EHLO")), default=0)
    return (*commands[:place], STARTTLS, *commands[place:])
