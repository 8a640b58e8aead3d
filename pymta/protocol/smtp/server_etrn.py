"""ETRN: a client asks for the mail that waits for its domain (RFC 1985); replies as Postfix gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pymta.model.access import Stage
from pymta.model.reply import Reply
from pymta.protocol.smtp.commands import Command
from pymta.protocol.smtp.grammar import valid_domain
from pymta.protocol.smtp.server_events import Decide, FlushSite, Note
from pymta.protocol.smtp.server_log import escaped

if TYPE_CHECKING:
    from pymta.protocol.smtp.server import ServerSession

_HELO_FIRST = Reply.of(503, "Error: send HELO/EHLO first")
_BUSY = Reply.of(503, "Error: MAIL transaction in progress")
_SYNTAX = Reply.of(500, "Syntax: ETRN domain")
_BAD_DOMAIN = Reply.of(501, "Error: invalid parameter syntax")
_STARTED = Reply.of(250, "Queuing started")
_FAILED = Reply.of(458, "Unable to queue messages")


def _check(session: ServerSession, argument: str) -> Reply | str:
    if session.options.helo_required and session.helo_name is None:
        return _HELO_FIRST
    if session.transaction.sender is not None:
        return _BUSY
    words = argument.split()
    if len(words) != 1:
        return _SYNTAX
    # RFC 1985 5.3: @ stands for a domain and those below it, # for a queue; here they all mean the domain.
    domain = words[0][1:] if words[0][0] in "@#" else words[0]
    return domain if valid_domain(domain) else _BAD_DOMAIN


def _etrn(session: ServerSession, domain: str) -> None:
    context = replace(session.context(Stage.ETRN, None), etrn_domain=domain)
    session.ask(Decide(context), lambda verdict: session.decided(_PERMITTED, domain, verdict))


def _flush(session: ServerSession, domain: str) -> None:
    session.ask(FlushSite(domain), lambda started: _flushed(session, domain, started))


def _flushed(session: ServerSession, domain: str, started: bool | None) -> None:
    if started:
        session.succeed(_STARTED)
    elif started is None:
        session.fail(_FAILED)
    else:
        session.emit(Note(f"reject: ETRN {escaped(domain)[:100]}... from {session.label}", is_warning=True))
        session.fail(Reply.of(459, f"<{domain}>: service unavailable"))


ETRN = Command("ETRN", _check, _etrn, is_junk=True)
_PERMITTED = replace(ETRN, proceed=_flush)


def with_etrn(commands: Sequence[Command]) -> tuple[Command, ...]:
    """`commands` with ETRN behind VRFY, where the `disconnect` line counts it."""
    if any(command.verb == "ETRN" for command in commands):
        return tuple(commands)
    place = max((number for number, one in enumerate(commands, 1) if one.verb == "VRFY"), default=len(commands))
    return (*commands[:place], ETRN, *commands[place:])
