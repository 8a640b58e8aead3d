"""From a finished handshake to the value that log, Received and restrictions speak of."""

from __future__ import annotations

import ssl

from pymta.model.tls import PeerCertificate, TlsSession
from pymta.runtime.tls_certificate import CertificateError, parse_certificate
from pymta.runtime.tls_openssl import openssl


def describe_session(
    connection: ssl.SSLObject,
    *,
    is_server: bool,
    digest: str,
    is_verified: bool = False,
    asked_for_certificate: bool = False,
    with_details: bool = True,
) -> TlsSession:
    """Read what there is to know of `connection`; `digest` makes the fingerprints (`sha256`).

    `with_details` costs 50 us and is for whoever shows them.
    """
    name, _, bits = connection.cipher() or ("", "", 0)
    library = openssl()
    certificate = peer_certificate(connection, digest)
    if library:
        is_trusted = certificate is not None and not library.trust_error(connection)
    else:
        # The handshake would have failed otherwise.
        is_trusted = certificate is not None and connection.context.verify_mode is not ssl.CERT_NONE
    return TlsSession(
        protocol=connection.version() or "",
        cipher=name,
        bits=bits,
        algorithm_bits=_algorithm_bits(name, bits),
        details=library.details(connection, is_server=is_server) if library and with_details else "",
        certificate=certificate,
        is_trusted=is_trusted,
        is_verified=is_verified,
        asked_for_certificate=asked_for_certificate,
    )


def can_tell_bindings() -> bool:
    """Whether `channel_bindings` has any for a session with TLS."""
    return openssl() is not None


def channel_bindings(connection: ssl.SSLObject | None, *, is_server: bool) -> dict[str, bytes]:
    """What SCRAM-SHA-256-PLUS can be bound to, by type; empty without TLS or where OpenSSL cannot be asked."""
    library = openssl()
    return library.bindings(connection, is_server=is_server) if library and connection else {}


def peer_certificate(connection: ssl.SSLObject, digest: str) -> PeerCertificate | None:
    """The other side's certificate, trusted or not."""
    der = connection.getpeercert(binary_form=True)
    if not der:
        return None
    try:
        found = parse_certificate(der)
    except CertificateError:
        return None
    return PeerCertificate(found.subject, found.issuer, found.fingerprint(digest), found.public_key_fingerprint(digest))


def _algorithm_bits(name: str, bits: int) -> int:
    """Only triple DES has keys longer than what they are worth."""
    return 168 if "DES-CBC3" in name else bits
