"""TLS over a connection that is already there (RFC 3207), and what to say where that fails."""

from __future__ import annotations

import asyncio
import ssl

from pymta.runtime.tls_layer import TlsLayer


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
    session: ssl.SSLSession | None = None,
    first_bytes: bytes = b"",
) -> tuple[asyncio.Transport, ssl.SSLObject]:
    """The transport to use from now on, and its TLS. `timeout` is seconds. Raises HandshakeError.

    `protocol` hears nothing until this has returned, and must not answer through the old transport afterwards.
    `first_bytes` of the other side's handshake came already. `session` is one of `context` to be resumed, if the other
    side has not forgotten it.
    """
    layer = TlsLayer(transport, protocol, context, server_side=server_side, server_name=server_name, session=session)
    try:
        async with asyncio.timeout(timeout):
            return layer, await layer.shake_hands(first_bytes)
    except ssl.SSLCertVerificationError as error:
        raise HandshakeError("-1", _problem(error), error.verify_message) from None
    except ssl.SSLError as error:
        raise HandshakeError("-1", _problem(error)) from None
    except TimeoutError:
        layer.abort()
        raise HandshakeError("Connection timed out") from None
    except ConnectionError:
        raise HandshakeError("lost connection") from None
    except asyncio.CancelledError:
        layer.abort()
        raise


def _problem(error: ssl.SSLError) -> str:
    """`error:SSL routines::wrong version number`, near to how OpenSSL's own error lines look."""
    library, reason = error.library or "SSL", error.reason or str(error)
    return f"error:{library} routines::{reason.replace('_', ' ').lower()}"
