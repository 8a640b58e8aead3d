"""One message on its way in: content streams through, the envelope is mapped at the end (cleanup(8))."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from pymta.auth.dkim_sign import Signer
from pymta.cleanup.completion import missing_fields
from pymta.cleanup.content import CharacterRules, ContentCleaner
from pymta.cleanup.effects import NO_EFFECTS, Effects
from pymta.cleanup.header_filter import HeaderFilter, HeaderRules, Waiting
from pymta.cleanup.replies import (
    ALIAS_ERROR,
    CONTENT_REJECTED,
    NO_RECIPIENTS,
    NOT_WRITTEN,
    TOO_LARGE,
    TOO_MANY_HOPS,
    queued,
)
from pymta.cleanup.settings import CleanupSettings
from pymta.cleanup.signing import MessageSigner
from pymta.errors import ProtocolUseError, SpoolError, TableError
from pymta.model.access import Effect
from pymta.model.address import Address
from pymta.model.envelope import Body, Client, Envelope, Origin, Recipient
from pymta.model.frozen import frozen
from pymta.model.queue import QueuedRecipient, QueueEntry, QueueId, QueueName
from pymta.model.reply import Reply
from pymta.ports import Clock, Log, Queue
from pymta.protocol.header_parser import HeaderParser
from pymta.rewrite import EnvelopeMapping, MappingError, StandardForm

_TRY_LATER = "message not accepted, try again later"
_EIGHT_BIT = ("8bit", "binary")


@frozen
class Desk:
    """What all messages of one configuration share."""

    settings: CleanupSettings
    header_rules: HeaderRules
    character_rules: CharacterRules
    mapping: EnvelopeMapping
    queue: Queue
    clock: Clock
    log: Log


@frozen
class Handling:
    """What one message asks for. `form` completes header addresses; None leaves the header alone.

    `size_limit` is in bytes, 0 for none; `content_filter` is the service's, which a FILTER action overrides.
    Authentication-Results in the name of `distrusts` are dropped. `detects_smtputf8` marks mail that needs SMTPUTF8
    although nobody said so (smtputf8_autodetect_classes). `signer` adds DKIM signatures; `signing_problem` says why
    it cannot, whatever the message.
    """

    form: StandardForm | None
    adds_missing: bool
    mappings: bool
    bcc: bool
    size_limit: int
    content_filter: str = ""
    detects_smtputf8: bool = False
    distrusts: str = ""
    signer: Signer | None = None
    signing_problem: str = ""


class MessageDraft:
    """The `Draft` of one message.

    Where tables must be asked for header addresses, a task does that, and content that comes meanwhile waits in
    memory; otherwise nothing but the field under way is held. Content beyond the size limit is not kept.
    """

    def __init__(
        self, desk: Desk, handling: Handling, envelope: Envelope, client: Client, origin: Origin, queue_id: QueueId
    ) -> None:
        self._desk = desk
        self._handling = handling
        self._envelope = envelope
        self._client = client
        self._origin = origin
        self._queue_id = queue_id
        self._arrival = desk.clock.now()
        self._content = desk.queue.new_content(queue_id)
        self._cleaner = ContentCleaner(desk.character_rules)
        self._parser = HeaderParser(desk.settings.header_size_limit)
        self._header = HeaderFilter(
            desk.header_rules,
            handling.form,
            mappings=handling.mappings,
            notes_ascii=handling.detects_smtputf8,
            distrusts=handling.distrusts,
        )
        self._signer = (
            MessageSigner(handling.signer, desk.log, queue_id, handling.signing_problem) if handling.signer else None
        )
        self._in_body = False
        self._too_large = False
        self._failure: Reply | None = None
        self._task: asyncio.Task[None] | None = None
        self._waiting: deque[bytes] = deque()
        self._waiting_size = 0
        self._ended = False

    @property
    def queue_id(self) -> QueueId:
        return self._queue_id

    def write(self, data: bytes, *, is_tidy: bool = False) -> None:
        """Add content, lines ended by CRLF; after the end of the draft it goes nowhere."""
        if self._ended or self._failure:
            return
        data = self._cleaner.take(data, is_tidy=is_tidy)
        if self._task is not None:
            self._wait(data)
        elif self._in_body:
            self._emit(data)
        else:
            fields = self._parser.feed(data)
            if fields or self._parser.ended:
                self._fields(fields)

    async def commit(self, effects: Sequence[Effect] = ()) -> Reply:
        """Map the envelope and queue the message; the reply is for the client. Raises nothing but programming errors.

        Once the queue has taken over, cancellation no longer undoes anything.
        """
        if self._ended:
            raise ProtocolUseError(f"{self._queue_id}: this message was ended before")
        try:
            if not self._in_body or self._task is not None or self._cleaner.held:
                await self._finish_content()
            self._ended = True
            entry = await self._entry(Effects.of(effects) if effects else NO_EFFECTS)
        except BaseException:
            await self.abort()
            raise
        if not isinstance(entry, QueueEntry):
            await self._content.discard()
            return entry
        return await self._enqueue(entry)

    async def abort(self) -> None:
        """Forget the message; harmless when it is over."""
        self._ended = True
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
        await self._content.discard()

    # Content

    def _wait(self, data: bytes) -> None:
        if self._too_large:
            return
        self._waiting_size += len(data)
        self._waiting.append(data)
        if self._exceeds(self._waiting_size):
            self._too_large = True
            self._waiting.clear()

    def _exceeds(self, more: int) -> bool:
        return bool(self._handling.size_limit) and self._content.size + more > self._handling.size_limit

    def _emit(self, data: bytes) -> None:
        limit = self._handling.size_limit
        if self._too_large or (limit and self._content.size + len(data) > limit):
            self._too_large = True
        elif data:
            self._content.write(data)
            if self._signer is not None:
                self._signer.take(data)

    def _fields(self, fields: list[bytes]) -> None:
        """Filter fields that are complete; a field for which tables must be asked starts a task for the rest."""
        kept = self._ask_where_needed(fields) if self._header.asks_tables else self._header.take_all(fields)
        if kept is None:
            return
        if self._parser.ended:
            kept.append(self._end_of_header())
        self._emit(b"".join(kept))

    def _ask_where_needed(self, fields: list[bytes]) -> list[bytes] | None:
        kept: list[bytes] = []
        for position, raw in enumerate(fields):
            result = self._header.take(raw)
            if not isinstance(result, bytes):
                self._emit(b"".join(kept))
                self._task = asyncio.create_task(self._ask(result, fields[position + 1 :]))
                return None
            kept.append(result)
        return kept

    async def _ask(self, first: Waiting, fields: list[bytes]) -> None:
        """Wait for the tables, field by field, then take the content that came meanwhile."""
        try:
            self._emit(await first())
            await self._ask_all(fields)
            while self._waiting:
                data = self._waiting.popleft()
                self._waiting_size -= len(data)
                if self._in_body:
                    self._emit(data)
                else:
                    await self._ask_all(self._parser.feed(data))
        except TableError as error:
            self._failure = self._lookup_problem(error)
        except Exception as error:
            # An app's own table may raise anything; the message must not go on with half a header.
            self._desk.log.error(f"{self._queue_id}: header address mapping: {error!r} -- {_TRY_LATER}")
            self._failure = NOT_WRITTEN
        finally:
            self._task = None

    async def _ask_all(self, fields: list[bytes]) -> None:
        for raw in fields:
            result = self._header.take(raw)
            self._emit(result if isinstance(result, bytes) else await result())
        if self._parser.ended and not self._in_body:
            self._emit(self._end_of_header())

    def _end_of_header(self) -> bytes:
        """The fields that are missing, and what was read of the body."""
        self._in_body = True
        seen = self._header.seen
        added = b""
        if self._handling.adds_missing:
            settings, envelope = self._desk.settings, self._envelope
            added = missing_fields(settings, seen, self._queue_id, envelope.sender, envelope.full_name, self._arrival)
        if seen.is_resent and seen.resent_message_id:
            self._desk.log.info(f"{self._queue_id}: resent-message-id={_printable(seen.resent_message_id)}")
        if seen.message_id or not (seen.is_resent and seen.resent_message_id):
            self._desk.log.info(f"{self._queue_id}: message-id={_printable(seen.message_id) or '<>'}")
        rest, self._parser.rest = self._parser.rest, b""
        return added + rest

    async def _finish_content(self) -> None:
        if last := self._cleaner.finish():
            self.write(last)
        if self._task is not None:
            await self._task
        if not self._in_body and self._failure is None:
            self._fields(self._parser.finish())
            if self._task is not None:
                await self._task

    # Envelope

    async def _entry(self, effects: Effects) -> QueueEntry | Reply:
        """What to queue, or the reply where there is nothing to queue."""
        problem = self._problem()
        if problem is not None:
            return problem
        if effects.is_discarded:
            return queued(self._queue_id)
        try:
            sender, recipients, expanded = await self._map(effects)
        except TableError as error:
            return self._lookup_problem(error)
        except MappingError as error:
            self._desk.log.warning(f"{self._queue_id}: {error} -- {_TRY_LATER}")
            return ALIAS_ERROR
        if not recipients:
            return NO_RECIPIENTS
        if self._signer is not None and (not_signed := self._sign(self._signer)):
            return not_signed
        if effects.top:
            self._content.prepend(effects.top)
        return self._queue_entry(sender, recipients, expanded, effects)

    def _sign(self, signer: MessageSigner) -> Reply | None:
        """Put the signatures on top; the reply is for a message that cannot be signed and has to wait."""
        signatures = signer.finish()
        if isinstance(signatures, Reply):
            return signatures
        if signatures:
            self._content.prepend(signatures)
        return None

    def _problem(self) -> Reply | None:
        if self._too_large:
            self._desk.log.warning(f"{self._queue_id}: queue file size limit exceeded")
            return TOO_LARGE
        if self._header.seen.hops >= self._desk.settings.hopcount_limit:
            self._desk.log.warning(f"{self._queue_id}: message rejected: hopcount exceeded")
            return TOO_MANY_HOPS
        return CONTENT_REJECTED if self._cleaner.is_refused else self._failure

    async def _map(self, effects: Effects) -> tuple[Address, list[Recipient], list[Recipient]]:
        """The sender, the recipients, and the aliases whose expansion is to be reported."""
        mapping, handling = self._desk.mapping, self._handling
        if mapping.only_completes:
            sender, recipients = mapping.completed(self._envelope.sender, effects.recipients(self._envelope.recipients))
            return sender, effects.redirected(recipients), []
        sender = await mapping.sender(self._envelope.sender, mappings=handling.mappings)
        expanded: list[Recipient] = []
        recipients = await mapping.recipients(
            sender,
            effects.recipients(self._envelope.recipients),
            mappings=handling.mappings,
            bcc=handling.bcc,
            expanded=expanded,
        )
        return sender, effects.redirected(recipients), expanded

    def _queue_entry(
        self, sender: Address, recipients: list[Recipient], expanded: list[Recipient], effects: Effects
    ) -> QueueEntry:
        envelope, seen, settings = self._envelope, self._header.seen, self._desk.settings
        now = self._desk.clock.now()
        return QueueEntry(
            queue_id=self._queue_id,
            queue=QueueName.HOLD if effects.is_held else QueueName.INCOMING,
            sender=sender,
            recipients=tuple([_queued(number, recipient) for number, recipient in enumerate(recipients, 1)]),
            arrival_time=self._arrival,
            queued_time=now,
            size=self._content.size,
            client=self._client,
            origin=self._origin,
            body=Body.EIGHT_BIT_MIME
            if seen.encoding in _EIGHT_BIT and settings.detect_8bit_encoding_header
            else envelope.body,
            smtputf8=envelope.smtputf8 or (self._handling.detects_smtputf8 and self._is_smtputf8(sender, recipients)),
            envid=envelope.envid,
            ret=envelope.ret,
            verp=envelope.verp,
            filter=effects.filter or self._handling.content_filter,
            message_id=seen.message_id,
            next_attempt=now,
            is_notice=self._origin is Origin.NOTICE,
            trace=envelope.trace,
            expanded=tuple([_queued(-number, one) for number, one in enumerate(expanded, 1)]) if expanded else (),
        )

    def _is_smtputf8(self, sender: Address, recipients: list[Recipient]) -> bool:
        is_ascii = self._header.seen.is_ascii and sender.is_ascii
        return not (is_ascii and all(recipient.address.is_ascii for recipient in recipients))

    async def _enqueue(self, entry: QueueEntry) -> Reply:
        try:
            await self._desk.queue.enqueue(entry, self._content)
        except SpoolError as error:
            self._desk.log.warning(f"{self._queue_id}: queue file write error: {error}")
            await self._content.discard()
            return NOT_WRITTEN
        return queued(self._queue_id)

    def _lookup_problem(self, error: TableError) -> Reply:
        self._desk.log.warning(f"{self._queue_id}: {error.table} map lookup problem: {error.message} -- {_TRY_LATER}")
        return NOT_WRITTEN


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def _queued(number: int, recipient: Recipient) -> QueuedRecipient:
    return QueuedRecipient(number, recipient.address, recipient.original, recipient.notify, recipient.orcpt)
