"""What smtp(8) and lmtp(8) read of main.cf about TLS: the same names behind `smtp_` and `lmtp_`."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, make_dataclass
from typing import get_type_hints


@dataclass(frozen=True)
class ClientTlsSettings:
    """Parameters without their prefix, those without any first; times are seconds."""

    tls_append_default_CA: bool
    tls_high_cipherlist: str
    tls_medium_cipherlist: str
    tls_null_cipherlist: str
    tls_ssl_options: str
    tls_eecdh_auto_curves: str
    tls_ffdhe_auto_groups: str
    tls_wildcard_matches_multiple_labels: bool
    minimal_backoff_time: float
    use_tls: bool
    enforce_tls: bool
    starttls_timeout: float
    tls_CAfile: str
    tls_CApath: str
    tls_cert_file: str
    tls_key_file: str
    tls_dcert_file: str
    tls_dkey_file: str
    tls_eccert_file: str
    tls_eckey_file: str
    tls_chain_files: tuple[str, ...]
    tls_ciphers: str
    tls_enforce_peername: bool
    tls_exclude_ciphers: str
    tls_fingerprint_cert_match: str
    tls_fingerprint_digest: str
    tls_loglevel: str
    tls_mandatory_ciphers: str
    tls_mandatory_exclude_ciphers: str
    tls_mandatory_protocols: str
    tls_note_starttls_offer: bool
    tls_per_site: str
    tls_policy_maps: str
    tls_protocols: str
    tls_scert_verifydepth: int
    tls_secure_cert_match: str
    tls_security_level: str
    tls_servername: str
    tls_session_cache_database: str
    tls_session_cache_timeout: float
    tls_trust_anchor_file: str
    tls_verify_cert_match: str
    tls_wrappermode: bool


_UNPREFIXED = 9


def _prefixed(prefix: str) -> type[ClientTlsSettings]:
    """The same class, to be filled from `prefix_...` parameters."""
    hints = get_type_hints(ClientTlsSettings)
    names = [one.name for one in fields(ClientTlsSettings)]
    parameters = {name: name if number < _UNPREFIXED else f"{prefix}_{name}" for number, name in enumerate(names)}
    return make_dataclass(
        f"{prefix.capitalize()}TlsSettings",
        [(name, hints[name], field(metadata={"parameter": parameters[name]})) for name in names],
        bases=(ClientTlsSettings,),
        frozen=True,
    )


SmtpTlsSettings = _prefixed("smtp")
LmtpTlsSettings = _prefixed("lmtp")
