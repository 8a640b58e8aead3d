"""Verbs that the configuration's lists name (`smtpd_noop_commands`, `smtpd_forbidden_commands`) or nobody knows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pymta.model.reply import Reply
from pymta.protocol.smtp.server_events import CommandKind, Note
from pymta.protocol.smtp.server_log import escaped
from pymta.protocol.smtp.server_replies import GOODBYE, NOT_RECOGNIZED

if TYPE_CHECKING:
    from pymta.protocol.smtp.commands import Command
    from pymta.protocol.smtp.server import ServerSession

_HEADER = re.compile(r"[!-9;-~]*:")


def run_classified(
    session: ServerSession, kind: CommandKind, verb: str, argument: str, command: Command | None
) -> None:
    """Run `verb` as what the lists make of it; `command` is its row, None for a verb without one."""
    if kind is CommandKind.NOOP:
        session.count_junk()
        session.reply(Reply.of(250, "Ok", "2.0.0"))
    elif command is not None:
        session.run(command, argument)
    else:
        _refuse(session, kind, verb, argument)


def _refuse(session: ServerSession, kind: CommandKind, verb: str, argument: str) -> None:
    """Who speaks HTTP, or sends a header, is cut off."""
    session.begin_command("UNKNOWN")
    session.where = "UNKNOWN"
    if kind is CommandKind.FORBIDDEN or _HEADER.match(verb):
        text = escaped(f"{verb} {argument}".rstrip())[:100]
        session.emit(Note(f"non-SMTP command from {session.label}: {text}", is_warning=True))
        session.give_up(GOODBYE)
    else:
        session.fail(session.denial or NOT_RECOGNIZED)
