"""One client connection: a session over a transport, with a time limit for every phase."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from pymta.delivery.hosts import Host
from pymta.delivery.smtp_tls_sessions import Resumable
from pymta.model.frozen import frozen
from pymta.model.tls import TlsSession
from pymta.ports import Content
from pymta.protocol.smtp.client import ClientSession
from pymta.protocol.smtp.client_events import ClientSignal, Event, Phase, SendContent
from pymta.runtime.tls_handshake import HandshakeError, start_tls

_CHUNK = 262_144
# Below this, one piece made of several is cheaper than several in one system call.
_JOIN = 16_384
# A timer may come so much too early.
_EARLY = 0.001


@frozen
class TimeLimits:
    """Seconds without progress in each phase; `connect` for the connection itself.

    Where `per_request` is set, a phase as a whole must end within its limit, content within the limit plus its
    size at `data_rate` bytes per second (smtp_per_request_deadline).
    """

    connect: float
    phases: Mapping[Phase, float]
    per_request: bool = False
    data_rate: int = 500

    @property
    def shortest(self) -> float:
        """Of those that there are: 0 is none."""
        return min(filter(None, self.phases.values()), default=float("inf"))


class ContentUnreadableError(Exception):
    """The content could not be read to its end; nothing of the message counts as sent."""


Ending = Event | ContentUnreadableError | None
"""How a message's turn ended: `Finished`, `Lost`, our own fault; None where it did not come."""


@dataclass(slots=True, eq=False)
class Turn:
    """One message's place in a session.

    `begin` says its envelope, as soon as what stands before it is written, and gives the content. `ended` is called
    once.
    """

    begin: Callable[[], Content]
    ended: Callable[[Ending], None]
    content: Content | None = None
    fault: ContentUnreadableError | None = None


