"""Parameters of inbound authentication (docs/authentication.md)."""

from __future__ import annotations

from pymta.model.frozen import frozen


@frozen
class InboundSettings:
    """What is checked of mail from outside, and in whose name; the `spf_*_action`s are the access engine's."""

    authserv_id: str
    dkim_verify: bool
    dkim_verify_minimum_key_bits: int
    dkim_verify_signature_limit: int
    spf_enable: bool
    spf_exempt_networks: str
    spf_identities: tuple[str, ...]
    spf_time_limit: float
    mynetworks: str
    parent_domain_matches_subdomains: tuple[str, ...]
