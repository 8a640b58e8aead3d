"""How a client session behaves, whatever the message."""

from __future__ import annotations

from collections.abc import Callable, Collection

from pymta.model.frozen import frozen
from pymta.protocol.smtp.client_events import Phase


@frozen
class ClientOptions:
    """How a session introduces itself and what it makes of the server's offers.

    `discarded_keywords` are lower case. `line_limit` is smtp_line_length_limit in bytes, 0 for none.
    `send_xforward` is smtp_send_xforward_command. `probe` is how far a probe goes, RCPT or DATA
    (smtp_address_verify_target). `reply_filter` gives what to read in place of a line of a reply (smtp_reply_filter).
    """

    helo_name: str
    lmtp: bool = False
    always_ehlo: bool = True
    never_ehlo: bool = False
    discarded_keywords: Collection[str] = ()
    line_limit: int = 998
    send_xforward: bool = False
    probe: Phase = Phase.RCPT
    reply_filter: Callable[[str], str] | None = None
