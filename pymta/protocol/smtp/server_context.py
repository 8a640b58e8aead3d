"""What a session tells those who decide about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pymta.model.access import AccessContext, Stage, Verdict
from pymta.model.address import Address
from pymta.model.reply import Reply

if TYPE_CHECKING:
    from pymta.protocol.smtp.server import ServerSession

_EARLY = (Stage.CONNECT, Stage.HELO, Stage.MAIL)


def access_context(session: ServerSession, stage: Stage, address: Address | None) -> AccessContext:
    """All that is known at `stage`; `address` is the one that it is about: a sender at MAIL, else a recipient."""
    transaction = session.transaction
    return AccessContext(
        stage,
        session.client,
        session.verb,
        session.helo_name,
        address if stage is Stage.MAIL else transaction.sender,
        address if stage is not Stage.MAIL else None,
        tuple(transaction.recipients),
        transaction.queue_id or None,
        session.message.size if stage is Stage.END_OF_DATA else transaction.parameters.size or 0,
        transaction.parameters.smtputf8,
        session.unauthorized_pipelining,
        tls=session.tls,
        transaction=transaction.number,
        deferrals=_deferrals(session) if session.deferrals else (),
    )


def _deferrals(session: ServerSession) -> tuple[Reply, ...]:
    """In the order of the stages, whatever order they came in."""
    return tuple(session.deferrals[early] for early in _EARLY if early in session.deferrals)


def note_deferral(session: ServerSession, stage: Stage | None, verdict: Verdict) -> None:
    """Keep what an early decision would have RCPT answer, for as long as it is the last of its stage."""
    if stage in _EARLY:
        session.deferrals.pop(stage, None)
        if verdict.deferral:
            session.deferrals[stage] = verdict.deferral
