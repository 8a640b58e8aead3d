"""TLS between a transport and a protocol, over a wire of our own: how bytes are cut does not matter."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Any

import pytest

from pymta.runtime.tls_context import client_context, server_context
from pymta.runtime.tls_handshake import HandshakeError, start_tls
from pymta.runtime.tls_layer import TlsLayer
from pymta.runtime.tls_values import Protocols
from tests.support.tls import server_pair

CUTS = [1, 7, 100_000]
BIG = bytes(range(256)) * 2000


class Wire(asyncio.Transport):
    """What is written to it is kept; tests feed what comes."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.protocol: Any = None
        self.is_paused = False
        self.is_closed = False

    def write(self, data: Any) -> None:
        self.sent += data

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    abort = close


class Ear(asyncio.Protocol):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.calls: list[str] = []
        self.error: Exception | None = None
        self.on_data: Any = None

    def data_received(self, data: bytes) -> None:
        self.data += data
        if self.on_data:
            self.on_data()

    def eof_received(self) -> bool:
        self.calls.append("eof")
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.calls.append("lost")
        self.error = error

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")


class Other:
    """The other side, OpenSSL over memory; `say` and `hear` are its plain text."""

    def __init__(self, *, is_server: bool, tls12: bool = False) -> None:
        context = _server() if is_server else _client()
        if tls12:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=is_server)
        self.is_done = False

    def take(self, wire: Wire) -> None:
        self.incoming.write(bytes(wire.sent))
        wire.sent.clear()

    def shake(self) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
            self.is_done = True

    def hear(self, wire: Wire) -> bytes:
        self.take(wire)
        heard = bytearray()
        with contextlib.suppress(ssl.SSLWantReadError):
            while data := self.tls.read(65536):
                heard += data
        return bytes(heard)

    def say(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self.outgoing.read()


def _server(ticket_seconds: int = 3600) -> ssl.SSLContext:
    context = server_context(Protocols(), "DEFAULT", prefer_own_ciphers=False, ticket_seconds=ticket_seconds)
    pair = server_pair()
    context.load_cert_chain(pair.certificate, pair.key)
    return context


def _client() -> ssl.SSLContext:
    return client_context(Protocols(), "DEFAULT", must_trust=False)


async def _feed(wire: Wire, data: bytes, cut: int) -> None:
    for start in range(0, len(data), cut):
        wire.protocol.data_received(data[start : start + cut])
    await asyncio.sleep(0)


async def _shaken(*, server_side: bool = True, cut: int = 100_000, tls12: bool = False) -> tuple[Any, Wire, Ear, Other]:
    wire, ear, other = Wire(), Ear(), Other(is_server=not server_side, tls12=tls12)
    context = _server() if server_side else _client()
    task = asyncio.create_task(start_tls(wire, ear, context, server_side=server_side, timeout=5))
    await asyncio.sleep(0)
    for _ in range(6):
        other.take(wire)
        if not other.is_done:
            other.shake()
        await _feed(wire, other.outgoing.read(), cut)
    layer, connection = await task
    assert layer.get_extra_info("ssl_object") is connection
    return layer, wire, ear, other


@pytest.mark.parametrize("tls12", [False, True])
@pytest.mark.parametrize("server_side", [True, False])
@pytest.mark.parametrize("cut", CUTS)
async def test_data_in_both_directions_however_it_is_cut(cut: int, server_side: bool, tls12: bool) -> None:
    layer, wire, ear, other = await _shaken(server_side=server_side, cut=cut, tls12=tls12)
    assert other.hear(wire) == b""
    await _feed(wire, other.say(b"EHLO x\r\n") + other.say(b"QUIT\r\n"), cut)
    assert ear.data == b"EHLO x\r\nQUIT\r\n"
    layer.write(b"250 ok\r\n")
    assert other.hear(wire) == b"250 ok\r\n"
    ear.data.clear()
    await _feed(wire, other.say(BIG), max(cut, 1000))
    assert ear.data == BIG
    layer.write(memoryview(BIG))
    assert other.hear(wire) == BIG


async def test_data_that_comes_with_the_end_of_the_handshake_waits_for_it() -> None:
    wire, ear, other = Wire(), Ear(), Other(is_server=False)

    async def accept() -> bytes:
        await start_tls(wire, ear, _server(), server_side=True, timeout=5)
        return bytes(ear.data)

    task = asyncio.create_task(accept())
    other.shake()
    await asyncio.sleep(0)
    wire.protocol.data_received(other.outgoing.read())
    other.take(wire)
    other.shake()
    wire.protocol.data_received(other.outgoing.read() + other.say(b"EHLO x\r\n"))
    wire.protocol.data_received(other.say(b"QUIT\r\n"))
    assert await task == b""
    await asyncio.sleep(0)
    assert ear.data == b"EHLO x\r\nQUIT\r\n"


async def test_first_bytes_that_came_before() -> None:
    wire, ear, other = Wire(), Ear(), Other(is_server=False)
    other.shake()
    layer = TlsLayer(wire, ear, _server(), server_side=True)
    task = asyncio.create_task(layer.shake_hands(other.outgoing.read()))
    await asyncio.sleep(0)
    other.take(wire)
    other.shake()
    wire.protocol.data_received(other.outgoing.read())
    assert (await task).version() == "TLSv1.3"


@pytest.mark.parametrize(
    ("garbage", "alerts"),
    # Who does not speak TLS at all is not answered in it. Record type 21 is an alert.
    [(b"EHLO x\r\n", b""), (b"\x16\x03\x01\xff\xff" + bytes(65535), b"\x15"), (b"\x80" * 50, b"")],
)
async def test_what_is_no_handshake_ends_it(garbage: bytes, alerts: bytes) -> None:
    wire, ear = Wire(), Ear()
    task = asyncio.create_task(start_tls(wire, ear, _server(), server_side=True, timeout=5))
    await asyncio.sleep(0)
    await _feed(wire, garbage, 10)
    with pytest.raises(HandshakeError) as failure:
        await task
    assert (failure.value.cause, failure.value.problem[:9]) == ("-1", "error:SSL")
    assert wire.is_closed
    assert wire.sent[:1] == alerts
    await asyncio.sleep(0)
    assert not ear.calls


@pytest.mark.parametrize(("end", "cause"), [("eof", "lost connection"), ("lost", "lost connection")])
async def test_the_other_side_leaves_in_mid_handshake(end: str, cause: str) -> None:
    wire, ear, other = Wire(), Ear(), Other(is_server=False)
    task = asyncio.create_task(start_tls(wire, ear, _server(), server_side=True, timeout=5))
    other.shake()
    await asyncio.sleep(0)
    await _feed(wire, other.outgoing.read()[:100], 100)
    wire.protocol.eof_received() if end == "eof" else wire.protocol.connection_lost(None)
    with pytest.raises(HandshakeError) as failure:
        await task
    assert failure.value.cause == cause
    await asyncio.sleep(0)
    assert not ear.calls


async def test_a_handshake_that_takes_too_long() -> None:
    wire = Wire()
    with pytest.raises(HandshakeError) as failure:
        await start_tls(wire, Ear(), _server(), server_side=True, timeout=0.01)
    assert failure.value.cause == "Connection timed out"
    assert wire.is_closed


async def test_a_goodbye_is_the_end_and_is_answered() -> None:
    _, wire, ear, other = await _shaken()
    await _feed(wire, other.say(b"QUIT\r\n"), 100_000)
    with contextlib.suppress(ssl.SSLWantReadError):
        other.tls.unwrap()
    await _feed(wire, other.outgoing.read(), 1)
    await asyncio.sleep(0)
    assert ear.data == b"QUIT\r\n"
    assert ear.calls == ["eof", "lost"]
    assert wire.is_closed


async def test_an_end_without_goodbye_is_an_end_too() -> None:
    _, wire, ear, _ = await _shaken()
    wire.protocol.eof_received()
    await asyncio.sleep(0)
    assert ear.calls == ["eof", "lost"]
    assert ear.error is None


async def test_a_close_says_goodbye_and_later_writes_are_lost() -> None:
    layer, wire, ear, other = await _shaken()
    other.hear(wire)
    layer.write(b"221 bye\r\n")
    layer.close()
    layer.close()
    layer.write(b"250 too late\r\n")
    assert layer.is_closing()
    assert wire.is_closed
    assert other.hear(wire) == b"221 bye\r\n"
    other.tls.unwrap()
    await asyncio.sleep(0)
    assert ear.calls == ["lost"]


async def test_a_record_that_was_changed_on_its_way_ends_the_session() -> None:
    _, wire, ear, other = await _shaken()
    record = bytearray(other.say(b"MAIL FROM:<a@example.com>\r\n"))
    record[-1] ^= 1
    await _feed(wire, bytes(record) + other.say(b"DATA\r\n"), 100_000)
    await asyncio.sleep(0)
    assert not ear.data
    assert wire.is_closed
    assert isinstance(ear.error, ssl.SSLError)


async def test_nothing_is_handed_on_while_reading_is_paused() -> None:
    layer, wire, ear, other = await _shaken()
    ear.on_data = layer.pause_reading
    await _feed(wire, other.say(b"1" * 10) + other.say(b"2" * 20_000) + other.say(b"3"), 100_000)
    assert ear.data == b"1" * 10
    assert wire.is_paused
    assert not layer.is_reading()
    ear.on_data = None
    layer.resume_reading()
    await asyncio.sleep(0)
    assert ear.data == b"1" * 10 + b"2" * 20_000 + b"3"
    assert not wire.is_paused


async def test_the_end_comes_behind_what_waits() -> None:
    layer, wire, ear, other = await _shaken()
    ear.on_data = layer.pause_reading
    await _feed(wire, other.say(b"1" * 20_000) + other.say(b"2"), 100_000)
    wire.protocol.eof_received()
    assert not ear.calls
    ear.on_data = None
    layer.resume_reading()
    await asyncio.sleep(0)
    assert ear.data.endswith(b"2")
    assert ear.calls == ["eof"]


async def test_flow_control_of_writes_is_the_wires() -> None:
    _, wire, ear, other = await _shaken()
    wire.protocol.pause_writing()
    await _feed(wire, other.say(b"still heard"), 100_000)
    wire.protocol.resume_writing()
    assert ear.calls == ["pause", "resume"]
    assert ear.data == b"still heard"


async def test_a_cancelled_handshake_leaves_nothing_open() -> None:
    wire = Wire()
    task = asyncio.create_task(start_tls(wire, Ear(), _server(), server_side=True, timeout=5))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert wire.is_closed


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("seconds", [0, 3600])
async def test_who_comes_back_with_a_ticket_need_not_begin_anew(seconds: int, version: ssl.TLSVersion) -> None:
    context, ours = _server(seconds), _client()
    ours.maximum_version = version
    session = None
    for turn in range(2):
        wire, other = Wire(), Other(is_server=False)
        other.tls = ours.wrap_bio(other.incoming, other.outgoing, session=session)
        task = asyncio.create_task(start_tls(wire, Ear(), context, server_side=True, timeout=5))
        for _ in range(4):
            await asyncio.sleep(0)
            other.take(wire)
            if not other.is_done:
                other.shake()
            await _feed(wire, other.outgoing.read(), 100_000)
        await task
        other.hear(wire)
        assert other.tls.session_reused is (turn == 1 and seconds > 0)
        session = other.tls.session
    assert context.session_stats()["number"] == 0
