"""Room for the queue: no sender is accepted that a full disk would have to refuse later (postconf(5) queue_minfree)."""

from __future__ import annotations

import os
import time
from pathlib import Path

from pymta.model.access import AccessContext, Stage, Verdict
from pymta.model.frozen import frozen
from pymta.model.reply import Reply
from pymta.ports import AccessPolicy, Log

_NO_SPACE = Reply.of(452, "Insufficient system storage", "4.3.1")
# What is left beside a message of full size is for the queue's own records: deliveries are recorded in it.
_SPACE_FACTOR = 1.5
# With room for so many messages, the next look can wait: asking costs as much as a whole command.
_PLENTY = 100
_PLENTY_SECONDS = 1.0


@frozen
class QueueSpaceSettings:
    """Sizes in bytes; `queue_minfree` 0 leaves the rule of 1.5 messages."""

    message_size_limit: int
    queue_minfree: int


class QueueSpace:
    """`ports.AccessPolicy` that asks `policy`, and at MAIL first the file system that holds `directory`.

    For a second after there was plenty, nobody asks again.
    """

    def __init__(self, settings: QueueSpaceSettings, directory: Path, policy: AccessPolicy, log: Log) -> None:
        self._minfree = settings.queue_minfree
        self._limit = settings.message_size_limit
        self._directory = directory
        self._policy = policy
        self._log = log
        self._plenty_until = 0.0
        self._asked = frozenset(stage for stage in Stage if policy.asks(stage))

    def asks(self, stage: Stage) -> bool:
        return stage in self._asked or (stage is Stage.MAIL and not self._has_plenty())

    async def decide(self, context: AccessContext) -> Verdict:
        if context.stage is Stage.MAIL and self._is_short():
            client = context.client
            helo = f" helo=<{context.helo_name}>" if context.helo_name is not None else ""
            details = f"from=<{context.sender.quoted() if context.sender else ''}> proto={client.protocol}{helo}"
            return Verdict(_NO_SPACE, log=(f"reject: MAIL from {client}: {_NO_SPACE}; {details}",))
        return await self._policy.decide(context)

    def _has_plenty(self) -> bool:
        return time.monotonic() < self._plenty_until

    def _is_short(self) -> bool:
        if self._has_plenty():
            return False
        try:
            system = os.statvfs(self._directory)
        except OSError as error:
            self._log.warning(f"cannot tell the free space of {self._directory}: {error.strerror}")
            return False
        free = system.f_bavail * system.f_frsize
        if free > self._minfree and free > _SPACE_FACTOR * self._limit:
            if free > _PLENTY * max(self._minfree, self._limit):
                self._plenty_until = time.monotonic() + _PLENTY_SECONDS
            return False
        wanted = f"{_SPACE_FACTOR}*message size limit" if free > self._minfree else "queue_minfree"
        self._log.warning(f"not enough free space in mail queue: {free} bytes < {wanted}")
        return True
