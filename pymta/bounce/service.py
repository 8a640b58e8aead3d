"""Reports about mail that failed, waits or arrived (bounce(8), RFC 3461, RFC 3464): the `Notifier`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from pymta.bounce.notice import Notice, Writer
from pymta.bounce.recipients import Pair, asked_for, delayed, failed, succeeded, traced, verp_address
from pymta.bounce.settings import BounceSettings
from pymta.bounce.templates import Template, Templates, expand, load_templates
from pymta.errors import ConfigError, SpoolError
from pymta.model.address import NULL_SENDER, Address
from pymta.model.delivery import DeliveryResult
from pymta.model.envelope import LOCAL_CLIENT, Body, Envelope, Notify, Origin, Recipient, Ret
from pymta.model.queue import QueueEntry, QueueId
from pymta.ports import Clock, Content, Draft, Intake, Log
from pymta.protocol.dsn import Report, printable
from pymta.runtime.dates import mail_date

_NOTICE_SUBJECT = "{mail_name} SMTP server: errors from {about}"
_MAX_TRANSCRIPT = 1_000_000


class BounceService:
    """Composes notices and hands them to `intake`; each method returns once they are durable.

    `parameter` gives the value of a main.cf parameter for `$name` in templates; one that is unknown is None, or
    raises KeyError or ConfigError.
    A notice that the intake refuses raises SpoolError; postmaster's copy of one is only warned about.
    """

    def __init__(
        self,
        settings: BounceSettings,
        intake: Intake,
        clock: Clock,
        log: Log,
        *,
        parameter: Callable[[str], str | None] | None = None,
    ) -> None:
        self._settings = settings
        self._intake = intake
        self._clock = clock
        self._log = log
        self._parameter = parameter
        self.classes = frozenset(name.lower() for name in settings.notify_classes)
        self._double_bounce = Address(settings.double_bounce_sender, settings.myorigin)
        self._templates: Templates = load_templates(settings.bounce_template_file, log)

    # --- Notifier ---

    async def failed(self, entry: QueueEntry, results: Sequence[DeliveryResult], content: Content) -> None:
        """Non-delivery: to the sender; a failed notice to postmaster; a failed double bounce to nobody."""
        pairs = failed(entry, results)
        if not pairs:
            return
        if self._is_double_bounce(entry):
            self._log.warning(f"{entry.queue_id}: undeliverable postmaster notification discarded")
            return
        template = self._templates.failure
        if entry.sender.is_null or entry.is_notice:
            if "2bounce" in self.classes:
                recipient = self._postmaster(self._settings.two_bounce_notice_recipient)
                notice = self._copy(entry, pairs, template, recipient, headers_only=self._is_large(entry))
                new_id = await self._send(entry, notice, content)
                self._log.info(f"{entry.queue_id}: postmaster non-delivery notification: {new_id}")
            return
        headers_only = entry.ret is Ret.HDRS or self._is_large(entry)
        for sender, group in self._by_sender(entry, asked_for(pairs, Notify.FAILURE)):
            notice = self._notice(entry, group, template, "failure", sender, headers_only, "Undelivered Message")
            new_id = await self._send(entry, notice, content)
            self._log.info(f"{entry.queue_id}: sender non-delivery notification: {new_id}")
        if "bounce" in self.classes:
            recipient = self._postmaster(self._settings.bounce_notice_recipient)
            notice = self._copy(entry, pairs, template, recipient, headers_only=True)
            await self._send_copy(entry, notice, content, "non-delivery", "bouncing to")

    async def delayed(self, entry: QueueEntry, content: Content) -> None:
        """A warning that mail waits; never about a notice."""
        pairs = delayed(entry)
        if not pairs or entry.sender.is_null or entry.is_notice or self._is_double_bounce(entry):
            return
        template = self._templates.delay
        for sender, group in self._by_sender(entry, asked_for(pairs, Notify.DELAY)):
            notice = self._notice(entry, group, template, "delay", sender, True, "Undelivered Message")
            new_id = await self._send(entry, notice, content)
            self._log.info(f"{entry.queue_id}: sender delay notification: {new_id}")
        if "delay" in self.classes:
            recipient = self._postmaster(self._settings.delay_notice_recipient)
            notice = self._copy(entry, pairs, template, recipient, headers_only=True)
            await self._send_copy(entry, notice, content, "delay", "warning")

    async def succeeded(self, entry: QueueEntry, results: Sequence[DeliveryResult], content: Content) -> None:
        """Delivered, relayed to a system that does not report, or expanded: for recipients that asked."""
        pairs = succeeded(entry, results)
        if not pairs:
            return
        await self._send_status(entry, pairs, self._templates.success, "success", content)

    async def traced(self, entry: QueueEntry, results: Sequence[DeliveryResult], content: Content) -> None:
        """What became of a first attempt, or what would have, to the sender who asked; never about a notice."""
        pairs = traced(entry, results)
        if pairs:
            await self._send_status(entry, pairs, self._templates.verify, "verify", content)

    async def _send_status(
        self, entry: QueueEntry, pairs: list[Pair], template: Template, name: str, content: Content
    ) -> None:
        if entry.sender.is_null or entry.is_notice or self._is_double_bounce(entry):
            bounce = "double" if self._is_double_bounce(entry) else "single"
            self._log.info(f"{entry.queue_id}: not sending trace/success notification for {bounce}-bounce message")
            return
        notice = self._notice(entry, pairs, template, name, entry.sender, True, "Message")
        new_id = await self._send(entry, notice, content)
        self._log.info(f"{entry.queue_id}: sender delivery status notification: {new_id}")

    async def postmaster_notice(self, kind: str, about: str, text: str) -> QueueId | None:
        """Send the transcript `text` of a session with `about` (a client) to error_notice_recipient.

        `kind` is a notify_classes name: `protocol`, `policy`, `resource`, `software` or `data`; None, and nothing
        sent, where the administrator did not ask for that. Lines of `text` end in LF. Raises SpoolError.
        """
        if kind not in self.classes:
            return None
        recipient = self._postmaster(self._settings.error_notice_recipient)
        draft = await self._begin(recipient, self._double_bounce, smtputf8=False)
        subject = _NOTICE_SUBJECT.format(mail_name=self._settings.mail_name, about=about)
        date = mail_date(self._clock.now())
        lines = [
            f"Received: by {self._settings.myhostname} ({self._settings.mail_name})",
            f"\tid {draft.queue_id}; {date}",
            f"Date: {date}",
            f"From: Mail Delivery System <MAILER-DAEMON@{self._settings.myorigin}>",
            f"To: Postmaster <{recipient.quoted()}>",
            f"Subject: {printable(subject)}",
            "",
            *(printable(line) for line in text[:_MAX_TRANSCRIPT].split("\n")),
        ]
        draft.write("".join(f"{line}\r\n" for line in lines).encode("utf-8", "replace"))
        return await _commit(draft)

    # --- composing ---

    def _notice(
        self,
        entry: QueueEntry,
        pairs: Iterable[Pair],
        template: Template,
        name: str,
        recipient: Address,
        headers_only: bool,
        returned: str,
    ) -> Notice:
        return Notice(
            recipient=recipient,
            template=template,
            subject=template.subject,
            text=expand(name, template.text, self._value, self._settings.times(), self._log),
            report=self._report(entry, pairs, waits=name == "delay"),
            headers_only=headers_only,
            returned=returned,
            to_postmaster=False,
        )

    def _copy(
        self, entry: QueueEntry, pairs: Iterable[Pair], template: Template, recipient: Address, *, headers_only: bool
    ) -> Notice:
        """Postmaster's: without the template's text, about every recipient whatever NOTIFY says."""
        return Notice(
            recipient=recipient,
            template=template,
            subject=template.postmaster_subject,
            text="",
            report=self._report(entry, pairs, waits=template is self._templates.delay),
            headers_only=headers_only,
            returned="Undelivered Message",
            to_postmaster=True,
        )

    def _report(self, entry: QueueEntry, pairs: Iterable[Pair], *, waits: bool) -> Report:
        until = mail_date(entry.arrival_time + self._settings.maximal_queue_lifetime) if waits else ""
        return Report(
            reporting_mta=self._settings.myhostname,
            queue_id=entry.queue_id,
            sender=entry.sender.quoted() or f"MAILER-DAEMON@{self._settings.myorigin}",
            arrival_date=mail_date(entry.arrival_time),
            recipients=tuple(reported for _, reported in pairs),
            envid=entry.envid,
            retry_until=until,
            smtputf8=entry.smtputf8,
        )

    def _by_sender(self, entry: QueueEntry, pairs: list[Pair]) -> Iterator[tuple[Address, list[Pair]]]:
        """Who gets the notice about whom: with VERP, every recipient is reported to an address of its own."""
        if not pairs:
            return
        if not entry.verp or self._settings.disable_verp_bounces:
            yield entry.sender, pairs
            return
        delimiters = entry.verp if len(entry.verp) == 2 else self._settings.default_verp_delimiters
        for recipient, reported in pairs:
            yield verp_address(entry.sender, recipient.original, delimiters), [(recipient, reported)]

    def _value(self, name: str) -> str | None:
        if self._settings.smtputf8_enable and name in ("myhostname", "mydomain"):
            return _unicode_domain(getattr(self._settings, name))
        if self._parameter is None:
            return getattr(self._settings, name, None)
        try:
            return self._parameter(name)
        except (KeyError, ConfigError):
            return None

    # --- sending ---

    async def _send_copy(self, entry: QueueEntry, notice: Notice, content: Content, kind: str, doing: str) -> None:
        try:
            new_id = await self._send(entry, notice, content)
        except SpoolError as error:
            # The sender has been told: trying all of it again would tell the sender twice.
            sender = entry.sender.quoted()
            self._log.warning(f"{entry.queue_id}: postmaster notice failed while {doing} {sender}: {error}")
        else:
            self._log.info(f"{entry.queue_id}: postmaster {kind} notification: {new_id}")

    async def _send(self, entry: QueueEntry, notice: Notice, content: Content) -> QueueId:
        sender = self._double_bounce if notice.to_postmaster else NULL_SENDER
        draft = await self._begin(notice.recipient, sender, smtputf8=entry.smtputf8)
        try:
            writer = Writer(self._settings, entry, draft.queue_id, self._clock.now())
            await writer.write(notice, content, draft.write)
        except BaseException:
            await draft.abort()
            raise
        return await _commit(draft)

    async def _begin(self, recipient: Address, sender: Address, *, smtputf8: bool) -> Draft:
        recipients = (Recipient(recipient, recipient),)
        envelope = Envelope(sender, recipients, body=Body.EIGHT_BIT_MIME, smtputf8=smtputf8)
        return await self._intake.begin(envelope, LOCAL_CLIENT, Origin.NOTICE)

    def _postmaster(self, text: str) -> Address:
        address = Address.from_internal(text.strip())
        return address if address.domain else address.with_domain(self._settings.myorigin)

    def _is_double_bounce(self, entry: QueueEntry) -> bool:
        return entry.sender.folded() == self._double_bounce.folded()

    def _is_large(self, entry: QueueEntry) -> bool:
        return entry.size > self._settings.bounce_size_limit


async def _commit(draft: Draft) -> QueueId:
    reply = await draft.commit()
    if reply.code != 250:
        raise SpoolError(f"notice {draft.queue_id} was not accepted: {reply}")
    return draft.queue_id


def _unicode_domain(name: str) -> str:
    try:
        return name.encode("ascii").decode("idna")
    except UnicodeError:
        return name
