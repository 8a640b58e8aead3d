"""What the SMTP client's logins read of main.cf (SASL_README, client side)."""

from __future__ import annotations

from dataclasses import fields

from pymta.model.frozen import frozen


@frozen(kw_only=True)
class SmtpLoginSettings:
    """smtp(8). `smtp_sasl_type` knows `cyrus` only, which here means our own mechanisms."""

    queue_directory: str
    recipient_delimiter: str
    smtp_sasl_auth_cache_name: str
    smtp_sasl_auth_cache_time: float
    smtp_sasl_auth_enable: bool
    smtp_sasl_auth_soft_bounce: bool
    smtp_sasl_mechanism_filter: str
    smtp_sasl_password_maps: str
    smtp_sasl_password_result_delimiter: str
    smtp_sasl_security_options: tuple[str, ...]
    smtp_sasl_tls_security_options: tuple[str, ...]
    smtp_sasl_tls_verified_security_options: tuple[str, ...]
    smtp_sasl_type: str
    smtp_sender_dependent_authentication: bool


@frozen(kw_only=True)
class LmtpLoginSettings:
    """lmtp(8)."""

    queue_directory: str
    recipient_delimiter: str
    lmtp_sasl_auth_cache_name: str
    lmtp_sasl_auth_cache_time: float
    lmtp_sasl_auth_enable: bool
    lmtp_sasl_auth_soft_bounce: bool
    lmtp_sasl_mechanism_filter: str
    lmtp_sasl_password_maps: str
    lmtp_sasl_password_result_delimiter: str
    lmtp_sasl_security_options: tuple[str, ...]
    lmtp_sasl_tls_security_options: tuple[str, ...]
    lmtp_sasl_tls_verified_security_options: tuple[str, ...]
    lmtp_sasl_type: str
    lmtp_sender_dependent_authentication: bool


@frozen(kw_only=True)
class LoginSettings:
    """The same for both, without `smtp_` and `lmtp_`."""

    queue_directory: str
    recipient_delimiter: str
    sasl_auth_cache_name: str
    sasl_auth_cache_time: float
    sasl_auth_enable: bool
    sasl_auth_soft_bounce: bool
    sasl_mechanism_filter: str
    sasl_password_maps: str
    sasl_password_result_delimiter: str
    sasl_security_options: tuple[str, ...]
    sasl_tls_security_options: tuple[str, ...]
    sasl_tls_verified_security_options: tuple[str, ...]
    sasl_type: str
    sender_dependent_authentication: bool


def login_settings(settings: SmtpLoginSettings | LmtpLoginSettings) -> LoginSettings:
    """Take the prefix off."""
    prefix = "smtp_" if isinstance(settings, SmtpLoginSettings) else "lmtp_"
    return LoginSettings(
        **{field.name.removeprefix(prefix): getattr(settings, field.name) for field in fields(settings)}
    )
