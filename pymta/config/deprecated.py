"""Parameters that a later Postfix will not have, and what to set instead (DEPRECATION_README of 3.11)."""

from __future__ import annotations

_RENAMED = {
    "authorized_verp_clients": "smtpd_authorized_verp_clients",
    "disable_dns_lookups": "smtp_dns_support_level",
    "fallback_relay": "smtp_fallback_relay",
    "lmtp_per_record_deadline": "lmtp_per_request_deadline",
    "lmtp_tls_enforce_peername": "lmtp_tls_security_level",
    "lmtp_tls_per_site": "lmtp_tls_policy_maps",
    "postscreen_blacklist_action": "postscreen_denylist_action",
    "postscreen_dnsbl_ttl": "postscreen_dnsbl_max_ttl",
    "postscreen_dnsbl_whitelist_threshold": "postscreen_dnsbl_allowlist_threshold",
    "postscreen_whitelist_interfaces": "postscreen_allowlist_interfaces",
    "smtp_per_record_deadline": "smtp_per_request_deadline",
    "smtp_tls_enforce_peername": "smtp_tls_security_level",
    "smtp_tls_per_site": "smtp_tls_policy_maps",
    "smtpd_client_connection_limit_exceptions": "smtpd_client_event_limit_exceptions",
    "smtpd_per_record_deadline": "smtpd_per_request_deadline",
    "tlsproxy_client_level": "tlsproxy_client_security_level",
    "tlsproxy_client_per_site": "tlsproxy_client_policy_maps",
    "tlsproxy_client_policy": "tlsproxy_client_policy_maps",
    "virtual_maps": "virtual_alias_maps",
}
_TLS_LEVELS = {
    f"{service}_{how}_tls": f"{service}_tls_security_level"
    for service in ("lmtp", "postscreen", "smtp", "smtpd", "tlsproxy")
    for how in ("use", "enforce")
}
_CLIENT_LEVELS = {f"tlsproxy_client_{how}_tls": "tlsproxy_client_security_level" for how in ("use", "enforce")}
_ALTERNATIVES = {
    **{name: f'specify "{other}"' for name, other in (_RENAMED | _TLS_LEVELS | _CLIENT_LEVELS).items()},
    "smtpd_tls_dh1024_param_file": "do not specify (leave at default)",
    "smtpd_tls_eecdh_grade": "do not specify (leave at default)",
    "lmtp_cname_overrides_servername": "do not specify",
    "smtp_cname_overrides_servername": "do not specify",
}


def deprecation(name: str, *, is_used: bool) -> str | None:
    """The warning about a parameter that is set, None where it has a future."""
    alternative = _ALTERNATIVES.get(name)
    if alternative is None:
        return None
    if is_used:
        return f'support for parameter "{name}" will be removed; instead, {alternative}'
    return f"support for parameter {name} has been removed; instead, {alternative}"
