"""One client's connection: bytes between asyncio and the sans-IO session. The only file that knows aiosmtpd."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol, cast

import aiosmtpd.smtp

from pymta.model.envelope import Client
from pymta.model.reply import Reply
from pymta.ports import Draft, SaslExchange
from pymta.protocol.smtp.server import ServerSession
from pymta.protocol.smtp.server_events import (
    Abort,
    Authenticate,
    CancelAuthentication,
    Classify,
    Commit,
    Content,
    CountCommand,
    Decide,
    Delay,
    Errors,
    Event,
    FilterCommand,
    FlushSite,
    Note,
    OpenDraft,
    PrepareTls,
    ServerSignal,
    StartTls,
)
from pymta.runtime.tls_handshake import HandshakeError
from pymta.runtime.tls_session import channel_bindings
from pymta.smtpd.desk import Desk
from pymta.smtpd.outbox import Outbox
from pymta.smtpd.rates import ClientRates
from pymta.smtpd.sasl import SaslService
from pymta.smtpd.tls import ServerTls
from pymta.smtpd.workers import Workers

READ_AHEAD = 1 << 17
"""How much a client may send ahead of what is worked off before reading stops, in bytes."""
WRITE_BEHIND = 1 << 16
"""How much of our replies a client may leave unread before its commands wait, in bytes."""


class Host(Protocol):
    """The service that a connection belongs to."""

    desk: Desk

    tls: ServerTls | None
    sasl: SaslService | None
    rates: ClientRates
    workers: Workers
    outbox: Outbox

    async def admit(self, transport: asyncio.Transport) -> ServerSession | Reply: ...
    def left(self, connection: Connection, client: Client | None) -> None: ...


class Connection(aiosmtpd.smtp.SMTP):
    """aiosmtpd's protocol with another inside: a `ServerSession`, and a worker while something is worked out.

    Nothing of aiosmtpd's command loop runs (its DATA reader grows without bound, its handler errors are permanent
    and tell internals, its commits die with the connection). Commands that ask nothing are answered while the
    bytes arrive; a worker takes decisions, drafts and commits. A commit under way outlives the client.
    """

    def __init__(self, host: Host, loop: asyncio.AbstractEventLoop) -> None:
        # aiosmtpd's own __init__ inspects handlers and may ask DNS for each connection: 76 us and more.
        self._host = host
        self._desk = host.desk
        self._loop = loop
        self._session: ServerSession | None = None
        self._draft: Draft | None = None
        self._worker: asyncio.Task[None] | None = None
        self._is_writable = True
        self._is_reading = True
        self._is_shaking_hands = self._awaits_tls = False
        self._early = bytearray()
        self._has_eof = False
        self._is_lost = False
        self._is_closing = False
        self._is_committing = False
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._settings = host.desk.settings

    # asyncio calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = self.wire = self.accepted = cast(asyncio.Transport, transport)
        self.wire.set_write_buffer_limits(high=WRITE_BEHIND)
        self._deadline = self._loop.time() + self._settings.smtpd_timeout
        self._timer = self._loop.call_at(self._deadline, self._check_deadline)
        self._awaits_tls = self._host.tls is not None and self._host.tls.is_wrapper
        if self._awaits_tls:
            # The client's first bytes are for the handshake. uvloop begins to read all the same: see data_received.
            self.wire.pause_reading()
        self._worker = self._host.workers.run(self._work)

    def data_received(self, data: bytes) -> None:
        session = self._session
        if self._is_closing:
            return
        if session is None or self._awaits_tls or self._is_shaking_hands:
            self._early += data
            if not self._is_shaking_hands:
                self._pause_reading()
            return
        if self._settings.smtpd_per_request_deadline:
            self._earn_time(len(data))
        else:
            self._deadline = self._loop.time() + self._settings.smtpd_timeout
        session.receive_data(data)
        if self._worker is None:
            self._proceed(session)
        if (self._worker is not None or not self._is_writable) and session.waiting_bytes > READ_AHEAD:
            self._pause_reading()

    def eof_received(self) -> bool:
        """A client may close its half and still wait for replies (`printf ... | nc`)."""
        self._has_eof = True
        self._see_eof()
        # TLS knows no half of a connection.
        return self.wire is self.accepted

    def connection_lost(self, error: Exception | None) -> None:
        self._is_lost = self._has_eof = self._is_writable = True
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._see_eof()

    def pause_writing(self) -> None:
        self._is_writable = False

    def resume_writing(self) -> None:
        self._is_writable = True
        self._extend_deadline()
        if self._session and self._worker is None:
            self._proceed(self._session)

    # The service calls these.

    @property
    def is_idle(self) -> bool:
        """No transaction is under way."""
        session = self._session
        return session is None or (self._worker is None and session.transaction.sender is None)

    def shut_down(self, reply: Reply) -> None:
        """Say goodbye unless an answer is being worked out."""
        if self._session and self._worker is None:
            self._session.shut_down(reply)
            self._proceed(self._session)

    def cut(self) -> None:
        """End it now; only a commit under way is let finish."""
        self.wire.abort()
        if self._worker is not None and not self._is_committing:
            self._worker.add_done_callback(self._was_cut)
            self._worker.cancel()

    def _was_cut(self, worker: asyncio.Task[None]) -> None:
        """A worker that had not begun ends without a word."""
        if self._worker is worker:
            self._worker, self._is_closing = None, True
            self._leave()

    # Working off.

    def _see_eof(self) -> None:
        if self._session:
            self._session.receive_eof()
            if self._worker is None:
                self._proceed(self._session)

    def _proceed(self, session: ServerSession) -> None:
        """Work off what can be done at once; a worker takes the rest."""
        if self._is_closing:
            return
        try:
            question = self._pump(session)
        except Exception as error:
            self._fail(error)
            question = None
        if question is not None:
            self._worker = self._host.workers.run(partial(self._work, question))
        elif self._is_closing:
            self._leave()

    async def _work(self, question: Event | None = None) -> None:
        """Answer `question` and those that come up behind it; without one find out who the client is."""
        try:
            session = self._session or await self._open()
            if session and question is None:
                question = self._pump(session)
            while session and question is not None:
                await _ANSWERS[type(question)](self, question, session)
                self._extend_deadline()
                question = self._pump(session)
        except Exception as error:
            self._fail(error)
        except asyncio.CancelledError:
            self._is_closing = True
            raise
        finally:
            self._worker = None
            if self._is_closing:
                self._leave()

    def _leave(self) -> None:
        """Nothing more will be done for this client."""
        session = self._session
        if self._draft:
            self._host.workers.run(self._drop_draft)
            return
        self._host.left(self, session.client if session else None)
        if session:
            session.release()

    async def _drop_draft(self) -> None:
        draft, self._draft = self._draft, None
        if draft:
            await self._desk.abort(draft)
        self._leave()

    async def _open(self) -> ServerSession | None:
        """Find out who it is; what comes before the greeting waits."""
        admitted = await self._host.admit(self.wire)
        if isinstance(admitted, Reply):
            if not self._host.tls or not self._host.tls.is_wrapper:
                self.wire.write(admitted.encode())
            self._finish()
            return None
        self._session = admitted
        self._extend_deadline()
        admitted.start()
        if self._early and not self._awaits_tls:
            admitted.receive_data(bytes(self._early))
            self._early.clear()
        if self._has_eof:
            admitted.receive_eof()
        return admitted

    def _pump(self, session: ServerSession) -> Event | None:
        """Handle events up to the first that has to be waited for; replies of a burst go out in one write."""
        while self._is_writable and not self._is_closing:
            event = session.next_event()
            kind = type(event)
            if kind is ServerSignal:
                self._flush(session)
                if not self._is_reading:
                    self._resume_reading()
                return None
            if isinstance(event, Note):
                (self._desk.log.warning if event.is_warning else self._desk.log.info)(event.line)
            elif kind in _ANSWERS:
                return cast(Event, event)
            elif isinstance(event, Content):
                if self._draft:
                    self._draft.write(event.data, is_tidy=event.is_tidy)
            else:
                self._flush(session)
                self._finish()
        return None

    async def _report(self, event: Errors, session: ServerSession) -> None:
        await self._desk.report(event)
        session.resume()

    async def _decide(self, event: Decide, session: ServerSession) -> None:
        session.decide(await self._desk.decide(event.context, self._draft))

    async def _filter(self, event: FilterCommand, session: ServerSession) -> None:
        session.filtered(await self._desk.filter_command(event.text))

    async def _classify(self, event: Classify, session: ServerSession) -> None:
        session.classified(await self._desk.classify(event.verb))

    async def _open_draft(self, event: OpenDraft, session: ServerSession) -> None:
        opened = await self._desk.open_draft(event, session.client, session.tls)
        if isinstance(opened, Reply):
            session.draft_opened(opened)
        else:
            self._draft = opened
            session.draft_opened()

    async def _commit(self, event: Commit, session: ServerSession) -> None:
        self._flush(session)
        draft, self._draft = self._draft, None
        assert draft is not None, "a session commits only what it opened"
        self._is_committing = True
        reply = await self._desk.commit(draft, event)
        self._is_committing = False
        session.message_result(reply)

    async def _abort(self, event: Abort, session: ServerSession) -> None:
        draft, self._draft = self._draft, None
        if draft:
            await self._desk.abort(draft)

    async def _count(self, event: CountCommand, session: ServerSession) -> None:
        session.counted(await self._host.rates.count(event.verb, session.client))

    async def _prepare_tls(self, event: PrepareTls, session: ServerSession) -> None:
        session.tls_prepared(await self._host.rates.may_begin_tls(session.client))

    async def _start_tls(self, event: StartTls, session: ServerSession) -> None:
        """No step in between: what comes behind our 220 is the handshake's."""
        self._flush(session)
        self._host.outbox.flush()
        assert self._host.tls is not None, "a session begins TLS only where it is offered"
        if self._awaits_tls and await self._host.rates.may_begin_tls(session.client):
            session.tls_started(None)
            return
        first_bytes = bytes(self._early) if self._awaits_tls else b""
        self._early.clear()
        self._is_shaking_hands, self._awaits_tls = True, False
        try:
            self.wire, tls = await self._host.tls.accept(self.accepted, self, first_bytes)
            refusal = None if self._is_resumed() else await self._count_tls(session)
        except HandshakeError as error:
            self._host.tls.note_failure(session.label, error)
            await self._count_tls(session)
            self._is_lost = True
            session.tls_started(None)
            return
        finally:
            self._is_shaking_hands = False
        self.transport, self._is_reading = self.wire, True
        self.wire.set_write_buffer_limits(high=WRITE_BEHIND)
        session.tls_started(tls, refusal)
        session.receive_data(bytes(self._early))
        self._early.clear()
        if self._has_eof:
            session.receive_eof()

    def _is_resumed(self) -> bool:
        return bool(self.wire.get_extra_info("ssl_object").session_reused)

    async def _count_tls(self, session: ServerSession) -> Reply | None:
        return await self._host.rates.tls_begun(session.client, myhostname=self._settings.myhostname)

    async def _step_authentication(self, event: Authenticate, session: ServerSession) -> None:
        self._flush(session)
        assert self._host.sasl is not None, "a session begins AUTH only where it is enabled"
        step, exchange = await self._host.sasl.step(event, session.client, self._bindings(event, session))
        session.authenticated(step, exchange)

    def _bindings(self, event: Authenticate, session: ServerSession) -> dict[str, bytes]:
        """What a login by SCRAM can be bound to, where we say that it can."""
        if event.exchange or not session.auth or "SCRAM-SHA-256-PLUS" not in session.auth.secured:
            return {}
        return channel_bindings(self.wire.get_extra_info("ssl_object"), is_server=True)

    async def _cancel_authentication(self, event: CancelAuthentication, session: ServerSession) -> None:
        cast(SaslExchange, event.exchange).cancel()

    async def _flush_site(self, event: FlushSite, session: ServerSession) -> None:
        session.resume(await self._desk.flush_site(event.site))

    async def _delay(self, event: Delay, session: ServerSession) -> None:
        self._flush(session)
        if not self._is_lost:
            await asyncio.sleep(event.seconds)
        session.resume()

    def _flush(self, session: ServerSession) -> None:
        output = session.data_to_send()
        if output and not self._is_lost:
            self._host.outbox.post(self.wire, output)
            if self._settings.smtpd_per_request_deadline:
                self._extend_deadline()

    def _pause_reading(self) -> None:
        if self._is_reading and not self._is_lost:
            self._is_reading = False
            self.wire.pause_reading()

    def _resume_reading(self) -> None:
        if not self._is_reading and not self._is_lost:
            self._is_reading = True
            self.wire.resume_reading()

    def _finish(self) -> None:
        self._is_closing = True
        self._host.outbox.post(self.wire, b"", is_last=True)

    def _fail(self, error: Exception) -> None:
        """A bug of ours: the log hears what it was, the client that it may come again."""
        self._desk.log.error(f"session with {self._peer_label()}: {type(error).__name__}: {error}")
        if self._is_closing:
            return
        if not self._is_lost:
            reply = Reply.of(421, f"{self._settings.myhostname} Error: internal error, try again later", "4.3.0")
            self._host.outbox.post(self.wire, reply.encode())
        self._finish()

    def _peer_label(self) -> str:
        return self._session.label if self._session else "a new client"

    # Time.

    def _extend_deadline(self) -> None:
        self._deadline = self._loop.time() + self._settings.smtpd_timeout

    def _earn_time(self, received: int) -> None:
        """With `smtpd_per_request_deadline` content earns time by its size alone."""
        if self._session and self._session.is_reading_content:
            latest = self._loop.time() + self._settings.smtpd_timeout
            self._deadline = min(latest, self._deadline + received / self._settings.smtpd_min_data_rate)

    def _check_deadline(self) -> None:
        """One timer per connection: it runs to the deadline of when it was set, and then to what that became."""
        now = self._loop.time()
        is_working = self._worker is not None and self._is_writable
        if self._is_closing or (not self._is_writable and now >= self._deadline):
            self.wire.abort()
        elif is_working or now < self._deadline or self._session is None:
            later = max(self._deadline, now + 1.0) if is_working else self._deadline
            self._timer = self._loop.call_at(later, self._check_deadline)
        else:
            self._session.time_out()
            self._timer = self._loop.call_at(now + min(self._settings.smtpd_timeout, 10.0), self._check_deadline)
            self._proceed(self._session)


_ANSWERS: dict[type[Any], Callable[[Connection, Any, ServerSession], Awaitable[None]]] = {
    Decide: Connection._decide,
    Classify: Connection._classify,
    OpenDraft: Connection._open_draft,
    Commit: Connection._commit,
    Abort: Connection._abort,
    Authenticate: Connection._step_authentication,
    CancelAuthentication: Connection._cancel_authentication,
    CountCommand: Connection._count,
    PrepareTls: Connection._prepare_tls,
    StartTls: Connection._start_tls,
    Delay: Connection._delay,
    Errors: Connection._report,
    FilterCommand: Connection._filter,
    FlushSite: Connection._flush_site,
}
