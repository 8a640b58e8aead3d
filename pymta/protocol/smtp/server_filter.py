"""smtpd_command_filter: commands that are replaced before anything looks at them (postconf(5))."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pymta.protocol.smtp.server_events import FilterCommand, Note

if TYPE_CHECKING:
    from pymta.protocol.smtp.server import ServerSession


def filter_command(session: ServerSession, text: str, go_on: Callable[[str], None]) -> None:
    """Ask what to do in place of the command `text`; leading blanks are not part of the question."""

    def answered(better: str | None) -> None:
        if better is not None:
            session.emit(Note(f'{session.label}: replacing command "{text[:100]}" with "{better[:100]}"'))
        go_on(text if better is None else better)

    session.ask(FilterCommand(text.lstrip()), answered)
