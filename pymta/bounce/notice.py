"""One notice: a multipart/report written into a draft (RFC 3462, RFC 6522, RFC 6533)."""

from __future__ import annotations

import re
from collections.abc import Callable

from pymta.bounce.content import copy_all, copy_header
from pymta.bounce.settings import BounceSettings
from pymta.bounce.templates import Template
from pymta.model.address import Address
from pymta.model.frozen import frozen
from pymta.model.queue import QueueEntry
from pymta.ports import Content
from pymta.protocol.dsn import CRLF, Report, delivery_status, explanation, printable
from pymta.runtime.dates import mail_date

_MESSAGE_ID = re.compile(r"<[^\s<>]+>")
_BARE_DAEMON = re.compile(r"(?<![^\s<])MAILER-DAEMON(?=>|$)")


@frozen
class Notice:
    """Everything a notice says. `text` is the template's, expanded, empty in postmaster's copies.

    `returned` names the last part: `Undelivered Message` or `Message`; with `headers_only`, ` Headers` is added.
    """

    recipient: Address
    template: Template
    subject: str
    text: str
    report: Report
    headers_only: bool
    returned: str
    to_postmaster: bool


class Writer:
    """Writes one notice about `entry` as message `queue_id`."""

    def __init__(self, settings: BounceSettings, entry: QueueEntry, queue_id: str, now: float) -> None:
        self._settings = settings
        self._entry = entry
        self._queue_id = queue_id
        self._now = now
        self._boundary = f"{entry.queue_id}.{int(now)}/{settings.myhostname}"

    async def write(self, notice: Notice, content: Content, put: Callable[[bytes], None]) -> None:
        """`put` gets the message in pieces, lines ended by CRLF."""
        head = self._header(notice) + self._text_part(notice) + self._status_part(notice)
        put((head + self._returned_part(notice)).encode("utf-8", "surrogateescape"))
        if notice.headers_only:
            await copy_header(content, put, self._settings.bounce_size_limit)
        else:
            await copy_all(content, put)
        put(f"{CRLF}--{self._boundary}--{CRLF}".encode())

    def _header(self, notice: Notice) -> str:
        settings = self._settings
        date = mail_date(self._now)
        sender = _BARE_DAEMON.sub(f"MAILER-DAEMON@{settings.myorigin}", notice.template.from_)
        fields = [
            f"Received: by {settings.myhostname} ({settings.mail_name}){CRLF}\tid {self._queue_id}; {date}",
            f"Date: {date}",
            f"From: {sender}",
            f"Subject: {notice.subject}",
            f"To: {printable(notice.recipient.quoted())}",
            *self._thread(),
            f"Auto-Submitted: {'auto-generated' if notice.to_postmaster else 'auto-replied'}",
            "MIME-Version: 1.0",
            f'Content-Type: multipart/report; report-type=delivery-status;{CRLF}\tboundary="{self._boundary}"',
            "Content-Transfer-Encoding: 8bit",
        ]
        return CRLF.join(fields) + f"{CRLF}{CRLF}This is a MIME-encapsulated message.{CRLF}{CRLF}"

    def _thread(self) -> list[str]:
        message_id = self._entry.message_id
        if not self._settings.enable_threaded_bounces:
            return []
        if not (_MESSAGE_ID.fullmatch(message_id) and message_id.isprintable()):
            return []
        return [f"References: {message_id}", f"In-Reply-To: {message_id}"]

    def _text_part(self, notice: Notice) -> str:
        charset = notice.template.charset
        if charset.lower() == "us-ascii" and self._settings.smtputf8_enable:
            charset = "utf-8"
        body = notice.text.replace("\n", CRLF) + CRLF + "".join(map(explanation, notice.report.recipients))
        return self._part("Notification", f"text/plain; charset={charset}", body, encoded=True)

    def _status_part(self, notice: Notice) -> str:
        kind = "message/global-delivery-status" if self._entry.smtputf8 else "message/delivery-status"
        # RFC 6533 4: only the global kind may be 8bit.
        return self._part("Delivery report", kind, delivery_status(notice.report), encoded=self._entry.smtputf8)

    def _returned_part(self, notice: Notice) -> str:
        if notice.headers_only:
            kind = "message/global-headers" if self._entry.smtputf8 else "text/rfc822-headers"
            description = f"{notice.returned} Headers"
        else:
            kind = "message/global" if self._entry.smtputf8 else "message/rfc822"
            description = notice.returned
        return_path = f"Return-Path: <{printable(notice.report.sender)}>{CRLF}"
        return self._part(description, kind, return_path, encoded=True)

    def _part(self, description: str, kind: str, body: str, *, encoded: bool) -> str:
        encoding = f"Content-Transfer-Encoding: 8bit{CRLF}" if encoded else ""
        return (
            f"--{self._boundary}{CRLF}Content-Description: {description}{CRLF}"
            f"Content-Type: {kind}{CRLF}{encoding}{CRLF}{body}"
        )
