"""What smtpd reads of main.cf about TLS (TLS_README)."""

from __future__ import annotations

from enum import IntEnum

from pymta.errors import ConfigError
from pymta.model.frozen import frozen


@frozen(kw_only=True)
class SmtpdTlsSettings:
    """Parameters of smtpd(8) about TLS; times are seconds."""

    smtpd_tls_security_level: str
    smtpd_use_tls: bool
    smtpd_enforce_tls: bool
    smtpd_tls_wrappermode: bool
    smtpd_tls_cert_file: str
    smtpd_tls_key_file: str
    smtpd_tls_dcert_file: str
    smtpd_tls_dkey_file: str
    smtpd_tls_eccert_file: str
    smtpd_tls_eckey_file: str
    smtpd_tls_chain_files: tuple[str, ...]
    tls_server_sni_maps: str
    smtpd_tls_protocols: str
    smtpd_tls_mandatory_protocols: str
    smtpd_tls_ciphers: str
    smtpd_tls_mandatory_ciphers: str
    smtpd_tls_exclude_ciphers: str
    smtpd_tls_mandatory_exclude_ciphers: str
    tls_high_cipherlist: str
    tls_medium_cipherlist: str
    tls_null_cipherlist: str
    tls_preempt_cipherlist: bool
    tls_ssl_options: str
    tls_eecdh_auto_curves: str
    tls_eecdh_strong_curve: str
    tls_eecdh_ultra_curve: str
    tls_ffdhe_auto_groups: str
    smtpd_tls_eecdh_grade: str
    smtpd_tls_CAfile: str
    smtpd_tls_CApath: str
    tls_append_default_CA: bool
    smtpd_tls_ask_ccert: bool
    smtpd_tls_req_ccert: bool
    smtpd_tls_ccert_verifydepth: int
    smtpd_tls_fingerprint_digest: str
    smtpd_tls_session_cache_timeout: float
    smtpd_tls_loglevel: str
    smtpd_tls_received_header: bool
    smtpd_starttls_timeout: float
    smtpd_client_new_tls_session_rate_limit: int


class ServerLevel(IntEnum):
    """`smtpd_tls_security_level`."""

    NONE = 0
    MAY = 1
    ENCRYPT = 2


def key_exchange_curves(settings: SmtpdTlsSettings) -> str:
    """The curves of `smtpd_tls_eecdh_grade`; `none` is a word of the past for `auto`. Raises ConfigError."""
    grades = {
        "auto": settings.tls_eecdh_auto_curves,
        "none": settings.tls_eecdh_auto_curves,
        "strong": settings.tls_eecdh_strong_curve,
        "ultra": settings.tls_eecdh_ultra_curve,
    }
    grade = settings.smtpd_tls_eecdh_grade.strip().lower()
    if grade not in grades:
        raise ConfigError(
            f'invalid EECDH grade "{grade}"; expected auto, strong or ultra', name="smtpd_tls_eecdh_grade"
        )
    return grades[grade]


def server_level(settings: SmtpdTlsSettings) -> tuple[ServerLevel, str]:
    """The level in force and a warning, empty where there is none. Raises ConfigError for an unknown word.

    The two old switches count where the level is not set. A port with TLS from the first byte enforces it.
    """
    word = settings.smtpd_tls_security_level.strip().lower()
    if settings.smtpd_tls_wrappermode or (not word and settings.smtpd_enforce_tls):
        return ServerLevel.ENCRYPT, ""
    if not word:
        return (ServerLevel.MAY if settings.smtpd_use_tls else ServerLevel.NONE), ""
    if word in ("verify", "secure", "fingerprint", "dane", "dane-only"):
        return ServerLevel.ENCRYPT, f'smtpd_tls_security_level: unsupported TLS level "{word}", using "encrypt"'
    try:
        return ServerLevel[word.upper()], ""
    except KeyError:
        known = "none, may or encrypt"
        raise ConfigError(f'invalid TLS level "{word}"; expected {known}', name="smtpd_tls_security_level") from None
