"""What is known of one TLS session: cipher, certificate, and how far the other side is who it says (TLS_README)."""

from __future__ import annotations

from dataclasses import field

from pymta.model.frozen import frozen


@frozen
class PeerCertificate:
    """The other side's certificate. Names are common names, empty where there is none.

    Fingerprints are colon-separated upper-case hexadecimal, of the certificate and of its public key.
    """

    subject: str
    issuer: str
    fingerprint: str
    public_key_fingerprint: str


@frozen
class TlsSession:
    """`bits` of the cipher's `algorithm_bits` are secret. `details` are key exchange and signatures, as logged.

    `is_trusted`: the certificate chain ends at a trusted authority. `is_verified`: it is also the one that the
    policy asks for, by name or by fingerprint. `asked_for_certificate` tells that a client could have shown one.
    `channel_binding` is what our login to a server can be bound to (tls-server-end-point, RFC 5929 4), if anything.
    `server_name` is what a client asked for by SNI, `is_name_known` whether tls_server_sni_maps have it.
    """

    protocol: str
    cipher: str
    bits: int
    algorithm_bits: int
    details: str = ""
    certificate: PeerCertificate | None = None
    is_trusted: bool = False
    is_verified: bool = False
    asked_for_certificate: bool = False
    channel_binding: bytes = field(default=b"", repr=False)
    server_name: str = ""
    is_name_known: bool = True

    @property
    def standing(self) -> str:
        """Postfix's word for how far we know the other side."""
        if self.certificate is None:
            return "Anonymous"
        if self.is_verified:
            return "Verified"
        return "Trusted" if self.is_trusted else "Untrusted"

    @property
    def summary(self) -> str:
        """`TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange X25519 ...`."""
        cipher = f"{self.protocol} with cipher {self.cipher} ({self.bits}/{self.algorithm_bits} bits)"
        return f"{cipher} {self.details}" if self.details else cipher
