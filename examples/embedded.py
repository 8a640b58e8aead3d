"""A program with a durable mail queue of its own.

Run it with a folder for the queue: `python examples/embedded.py /tmp/mail`. It queues a message for a transport that
is a Python function, delivers it, refuses a sender by a restriction of its own, and ends.
"""

from __future__ import annotations

import asyncio
import smtplib
import sys
from collections.abc import Sequence
from email.message import EmailMessage

from pymta import MTA, Reply, Settings
from pymta.model.access import AccessContext, Verdict
from pymta.model.delivery import DeliveryRequest, DeliveryResult, Outcome
from pymta.ports import Content


class Inbox:
    """A delivery agent: every message ends in a list."""

    def __init__(self) -> None:
        self.subjects: list[str] = []
        self.arrived = asyncio.Event()

    async def deliver(self, request: DeliveryRequest, content: Content) -> Sequence[DeliveryResult]:
        text = b"".join([chunk async for chunk in content.chunks()])
        self.subjects.append(text.partition(b"Subject: ")[2].partition(b"\r\n")[0].decode())
        self.arrived.set()
        return [DeliveryResult(one.number, Outcome.SENT, "2.0.0", "in the list") for one in request.recipients]


class NoStrangers:
    """A restriction, used in a list under its name."""

    name = "no_strangers"

    async def check(self, context: AccessContext) -> Verdict | None:
        if context.sender is not None and context.sender.domain == "stranger.example":
            return Verdict(reply=Reply.of(550, "we do not know you", "5.7.1"))
        return None


def send_by_smtp(port: int, sender: str) -> str:
    try:
        with smtplib.SMTP("127.0.0.1", port) as session:
            session.sendmail(sender, ["list@app.example"], "Subject: by SMTP\r\n\r\n")
    except smtplib.SMTPRecipientsRefused as refused:
        return str(refused.recipients["list@app.example"][1].decode())
    return "accepted"


async def main(folder: str) -> None:
    inbox = Inbox()
    settings = Settings(
        listen=["127.0.0.1:0"],
        myhostname="app.example",
        queue_directory=folder,
        relay_domains=["app.example"],
        mydestination="",
        relay_transport="inbox",
        smtpd_recipient_restrictions=["no_strangers", "reject_unauth_destination"],
    )
    async with MTA(settings, agents={"inbox": inbox}, restrictions={"no_strangers": NoStrangers()}) as mta:
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = "app@app.example", "list@app.example", "submitted"
        message.set_content("Durable when submit() returns.")
        queue_id = await mta.submit(message)
        await asyncio.wait_for(inbox.arrived.wait(), 10)
        print(f"queued as {queue_id}, delivered: {inbox.subjects}")
        for sender in ("friend@elsewhere.example", "someone@stranger.example"):
            print(sender, "->", await asyncio.to_thread(send_by_smtp, mta.ports[0], sender))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
