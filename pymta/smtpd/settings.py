"""What smtpd reads of main.cf."""

from __future__ import annotations

from pymta.errors import ConfigError
from pymta.model.frozen import frozen
from pymta.protocol.smtp.grammar import PathRules
from pymta.protocol.smtp.server_options import BareNewline, ServerOptions


@frozen(kw_only=True)
class SmtpdSettings:
    """Parameters of smtpd(8); times are seconds, sizes bytes."""

    myhostname: str
    mail_name: str
    allow_min_user: bool
    disable_vrfy_command: bool
    line_length_limit: int
    message_size_limit: int
    smtpd_banner: str
    smtpd_client_auth_rate_limit: int
    smtpd_client_connection_count_limit: int
    smtpd_client_connection_rate_limit: int
    smtpd_client_event_limit_exceptions: str
    smtpd_client_ipv4_prefix_length: int
    smtpd_client_ipv6_prefix_length: int
    smtpd_client_message_rate_limit: int
    smtpd_client_port_logging: bool
    smtpd_client_recipient_rate_limit: int
    anvil_rate_time_unit: float
    smtpd_discard_ehlo_keywords: tuple[str, ...]
    smtpd_error_sleep_time: float
    smtpd_forbid_bare_newline: str
    smtpd_forbid_bare_newline_exclusions: str
    smtpd_forbid_bare_newline_reject_code: int
    smtpd_forbid_unauth_pipelining: bool
    smtpd_forbidden_commands: str
    smtpd_hard_error_limit: int
    smtpd_helo_required: bool
    smtpd_junk_command_limit: int
    smtpd_command_filter: str
    smtpd_min_data_rate: int
    smtpd_noop_commands: str
    smtpd_peername_lookup: bool
    smtpd_per_request_deadline: bool
    smtpd_recipient_limit: int
    smtpd_recipient_overshoot_limit: int
    smtpd_reject_footer: str
    smtpd_sasl_authenticated_header: bool
    smtpd_soft_error_limit: int
    smtpd_timeout: float
    smtputf8_enable: bool
    soft_bounce: bool
    strict_rfc821_envelopes: bool
    strict_smtputf8: bool


def session_options(settings: SmtpdSettings, *, bare_newline_excluded: bool = False) -> ServerOptions:
    """The part of the settings that a session acts on. Raises ConfigError for a bad `smtpd_forbid_bare_newline`."""
    bare_newline = _bare_newline(settings.smtpd_forbid_bare_newline)
    return ServerOptions(
        myhostname=settings.myhostname,
        banner=settings.smtpd_banner,
        message_size_limit=settings.message_size_limit,
        line_length_limit=settings.line_length_limit,
        discarded_keywords=frozenset(word.upper() for word in settings.smtpd_discard_ehlo_keywords),
        disable_vrfy_command=settings.disable_vrfy_command,
        helo_required=settings.smtpd_helo_required,
        forbid_bare_newline=BareNewline.NO if bare_newline_excluded else bare_newline,
        forbid_bare_newline_reject_code=settings.smtpd_forbid_bare_newline_reject_code,
        forbid_unauth_pipelining=settings.smtpd_forbid_unauth_pipelining,
        recipient_limit=settings.smtpd_recipient_limit,
        recipient_overshoot_limit=settings.smtpd_recipient_overshoot_limit,
        soft_error_limit=settings.smtpd_soft_error_limit,
        hard_error_limit=settings.smtpd_hard_error_limit,
        junk_command_limit=settings.smtpd_junk_command_limit,
        error_sleep_time=settings.smtpd_error_sleep_time,
        soft_bounce=settings.soft_bounce,
        smtputf8_enable=settings.smtputf8_enable,
        strict_smtputf8=settings.strict_smtputf8,
        classified_verbs=bool(settings.smtpd_noop_commands.strip()),
        filters_commands=bool(settings.smtpd_command_filter),
        paths=PathRules(settings.strict_rfc821_envelopes, settings.allow_min_user, settings.smtputf8_enable),
    )


def _bare_newline(text: str) -> BareNewline:
    wanted = text.strip().lower()
    try:
        return BareNewline("normalize" if wanted == "yes" else wanted)
    except ValueError:
        expected = "expected no, yes, normalize, reject or note"
        raise ConfigError(f"{text!r}: {expected}", name="smtpd_forbid_bare_newline") from None
