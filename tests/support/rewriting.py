"""The rewriting and intake parts wired for tests, from main.cf values."""

from __future__ import annotations

from pathlib import Path

from pymta.cleanup import Cleanup, CleanupSettings
from pymta.config import Config, build
from pymta.model.address import Address
from pymta.model.envelope import Client, Envelope, Origin, Recipient
from pymta.model.reply import Reply
from pymta.rewrite import MappingSettings, Recipients, RecipientSettings, Rewriter, RewriteSettings
from pymta.tables import TableFactory
from pymta.testing import FakeQueue, ManualClock, RecordingLog

LOCAL = Client(address="127.0.0.1")
REMOTE = Client(address="192.0.2.9", name="client.example.net")
NOON = 1795262400.0
"""Sat, 21 Nov 2026 12:00:00 UTC"""


def config(**values: str) -> Config:
    return Config.from_values({"myhostname": "mx.example.com", "mydomain": "example.com", **values})


class Parts:
    """`rewriter`, `recipients` and `cleanup` under one configuration, with a fake queue and a recording log."""

    def __init__(self, folder: Path = Path("/nonexistent"), **values: str) -> None:
        settings = config(**{"compatibility_level": "3.6", "local_recipient_maps": "", "relay_domains": "", **values})
        self.log = RecordingLog()
        self.queue = FakeQueue()
        self.clock = ManualClock(NOON)
        own = ("127.0.0.1", "::1", "198.51.100.1")
        self.tables = TableFactory(folder)
        self.rewriter = Rewriter(build(RewriteSettings, settings), self.tables, self.log, own)
        self.recipients = Recipients(build(RecipientSettings, settings), self.rewriter, self.tables)
        self.cleanup = Cleanup(
            build(CleanupSettings, settings),
            build(MappingSettings, settings),
            self.rewriter,
            self.tables,
            self.queue,
            self.clock,
            self.log,
            own,
        )

    async def take(
        self,
        content: bytes,
        *recipients: str,
        sender: str = "from@example.net",
        client: Client = REMOTE,
        origin: Origin = Origin.SMTP,
        step: int = 0,
        full_name: str = "",
    ) -> Reply:
        """Send one message in, `step` bytes at a time (0: all at once)."""
        addresses = [Address.from_internal(text) for text in recipients or ("to@example.org",)]
        envelope = Envelope(
            Address.from_internal(sender), tuple(Recipient(a, a) for a in addresses), full_name=full_name
        )
        draft = await self.cleanup.begin(envelope, client, origin)
        for start in range(0, len(content), step or max(len(content), 1)):
            draft.write(content[start : start + (step or len(content))])
        return await draft.commit()

    async def queued_to(self, *recipients: str, sender: str = "from@example.net") -> list[str]:
        """Who a message is queued for."""
        assert (await self.take(b"\r\n", *recipients, sender=sender)).code == 250
        return [str(recipient.address) for recipient in self.queue.entry.recipients]
