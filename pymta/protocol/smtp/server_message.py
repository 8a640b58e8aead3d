"""How a server session takes a message in: DATA, BDAT, the decision at their end, the commit (RFC 5321 4.1.1.4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pymta.model.access import Stage, Verdict
from pymta.model.address import Address
from pymta.model.reply import Reply
from pymta.protocol.smtp.server_blame import POLICY, RESOURCE
from pymta.protocol.smtp.server_content import Chunk, IncomingContent
from pymta.protocol.smtp.server_events import Abort, Commit, Content, Note, OpenDraft
from pymta.protocol.smtp.server_log import AFTER_MESSAGE

if TYPE_CHECKING:
    from pymta.protocol.smtp.server import ServerSession

GO_AHEAD = Reply.of(354, "End data with <CR><LF>.<CR><LF>")


class MessageReceiver:
    """The part of a session that reads content; one per session, used for one message after the other."""

    def __init__(self, session: ServerSession) -> None:
        self._session = session
        self.content: IncomingContent | None = None
        self.is_reading = False
        self._chunk: Chunk | None = None
        self._draft_open = False

    @property
    def size(self) -> int:
        return self.content.size if self.content else 0

    def read(self) -> bool:
        """Take what there is of content; False where more bytes are needed."""
        return self._read_chunk(self._chunk) if self._chunk else self._read_data()

    def open_draft(self, opened: Callable[[], None], refused: Callable[[Reply], None] | None = None) -> None:
        """Ask for a draft and go on with `opened` where there is one; `refused` says so otherwise."""
        session = self._session

        def answered(refusal: Reply | None) -> None:
            if refusal:
                session.blame = RESOURCE
                (refused or session.fail)(refusal)
                return
            self._draft_open = True
            standard_end = session.options.forbid_bare_newline.wants_standard_end
            self.content = IncomingContent(session.options.message_size_limit, standard_end)
            opened()

        transaction = session.transaction
        said = transaction.said if len(transaction.recipients) == 1 else None
        event = OpenDraft(transaction.envelope(), transaction.queue_id, transaction.prepended(), said)
        session.ask(event, answered)

    def start_data(self) -> None:
        session = self._session
        self.is_reading = True
        session.reply(GO_AHEAD)

    def decide_chunk(self, chunk: Chunk) -> None:
        """The first chunk stands where DATA would: the same decision, then the draft."""
        session = self._session

        def decided(verdict: Verdict) -> None:
            session.take_effects(verdict)
            if verdict.reply is None:
                self.open_draft(opened, refused)
            elif verdict.disconnect:
                session.give_up(verdict.reply)
            else:
                refused(verdict.reply)

        def opened() -> None:
            session.transaction.has_chunks = True
            self.start_chunk(chunk)

        def refused(reply: Reply) -> None:
            chunk.failure = reply
            session.transaction.chunks_failed = True
            self.start_chunk(chunk)

        session.ask_policy(Stage.DATA, None, decided)

    def start_chunk(self, chunk: Chunk) -> None:
        self._chunk = chunk
        self.is_reading = True
        if not chunk.remaining:
            self._end_chunk(chunk)

    def abort(self) -> None:
        session = self._session
        self.is_reading = False
        self._chunk = None
        self.content = None
        if self._draft_open:
            self._draft_open = False
            session.emit(Abort())

    def _read_data(self) -> bool:
        session = self._session
        content = self.content
        data = session.lines.take_rest()
        if not data or content is None:
            return False
        kept, rest = content.feed_data(data)
        self._store(content, kept)
        if rest is not None:
            session.lines.put_back(rest)
            self.is_reading = False
            self._end_message(content)
        return True

    def _read_chunk(self, chunk: Chunk) -> bool:
        session = self._session
        data = session.lines.take_rest()
        if not data:
            return False
        if len(data) > chunk.remaining:
            session.lines.put_back(data[chunk.remaining :])
            data = data[: chunk.remaining]
        chunk.remaining -= len(data)
        if not chunk.failure and self.content:
            ends_message = chunk.is_last and not chunk.remaining
            self._store(self.content, self.content.feed_chunk(data, ends_message))
        if not chunk.remaining:
            self._end_chunk(chunk)
        return True

    def _store(self, content: IncomingContent, kept: bytes) -> None:
        session = self._session
        if kept:
            session.emit(Content(kept, content.is_tidy))
        elif content.failure and self._draft_open:
            self._draft_open = False
            session.emit(Note(f"{session.transaction.queue_id}: queue file size limit exceeded", is_warning=True))
            session.emit(Abort())

    def _end_chunk(self, chunk: Chunk) -> None:
        session = self._session
        self._chunk = None
        self.is_reading = False
        if chunk.failure:
            session.fail(chunk.failure)
            if chunk.is_last:
                session.reset_transaction()
        elif not chunk.is_last:
            session.succeed(Reply.of(250, f"Ok: {chunk.size} bytes", "2.0.0"))
        elif self.content:
            if not chunk.size:
                self._store(self.content, self.content.feed_chunk(b"", True))
            self._end_message(self.content)

    def _end_message(self, content: IncomingContent) -> None:
        session = self._session
        session.where = AFTER_MESSAGE
        if content.got_bare_newline and session.refuses_bare_newline(AFTER_MESSAGE):
            return
        if content.failure:
            session.fail(content.failure)
            session.reset_transaction()
        else:
            session.ask_policy(Stage.END_OF_DATA, self._only_recipient(), self._message_decided)

    def _only_recipient(self) -> Address | None:
        session = self._session
        recipients = session.transaction.recipients
        return recipients[0].address if len(recipients) == 1 else None

    def _message_decided(self, verdict: Verdict) -> None:
        session = self._session
        session.take_effects(verdict)
        if verdict.reply is None:
            session.ask(Commit(session.transaction.effects_at_commit()), self._committed)
        elif verdict.disconnect:
            session.give_up(verdict.reply)
        else:
            session.fail(verdict.reply)
            session.reset_transaction()

    def _committed(self, reply: Reply) -> None:
        session = self._session
        self._draft_open = False
        if reply.is_positive:
            session.succeed(self._counted(reply))
        else:
            session.blame = POLICY if reply.is_permanent else RESOURCE
            session.fail(reply)
        session.reset_transaction()

    def _counted(self, reply: Reply) -> Reply:
        """The answer to the last BDAT tells the message's size (RFC 3030 2)."""
        session = self._session
        if not session.transaction.has_chunks or not reply.lines[0].startswith("Ok: queued"):
            return reply
        return Reply.of(reply.code, reply.lines[0].replace("Ok:", f"Ok: {self.size} bytes", 1), reply.status)
