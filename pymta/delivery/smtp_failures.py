"""What a session's failure is called, as status and in Postfix's words."""

from __future__ import annotations

from pymta.delivery.hosts import Failure, Host
from pymta.protocol.smtp.client_events import Lost, Phase, Refused
from pymta.protocol.smtp.client_replies import ServerReply


def refused_to_talk(host: Host, event: Refused, skip_5xx_greeting: bool) -> Failure:
    """smtp_skip_5xx_greeting: a host that refuses everybody at the door may let another one in."""
    status = event.reply.status if event.reply.status[0] in "45" else "4.5.0"
    failure = Failure(status, f"host {host.named} refused to talk to me: {event.reply.line}")
    return failure.temporary() if skip_5xx_greeting and event.phase is Phase.GREETING else failure


def tls_missing(host: Host, refusal: ServerReply | None) -> Failure:
    """TLS is a must, but was not offered, or refused when we asked for it."""
    if refusal is None:
        return Failure("4.7.4", f"TLS is required, but was not offered by host {host.named}")
    return Failure(refusal.status, f"TLS is required, but host {host.named} refused to start TLS: {refusal.line}")


def broke_off(host: Host, event: Lost, *, timed_out: bool) -> Failure:
    """The connection ended, or nothing came for too long."""
    if timed_out:
        return Failure("4.4.2", f"conversation with {host.named} timed out while {event.phase.doing}")
    return Failure("4.4.2", f"lost connection with {host.named} while {event.phase.doing}")
