"""What a client is told at the end of its message (cleanup(8) status, smtpd(8) wording)."""

from __future__ import annotations

from pymta.model.queue import QueueId
from pymta.model.reply import Reply


def queued(queue_id: QueueId) -> Reply:
    return Reply.of(250, f"Ok: queued as {queue_id}", "2.0.0")


TOO_LARGE = Reply.of(552, "Error: message file too big", "5.3.4")
TOO_MANY_HOPS = Reply.of(554, "Error: too many hops", "5.4.0")
CONTENT_REJECTED = Reply.of(550, "Error: message content rejected", "5.7.1")
NOT_WRITTEN = Reply.of(451, "Error: queue file write error", "4.3.0")
ALIAS_ERROR = Reply.of(451, "Alias expansion error", "4.6.0")
NO_RECIPIENTS = Reply.of(550, "Error: no recipients specified", "5.1.0")
NOT_SIGNED = Reply.of(451, "Service unavailable - try again later", "4.7.1")
