"""postsuper(1) -r: a queued message through intake again, so that new settings and maps apply to it."""

from __future__ import annotations

from pymta.app.switch import Switch
from pymta.errors import SpoolError
from pymta.model.envelope import Envelope, Origin, Recipient
from pymta.model.queue import QueueEntry, QueueId
from pymta.ports import Content, Spool


class Resubmitter:
    """Gives a message a new id; recipients start from the addresses that the client named."""

    def __init__(self, switch: Switch, spool: Spool) -> None:
        self._switch = switch
        self._spool = spool

    async def __call__(self, entry: QueueEntry, content: Content) -> QueueId:
        """Durable on return; raises SpoolError, and then the old message stays as it is."""
        pending = list(entry.recipients)
        if entry.unread:
            pending += await self._spool.recipients(entry.queue_id, pending[-1].number, entry.unread)
        envelope = Envelope(
            sender=entry.sender,
            recipients=tuple(Recipient(one.original, one.original, one.notify, one.orcpt) for one in pending),
            body=entry.body,
            smtputf8=entry.smtputf8,
            envid=entry.envid,
            ret=entry.ret,
            verp=entry.verp,
            trace=entry.due_trace,
        )
        origin = Origin.NOTICE if entry.is_notice else Origin.FORWARD
        draft = await self._switch.wiring.cleanup.begin(envelope, entry.client, origin)
        try:
            async for chunk in content.chunks():
                draft.write(chunk)
            reply = await draft.commit()
        except BaseException:
            await draft.abort()
            raise
        if not reply.is_positive:
            raise SpoolError(f"{entry.queue_id}: not requeued: {reply}")
        return draft.queue_id