class ClientConnection(asyncio.Protocol):
    """Drives a `ClientSession` with `host`. `opened` and `messages` are for the owner's decisions about reuse.

    Messages take turns (`take_turn`): the next one's envelope goes out together with the end of the content before it.
    `answer_seconds` is how long the server took to answer the last content. Between messages, the owner waits for
    events himself (`next_event`).

    `secured` is the TLS below, `resumed` the session that its handshake was spared by.

    `timed_out` tells why a session was lost. `on_idle_end` is called when the other side ends or spoils an idle
    session.
    """

    def __init__(
        self,
        host: Host,
        session: ClientSession,
        limits: TimeLimits,
        on_idle_end: Callable[[ClientConnection], None],
        opened: float = 0.0,
    ) -> None:
        self.host = host
        self.session = session
        self.timed_out = False
        self.opened = opened
        self.messages = 0
        self.tls: TlsSession | None = None
        self.secured: ssl.SSLObject | None = None
        self.resumed: Resumable | None = None
        self._limits = limits
        self._on_idle_end = on_idle_end
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._turns: deque[Turn] = deque()
        self._content_ended = 0.0
        self.answer_seconds = float("inf")
        self._timer: asyncio.TimerHandle | None = None
        self._since = 0.0
        self._allowance = 0.0
        self._paused = False
        self._sender: asyncio.Task[None] | None = None
        self._unsent = 0
        self._is_shaking_hands = False
        self._early = bytearray()

    # asyncio's callbacks.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio.Transport.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        session = self.session
        if self._is_shaking_hands:
            # Decrypted data before the handshake is known to be done: it waits.
            self._early += data
            return
        session.receive_data(data)
        if session.has_event:
            self._wake()
            self.flush()
            self._restart_clock()
            return
        self.flush()
        if not session.is_reusable and session.phase is Phase.IDLE:
            self.abort()
            self._on_idle_end(self)
        elif not self._limits.per_request:
            self._restart_clock()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        idle = self.session.phase is Phase.IDLE
        self.session.receive_eof()
        self._transport = None
        self._paused = False
        self._cancel_timer()
        self._wake()
        if idle:
            self._on_idle_end(self)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._wake()

    # The owner's side.

    @property
    def is_alive(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def next_event(self) -> Event:
        """The session's next event; waits for it as long as the phase allows. `Lost` after a timeout."""
        session = self.session
        self.flush()
        while isinstance(event := session.next_event(), ClientSignal):
            if self._transport is None:
                session.receive_eof()
                continue
            self._restart_clock()
            self._waiter = self._loop.create_future()
            await self._waiter
        return event

    # Turns.

    @property
    def turns(self) -> int:
        """How many messages are under way or wait here."""
        return len(self._turns)

    def take_turn(self, turn: Turn) -> None:
        """Queue up; it may be our turn at once."""
        self._turns.append(turn)
        self._begin_next()
        self._serve()
        self.flush()
        if len(self._turns) == 1:
            self._restart_clock()

    def _begin_next(self) -> None:
        """Begin the first message that waits, where the session takes one now."""
        for turn in self._turns:
            if turn.content is None:
                if self.is_alive and self.session.can_begin:
                    self.messages += 1
                    turn.content = turn.begin()
                return

    def _serve(self) -> None:
        """Do what the session asks for, on behalf of the message whose turn it is."""
        session, turns = self.session, self._turns
        while turns and session.has_event:
            event = session.next_event()
            if isinstance(event, SendContent):
                self._send_content(turns[0])
            elif not isinstance(event, ClientSignal):
                self._end_turn(event)
        while turns and turns[0].content is None:
            turns.popleft().ended(None)

    def _end_turn(self, event: Event) -> None:
        turn = self._turns.popleft()
        if self._content_ended:
            self.answer_seconds = self._loop.time() - self._content_ended
            self._content_ended = 0.0
        self._begin_next()
        turn.ended(turn.fault or event)

    async def start_tls(
        self, context: ssl.SSLContext, timeout: float, server_name: str | None, resumable: Resumable | None
    ) -> ssl.SSLObject:
        """Shake hands over this connection, which is of no use any more where that raises HandshakeError."""
        if self._transport is None:
            raise HandshakeError("lost connection")
        self._is_shaking_hands = True
        if self._transport.is_reading():
            self._transport.pause_reading()
        try:
            self._transport, secured = await start_tls(
                self._transport,
                self,
                context,
                server_side=False,
                timeout=timeout,
                server_name=server_name,
                session=resumable.session if resumable else None,
            )
        except HandshakeError:
            self._transport = None
            self._cancel_timer()
            raise
        finally:
            self._is_shaking_hands = False
        self.secured, self.resumed = secured, resumable if secured.session_reused else None
        return secured

    def tls_started(self, tls: TlsSession, *, say_hello: bool) -> None:
        """Go on under TLS; `say_hello` where the server was greeted before."""
        self.tls = tls
        if say_hello:
            self.session.tls_started()
        self.flush()
        if self._early:
            early = bytes(self._early)
            self._early.clear()
            self.data_received(early)

    def flush(self) -> None:
        """Hand what the session has to say to the transport."""
        if not self.session.has_output:
            return
        pieces = self.session.pieces_to_send()
        if self._transport is None:
            return
        if len(pieces) == 1:
            self._transport.write(pieces[0])
        elif sum(map(len, pieces)) < _JOIN:
            self._transport.write(b"".join(pieces))
        else:
            self._transport.writelines(pieces)

    # Content.

    def _send_content(self, turn: Turn) -> None:
        """Send the whole content and the final dot; a lost connection shows in the next event."""
        assert turn.content is not None
        data = turn.content.data
        if data is None:
            self._sender = self._loop.create_task(self._send_pieces(turn, turn.content))
            return
        self.session.send_content(data)
        self._end_content()

    async def _send_pieces(self, turn: Turn, content: Content) -> None:
        """The same in pieces. Content that cannot be read cuts the connection: half a message is none."""
        session = self.session
        if self._limits.per_request:
            self._allowance = content.size / self._limits.data_rate
        try:
            async for chunk in content.chunks(_CHUNK):
                if not session.is_sending:
                    return
                session.send_content(chunk)
                self.flush()
                if not self._limits.per_request:
                    self._restart_clock()
                while self._paused and session.is_sending:
                    self._waiter = self._loop.create_future()
                    await self._waiter
        except Exception as error:
            turn.fault = ContentUnreadableError(str(error))
            session.receive_eof()
            self.abort()
            self._serve()
            return
        if session.is_sending:
            self._end_content()
            self.flush()
            self._restart_clock()

    def _end_content(self) -> None:
        self.session.end_content()
        self._content_ended = self._loop.time()
        self._allowance = 0.0
        self._begin_next()

    def end(self, wait_for_reply: bool) -> None:
        """Say QUIT and close, in the background; without `wait_for_reply` at once (smtp_skip_quit_response)."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self.session.phase is not Phase.IDLE or not self.session.can_quit:
            self.abort()
            return
        self.session.quit()
        transport.write(self.session.data_to_send())
        if wait_for_reply:
            self._waiter = self._loop.create_future()
            self._waiter.add_done_callback(lambda _: self.abort())
            self._restart_clock()
        else:
            self._cancel_timer()
            transport.close()
            if transport.get_write_buffer_size():
                self._restart_clock()

    def abort(self) -> None:
        """Cut the connection."""
        self._cancel_timer()
        if self._transport:
            self._transport.abort()

    def abandon(self) -> None:
        """Cut it where nobody wants to know any more what became of the messages in line."""
        self._turns.clear()
        self.abort()

    # Waiting and its limits.

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)
        self._serve()

    def _restart_clock(self) -> None:
        """What the session waits for now may take its time from now on; one timer looks after all phases."""
        self._since = self._loop.time()
        if self._transport is not None:
            self._unsent = self._transport.get_write_buffer_size()
            if self._timer is None:
                self._timer = self._loop.call_later(self._limits.shortest, self._on_timer)

    def _on_timer(self) -> None:
        """Never later than the end of any phase, since it comes after the shortest limit at most."""
        self._timer = None
        limit = self._limits.phases.get(self.session.phase)
        if not limit or self._transport is None or self._is_shaking_hands:
            return
        now = self._loop.time()
        left = self._since + limit + self._allowance - now
        if left < _EARLY and not self._limits.per_request and self._is_moving(self._transport):
            self._since, left = now, limit
            self._unsent = self._transport.get_write_buffer_size()
        if left >= _EARLY:
            self._timer = self._loop.call_later(min(left, self._limits.shortest), self._on_timer)
            return
        self.timed_out = True
        self.session.receive_eof()
        self.abort()
        self._wake()

    def _is_moving(self, transport: asyncio.Transport) -> bool:
        """Slow, but it moves, or waits for ourselves: the limit is for a connection that stands still."""
        waits_for_us = self.session.is_sending and not self._paused
        return waits_for_us or transport.get_write_buffer_size() < self._unsent

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
