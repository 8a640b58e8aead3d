"""Restrictions about TLS and the client's certificate (TLS_README)."""

from __future__ import annotations

from pymta.access import subject
from pymta.access.access_maps import AccessCheck
from pymta.access.decision import Decision, LookupFailed, Outcome
from pymta.access.subject import Kind, Subject
from pymta.errors import TableError
from pymta.model.tls import PeerCertificate


async def permit_tls_clientcerts(decision: Decision) -> Outcome:
    """A certificate whose fingerprint, or whose key's, relay_clientcerts has; whoever issued it."""
    certificate, known = _certificate(decision), decision.environment.relay_clientcerts
    if certificate is None or known is None:
        return Outcome.DUNNO
    for fingerprint in _fingerprints(certificate):
        try:
            found = await known.find(fingerprint)
        except TableError as error:
            raise LookupFailed(fingerprint, error) from error
        if found is not None:
            return await decision.permit("permit_tls_clientcerts", subject.client)
    return Outcome.DUNNO


async def permit_tls_all_clientcerts(decision: Decision) -> Outcome:
    """Any certificate that a trusted authority vouches for."""
    tls = decision.context.tls
    if tls is None or tls.certificate is None or not tls.is_trusted:
        return Outcome.DUNNO
    return await decision.permit("permit_tls_all_clientcerts", subject.client)


async def reject_plaintext_session(decision: Decision) -> Outcome:
    if decision.context.tls is not None:
        return Outcome.DUNNO
    return decision.reject(decision.settings.plaintext_reject_code, "4.7.1", "Session encryption is required")


async def check_ccert(check: AccessCheck, decision: Decision) -> Outcome:
    """The fingerprint of the certificate, then that of its key."""
    certificate = _certificate(decision)
    if certificate is None:
        return Outcome.DUNNO
    keys = ((fingerprint, False) for fingerprint in _fingerprints(certificate))
    return await check.search(decision, keys, Subject(certificate.fingerprint, Kind.CERTIFICATE))


def _certificate(decision: Decision) -> PeerCertificate | None:
    return decision.context.tls.certificate if decision.context.tls else None


def _fingerprints(certificate: PeerCertificate) -> tuple[str, str]:
    return certificate.fingerprint, certificate.public_key_fingerprint
