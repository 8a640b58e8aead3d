"""TLS between a transport and the protocol above it, over the ssl module's memory buffers.

The loops' own layer keeps a buffer of a quarter of a megabyte for each connection, even for one that says nothing for
an hour. Here nothing is kept but what OpenSSL needs: 18 KiB for a session, on any loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Any

_PIECE = 16_384
"""Bytes for OpenSSL at a time: its buffers grow to what they once held, and a record has no more."""


class TlsLayer(asyncio.Transport, asyncio.Protocol):
    """The protocol of `wire`, and the transport of `protocol` above it once the handshake is done.

    `protocol` hears of nothing before `shake_hands` has returned, and of no handshake that fails. There is no half of a
    connection: whoever is told of its end closes it. A close says goodbye and does not wait for the other side's
    (postconf(5) tls_fast_shutdown_enable).
    """

    __slots__ = (
        "_backlog",
        "_error",
        "_has_eof",
        "_incoming",
        "_is_choked",
        "_is_closing",
        "_is_ended",
        "_is_open",
        "_is_paused",
        "_is_stalled",
        "_outgoing",
        "_protocol",
        "_tls",
        "_waiter",
        "_wire",
    )

    def __init__(
        self,
        wire: asyncio.Transport,
        protocol: asyncio.Protocol,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_name: str | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self._wire = wire
        self._protocol = protocol
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side, server_name, session)
        self._waiter: asyncio.Future[None] | None = None
        self._backlog = b""
        self._error: Exception | None = None
        self._is_open = self._is_closing = self._has_eof = self._is_ended = False
        self._is_paused = self._is_choked = self._is_stalled = False

    async def shake_hands(self, first_bytes: bytes = b"") -> ssl.SSLObject:
        """`first_bytes` of the other side came already. Raises ssl.SSLError, or ConnectionError when it has gone."""
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        self._wire.set_protocol(self)
        self._wire.resume_reading()
        self._backlog = first_bytes
        self._shake()
        await waiter
        if self._is_closing:
            raise ConnectionResetError("lost connection")
        self._is_open = True
        if self._backlog or self._incoming.pending or self._has_eof:
            # What came along with the end of the handshake is for whoever hears that it is done.
            loop.call_soon(self._pump)
        return self._tls

    # The wire calls these.

    def data_received(self, data: bytes) -> None:
        self._backlog = self._backlog + data if self._backlog else data
        if self._is_open:
            self._pump()
        elif self._waiter:
            self._shake()

    def eof_received(self) -> bool:
        self._has_eof = True
        if self._is_open:
            self._pump()
        elif self._waiter:
            self._give_up(ConnectionResetError("lost connection"))
            self.abort()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._is_closing = True
        if self._is_open:
            self._protocol.connection_lost(self._error or error)
        else:
            self._give_up(ConnectionResetError("lost connection"))

    def pause_writing(self) -> None:
        self._is_choked = True
        if self._is_open:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._is_choked = False
        if self._is_open:
            self._protocol.resume_writing()
        if self._is_stalled:
            self._is_stalled = False
            self._go_on()

    # The protocol above calls these.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_closing or not data:
            return
        try:
            if len(data) <= _PIECE:
                self._tls.write(data)
                self._flush()
                return
            view = memoryview(data)
            for start in range(0, len(view), _PIECE):
                self._tls.write(view[start : start + _PIECE])
                self._flush()
        except ssl.SSLError as error:
            self._fail(error)

    def close(self) -> None:
        if self._is_closing:
            return
        self._is_closing = True
        # It complains that the other side's goodbye is not there yet.
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        self._flush()
        self._wire.close()

    def abort(self) -> None:
        self._is_closing = True
        self._wire.abort()

    def is_closing(self) -> bool:
        return self._is_closing

    def pause_reading(self) -> None:
        self._is_paused = True
        self._wire.pause_reading()

    def resume_reading(self) -> None:
        if self._is_paused and not self._is_closing:
            self._is_paused = False
            asyncio.get_running_loop().call_soon(self._go_on)

    def is_reading(self) -> bool:
        return not self._is_paused and not self._is_closing

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._tls if name == "ssl_object" else self._wire.get_extra_info(name, default)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._wire.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._wire.get_write_buffer_size()

    def can_write_eof(self) -> bool:
        return False

    # Records.

    def _shake(self) -> None:
        """Go on with the handshake; what is behind it stays in the backlog."""
        try:
            while not self._is_shaken():
                if not self._backlog:
                    return
                self._feed()
        except ssl.SSLError as error:
            # The alert tells the other side why.
            self._flush()
            self._is_closing = True
            self._wire.close()
            self._give_up(error)
            return
        waiter, self._waiter = self._waiter, None
        if waiter and not waiter.done():
            waiter.set_result(None)

    def _is_shaken(self) -> bool:
        """A server's ticket, the end of a handshake in TLS 1.3, goes out at once too.

        It carries the acknowledgement that lets a client's kernel send the command that waits behind the handshake.
        """
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self._flush()
        return True

    def _feed(self) -> None:
        self._incoming.write(self._backlog[:_PIECE])
        self._backlog = self._backlog[_PIECE:]

    def _pump(self) -> None:
        """Hand on what can be read now, in pieces, for as long as somebody wants it."""
        while not (self._is_paused or self._is_stalled or self._is_closing):
            try:
                data = self._tls.read(_PIECE)
            except ssl.SSLWantReadError:
                if not self._has_more():
                    return
                continue
            except ssl.SSLError as error:
                self._fail(error)
                return
            if not data:
                self._end()
                return
            self._protocol.data_received(data)

    def _has_more(self) -> bool:
        """Give OpenSSL the next piece; False where there is none now."""
        if self._outgoing.pending:
            self._flush()
            if self._is_choked:
                # Our own answers to the other side's TLS are not read: they must not pile up.
                self._is_stalled = True
                self._wire.pause_reading()
                return False
        if not self._backlog:
            if self._has_eof:
                self._end()
            return False
        self._feed()
        return True

    def _go_on(self) -> None:
        if not (self._is_paused or self._is_stalled or self._is_closing):
            self._wire.resume_reading()
            self._pump()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._wire.write(self._outgoing.read())

    def _end(self) -> None:
        """The other side is through: with a goodbye of TLS, or without."""
        if not self._is_ended:
            self._is_ended = True
            if not self._protocol.eof_received():
                self.close()

    def _fail(self, error: ssl.SSLError) -> None:
        """The session is broken: what comes now cannot be told from what somebody else put in."""
        self._error = error
        self._flush()
        self._is_closing = True
        self._wire.close()

    def _give_up(self, error: Exception) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter and not waiter.done():
            waiter.set_exception(error)
