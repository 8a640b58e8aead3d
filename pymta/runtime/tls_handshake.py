"""TLS over a connection that is already there (RFC 3207), and what to say where that fails."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, cast

_SHUTDOWN_SECONDS = 2.0
"""How long a close waits for the other side's goodbye; SMTP has its own, so this is courtesy."""


class HandshakeError(Exception):
    """There is no TLS session and no connection any more.

    `cause` is Postfix's word for it: `lost connection`, `Connection timed out` or `-1`. `problem` is OpenSSL's
    text, empty where OpenSSL has nothing to say; `untrusted` tells that it is about the certificate.
    """

    def __init__(self, cause: str, problem: str = "", untrusted: str = "") -> None:
        self.cause = cause
        self.problem = problem
        self.untrusted = untrusted
        super().__init__(problem or cause)


async def start_tls(
    transport: asyncio.Transport,
    protocol: asyncio.Protocol,
    context: ssl.SSLContext,
    *,
    server_side: bool,
    timeout: float,
    server_name: str | None = None,
    first_bytes: bytes = b"",
) -> tuple[asyncio.Transport, ssl.SSLObject]:
    """The transport to use from now on, and its TLS. `timeout` is seconds. Raises HandshakeError.

    `protocol` may get decrypted data before this returns, and must not answer through the old transport.
    `first_bytes` of the other side's handshake came already; `transport` is to be paused then.
    """
    loop = asyncio.get_running_loop()
    handshake = loop.create_task(
        loop.start_tls(
            transport,
            protocol,
            context,
            server_side=server_side,
            server_hostname=server_name,
            ssl_handshake_timeout=timeout,
            ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
        )
    )
    if first_bytes:
        # The task's first step plans the start of TLS, this plans the bytes right behind it.
        loop.call_soon(loop.call_soon, _feed, transport, first_bytes)
    try:
        secured = await handshake
    except ssl.SSLCertVerificationError as error:
        raise HandshakeError("-1", _problem(error), error.verify_message) from None
    except ssl.SSLError as error:
        raise HandshakeError("-1", _problem(error)) from None
    except OSError as error:
        # Both loops report a handshake that takes too long as an aborted connection.
        timed_out = isinstance(error, ConnectionAbortedError) and "longer than" in str(error)
        raise HandshakeError("Connection timed out" if timed_out else "lost connection") from None
    connection = secured.get_extra_info("ssl_object") if secured else None
    if connection is None:
        raise HandshakeError("lost connection")
    return cast(asyncio.Transport, secured), cast(ssl.SSLObject, cast(Any, connection))


def _feed(transport: asyncio.Transport, data: bytes) -> None:
    """Hand bytes to the TLS protocol that has taken the transport over, as if they came now."""
    protocol = cast(asyncio.BufferedProtocol, transport.get_protocol())
    while data:
        buffer = memoryview(protocol.get_buffer(len(data)))
        count = min(len(buffer), len(data))
        buffer[:count] = data[:count]
        protocol.buffer_updated(count)
        data = data[count:]


def _problem(error: ssl.SSLError) -> str:
    """`error:SSL routines::wrong version number`, near to how OpenSSL's own error lines look."""
    library, reason = error.library or "SSL", error.reason or str(error)
    return f"error:{library} routines::{reason.replace('_', ' ').lower()}"
