"""What AUTH reads of main.cf."""

from __future__ import annotations

from pymta.model.frozen import frozen


@frozen(kw_only=True)
class SaslSettings:
    """Parameters of SASL_README's server side; times are seconds, sizes bytes.

    `smtpd_sasl_type` is `cyrus` or `dovecot`, or one of ours: `file` (`smtpd_sasl_path` is a password file),
    `shadow` (the system's accounts; `smtpd_sasl_path` where that is not /etc/shadow) and `app` (the program that
    embeds us answers).
    """

    myhostname: str
    config_directory: str
    queue_directory: str
    broken_sasl_auth_clients: bool
    cyrus_sasl_config_path: str
    smtpd_client_event_limit_exceptions: str
    smtpd_client_ipv4_prefix_length: int
    smtpd_client_ipv6_prefix_length: int
    smtpd_error_sleep_time: float
    smtpd_sasl_auth_enable: bool
    smtpd_sasl_exceptions_networks: str
    smtpd_sasl_local_domain: str
    smtpd_sasl_login_cache_time: float
    smtpd_sasl_mechanism_filter: str
    smtpd_sasl_path: str
    smtpd_sasl_response_limit: int
    smtpd_sasl_security_options: tuple[str, ...]
    smtpd_sasl_service: str
    smtpd_sasl_tls_security_options: tuple[str, ...]
    smtpd_sasl_type: str
    smtpd_tls_auth_only: bool
