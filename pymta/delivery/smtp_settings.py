"""Settings of smtp(8) and lmtp(8), and the one form in which the agent reads both."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from pymta.model.frozen import frozen


@frozen
class SmtpSettings:
    """smtp(8). Times are seconds, sizes bytes."""

    myhostname: str
    relayhost: str
    queue_directory: str
    inet_protocols: tuple[str, ...]
    inet_interfaces: tuple[str, ...]
    ignore_mx_lookup_error: bool
    disable_dns_lookups: bool
    disable_mime_output_conversion: bool
    mime_boundary_length_limit: int
    mime_nesting_limit: int
    smtp_address_preference: str
    smtp_address_verify_target: str
    smtp_always_send_ehlo: bool
    smtp_balance_inet_protocols: bool
    smtp_bind_address: str
    smtp_bind_address6: str
    smtp_bind_address_enforce: bool
    smtp_connect_timeout: float
    smtp_connection_cache_destinations: tuple[str, ...]
    smtp_connection_cache_on_demand: bool
    smtp_connection_cache_time_limit: float
    smtp_connection_reuse_count_limit: int
    smtp_connection_reuse_time_limit: float
    smtp_data_done_timeout: float
    smtp_data_init_timeout: float
    smtp_data_xfer_timeout: float
    smtp_defer_if_no_mx_address_found: bool
    smtp_reply_filter: str
    smtp_discard_ehlo_keywords: tuple[str, ...]
    smtp_dns_reply_filter: str
    smtp_dns_support_level: str
    smtp_fallback_relay: tuple[str, ...]
    smtp_helo_name: str
    smtp_helo_timeout: float
    smtp_host_backoff_time: float
    smtp_host_lookup: tuple[str, ...]
    smtp_line_length_limit: int
    smtp_mail_timeout: float
    smtp_min_data_rate: int
    smtp_mx_address_limit: int
    smtp_mx_session_limit: int
    smtp_never_send_ehlo: bool
    smtp_per_request_deadline: bool
    smtp_quit_timeout: float
    smtp_randomize_addresses: bool
    smtp_rcpt_timeout: float
    smtp_rset_timeout: float
    smtp_send_xforward_command: bool
    smtp_skip_5xx_greeting: bool
    smtp_skip_quit_response: bool
    smtp_tcp_port: str
    smtp_xforward_timeout: float


@frozen
class LmtpSettings:
    """lmtp(8)."""

    myhostname: str
    relayhost: str
    queue_directory: str
    inet_protocols: tuple[str, ...]
    inet_interfaces: tuple[str, ...]
    ignore_mx_lookup_error: bool
    disable_dns_lookups: bool
    disable_mime_output_conversion: bool
    mime_boundary_length_limit: int
    mime_nesting_limit: int
    lmtp_reply_filter: str
    lmtp_address_preference: str
    lmtp_address_verify_target: str
    lmtp_balance_inet_protocols: bool
    lmtp_bind_address: str
    lmtp_bind_address6: str
    lmtp_bind_address_enforce: bool
    lmtp_connect_timeout: float
    lmtp_connection_cache_destinations: tuple[str, ...]
    lmtp_connection_cache_on_demand: bool
    lmtp_connection_cache_time_limit: float
    lmtp_connection_reuse_count_limit: int
    lmtp_connection_reuse_time_limit: float
    lmtp_data_done_timeout: float
    lmtp_data_init_timeout: float
    lmtp_data_xfer_timeout: float
    lmtp_defer_if_no_mx_address_found: bool
    lmtp_discard_lhlo_keywords: tuple[str, ...]
    lmtp_dns_reply_filter: str
    lmtp_dns_support_level: str
    lmtp_fallback_relay: tuple[str, ...]
    lmtp_lhlo_name: str
    lmtp_lhlo_timeout: float
    lmtp_host_backoff_time: float
    lmtp_host_lookup: tuple[str, ...]
    lmtp_line_length_limit: int
    lmtp_mail_timeout: float
    lmtp_min_data_rate: int
    lmtp_mx_address_limit: int
    lmtp_mx_session_limit: int
    lmtp_per_request_deadline: bool
    lmtp_quit_timeout: float
    lmtp_randomize_addresses: bool
    lmtp_rcpt_timeout: float
    lmtp_rset_timeout: float
    lmtp_send_xforward_command: bool
    lmtp_skip_5xx_greeting: bool
    lmtp_skip_quit_response: bool
    lmtp_tcp_port: str
    lmtp_xforward_timeout: float


@frozen
class AgentSettings:
    """What the agent reads: the names of postconf(5) without `smtp_` or `lmtp_`, HELO's for LHLO."""

    lmtp: bool
    myhostname: str
    relayhost: str
    queue_directory: str
    inet_protocols: tuple[str, ...]
    inet_interfaces: tuple[str, ...]
    ignore_mx_lookup_error: bool
    disable_dns_lookups: bool
    disable_mime_output_conversion: bool
    mime_boundary_length_limit: int
    mime_nesting_limit: int
    always_send_ehlo: bool
    never_send_ehlo: bool
    address_preference: str
    address_verify_target: str
    balance_inet_protocols: bool
    bind_address: str
    bind_address6: str
    bind_address_enforce: bool
    connect_timeout: float
    connection_cache_destinations: tuple[str, ...]
    connection_cache_on_demand: bool
    connection_cache_time_limit: float
    connection_reuse_count_limit: int
    connection_reuse_time_limit: float
    data_done_timeout: float
    data_init_timeout: float
    data_xfer_timeout: float
    defer_if_no_mx_address_found: bool
    discard_ehlo_keywords: tuple[str, ...]
    dns_support_level: str
    fallback_relay: tuple[str, ...]
    helo_name: str
    helo_timeout: float
    host_backoff_time: float
    host_lookup: tuple[str, ...]
    line_length_limit: int
    mail_timeout: float
    min_data_rate: int
    mx_address_limit: int
    mx_session_limit: int
    per_request_deadline: bool
    quit_timeout: float
    randomize_addresses: bool
    rcpt_timeout: float
    rset_timeout: float
    send_xforward_command: bool
    skip_5xx_greeting: bool
    skip_quit_response: bool
    tcp_port: str
    xforward_timeout: float


_LMTP_NAMES = {
    "helo_name": "lmtp_lhlo_name",
    "helo_timeout": "lmtp_lhlo_timeout",
    "discard_ehlo_keywords": "lmtp_discard_lhlo_keywords",
}


def agent_settings(settings: SmtpSettings | LmtpSettings) -> AgentSettings:
    """Take the prefix off. LMTP always says LHLO, so the two EHLO switches mean nothing there."""
    lmtp = isinstance(settings, LmtpSettings)
    values: dict[str, Any] = {"lmtp": lmtp, "always_send_ehlo": True, "never_send_ehlo": False}
    present = {field.name for field in fields(settings)}
    for field in fields(AgentSettings):
        prefixed = _LMTP_NAMES.get(field.name, f"lmtp_{field.name}") if lmtp else f"smtp_{field.name}"
        name = prefixed if prefixed in present else field.name
        if name in present:
            values[field.name] = getattr(settings, name)
    return AgentSettings(**values)
