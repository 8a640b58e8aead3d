"""One message on its way over a client session."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from pymta.protocol.smtp.client_commands import Command
from pymta.protocol.smtp.client_content import ContentEncoder
from pymta.protocol.smtp.client_events import Phase, RecipientReply
from pymta.protocol.smtp.client_replies import ServerReply


@dataclass(slots=True)
class Transaction:
    """One message under way: commands to send, replies so far. A `probe` ends with the replies to that phase.

    Where it `is_plain`, nothing is to be said between the envelope with DATA and the content. With `chunked` content
    goes by BDAT; `chunk` is the last piece, held back until we know whether it is the LAST.
    """

    commands: deque[Command]
    replies: list[RecipientReply | None]
    encoder: ContentEncoder
    probe: Phase | None = None
    chunked: bool = False
    is_plain: bool = False
    chunk: bytes = b""
    accepted: list[int] = field(default_factory=list)
    took_stray: bool = False

    def decide(self, number: int, phase: Phase, reply: ServerReply) -> None:
        if self.replies[number] is None:
            self.replies[number] = RecipientReply(phase, reply)

    def decide_open(self, phase: Phase, reply: ServerReply) -> None:
        decided = RecipientReply(phase, reply)
        self.replies = [decided if before is None else before for before in self.replies]

    @property
    def is_decided(self) -> bool:
        return None not in self.replies
