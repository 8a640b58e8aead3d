"""Clients that talk before they were answered where they must wait (RFC 2920 3.1, smtpd_forbid_unauth_pipelining)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pymta.protocol.smtp.server_events import Note
from pymta.protocol.smtp.server_log import escaped
from pymta.protocol.smtp.server_replies import UNSYNCHRONIZED

if TYPE_CHECKING:
    from pymta.protocol.smtp.commands import Command
    from pymta.protocol.smtp.server import ServerSession


def is_improper_pipelining(session: ServerSession, command: Command) -> bool:
    """Whether the client is cut off for bytes behind a command whose reply it had to wait for."""
    if session.lines.is_empty or (session.client.protocol != "SMTP" and not command.ends_group):
        return False
    if not session.unauthorized_pipelining:
        session.unauthorized_pipelining = True
        waiting = escaped(session.lines.peek(100).decode("latin-1"))
        session.emit(Note(f"improper command pipelining after {command.verb} from {session.label}: {waiting}"))
    if not session.options.forbid_unauth_pipelining:
        return False
    session.give_up(UNSYNCHRONIZED)
    return True
