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
from pymta.protocol.smtp.client_events import ClientSignal, Event, Phase
from pymta.runtime.tls_handshake import HandshakeError, start_tls

_CHUNK = 262_144
# Below this, one piece made of several is cheaper than several in one system call.
_JOIN = 16_384


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


class ContentUnreadableError(Exception):
    """The content could not be read to its end; nothing of the message counts as sent."""


@dataclass(slots=True, eq=False)
class Turn:
    """One message's place in a session. `begin` says its envelope, as soon as what stands before it is written.

    `has_begun` is still False after its time where the session was of no use any more.
    """

    begin: Callable[[], None]
    has_begun: bool = False
    waiter: asyncio.Future[None] | None = None

    def wake(self) -> None:
        if self.waiter and not self.waiter.done():
            self.waiter.set_result(None)


class ClientConnection(asyncio.Protocol):
    """Drives a `ClientSession` with `host`. `opened` and `messages` are the owner's notes for reuse.

    Messages take turns (`take_turn`, `turn_begun`, `end_turn`): the next one's envelope goes out together with the end
    of the content before it, and events come for the message whose turn is the oldest. `answer_seconds` is how long the
    server took to answer the last content.

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
        self._deadline = float("inf")
        self._paused = False
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
        idle = session.phase is Phase.IDLE
        session.receive_data(data)
        if session.has_output:
            self.flush()
        if session.has_event:
            self._wake()
        elif idle and not session.is_reusable:
            self.abort()
            self._on_idle_end(self)
        elif not self._limits.per_request:
            self._set_deadline()

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

    async def next_event(self, turn: Turn | None = None) -> Event:
        """The session's next event; waits for it as long as the phase allows. `Lost` after a timeout."""
        session = self.session
        self.flush()
        while True:
            if turn is not None and self._turns[0] is not turn:
                await self._wait(turn)
                continue
            event = session.next_event()
            if not isinstance(event, ClientSignal):
                self._deadline = float("inf")
                return event
            if self._transport is None:
                session.receive_eof()
                continue
            await self._wait(turn)

    # Turns.

    @property
    def turns(self) -> int:
        """How many messages are under way or wait here."""
        return len(self._turns)

    def take_turn(self, begin: Callable[[], None]) -> Turn:
        """Queue up; it may be our turn at once."""
        turn = Turn(begin)
        self._turns.append(turn)
        self._begin_next()
        return turn

    async def turn_begun(self, turn: Turn) -> bool:
        """Wait for our turn; False where it did not come."""
        while not turn.has_begun and self._turns[0] is not turn:
            await self._wait(turn)
        return turn.has_begun

    def end_turn(self, turn: Turn) -> None:
        """Make place for who comes after us, whatever became of our message."""
        self._turns.remove(turn)
        if self._turns:
            self._begin_next()
            self._turns[0].wake()

    def _begin_next(self) -> None:
        """Begin the first message that waits, where the session takes one now."""
        for turn in self._turns:
            if not turn.has_begun:
                if self.is_alive and self.session.can_begin:
                    turn.has_begun = True
                    turn.begin()
                    turn.wake()
                return

    async def start_tls(
        self, context: ssl.SSLContext, timeout: float, server_name: str | None, resumable: Resumable | None
    ) -> ssl.SSLObject:
        """Shake hands over this connection, which is of no use any more where that raises HandshakeError."""
        if self._transport is None:
            raise HandshakeError("lost connection")
        self._deadline = float("inf")
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

    async def send_content(self, content: Content, turn: Turn) -> None:
        """Send the whole content and the final dot; a lost connection shows in the next event.

        Raises ContentUnreadableError, with the connection cut, so that no half message can be taken for a whole one.
        """
        session = self.session
        data = content.data
        if data is not None:
            session.send_content(data)
            self._end_content()
            return
        self._extend_for(content.size)
        try:
            async for chunk in content.chunks(_CHUNK):
                if not session.is_sending:
                    return
                session.send_content(chunk)
                self.flush()
                while self._paused and session.is_sending:
                    await self._wait(turn)
        except Exception as error:
            self.abort()
            raise ContentUnreadableError(str(error)) from error
        if session.is_sending:
            self._end_content()

    def _end_content(self) -> None:
        self.session.end_content()
        self._content_ended = self._loop.time()
        self._begin_next()

    def note_answer(self) -> None:
        """The server said what became of the last content."""
        self.answer_seconds = self._loop.time() - self._content_ended

    def rest(self) -> None:
        """Nothing is expected of an idle session: stop the clock."""
        self._deadline = float("inf")

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
            self._set_deadline()
        else:
            self._cancel_timer()
            transport.close()
            if transport.get_write_buffer_size():
                self._set_deadline()

    def abort(self) -> None:
        """Cut the connection."""
        self._cancel_timer()
        if self._transport:
            self._transport.abort()

    # Waiting and its limits.

    async def _wait(self, turn: Turn | None) -> None:
        if turn is None or self._turns[0] is turn:
            self._set_deadline()
        waiter = self._loop.create_future()
        if turn is None:
            self._waiter = waiter
        else:
            turn.waiter = waiter
        await waiter

    def _wake(self) -> None:
        if self._turns:
            self._turns[0].wake()
        elif self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    def _extend_for(self, size: int) -> None:
        if self._limits.per_request:
            limit = self._limits.phases[Phase.BODY] + size / self._limits.data_rate
            self._arm(self._loop.time() + limit)

    def _set_deadline(self) -> None:
        phase = self.session.phase
        if phase in (Phase.BODY, Phase.CHUNK) and self._limits.per_request:
            return
        limit = self._limits.phases.get(phase)
        if limit is None:
            self._deadline = float("inf")
        else:
            self._arm(self._loop.time() + limit)

    def _arm(self, deadline: float) -> None:
        """One timer serves all phases: it is set anew only where it would come too late."""
        self._deadline = deadline
        if self._transport:
            self._unsent = self._transport.get_write_buffer_size()
        if self._timer is not None and self._timer.when() > deadline:
            self._cancel_timer()
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._deadline == float("inf") or self._transport is None:
            return
        if self._loop.time() < self._deadline - 0.001:
            self._timer = self._loop.call_at(self._deadline, self._on_timer)
            return
        if not self._limits.per_request and self._transport.get_write_buffer_size() < self._unsent:
            # Slow, but it moves: the limit is for a connection that stands still.
            self._set_deadline()
            return
        self.timed_out = True
        self.session.receive_eof()
        self.abort()
        self._wake()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
