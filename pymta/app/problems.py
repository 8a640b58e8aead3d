"""What is wrong with a configuration, for the user."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TextIO

from pymta.access import AccessSettings
from pymta.app.address_verify import VerifySettings
from pymta.app.fast_flush import FlushSettings
from pymta.app.process_plan import ProcessSettings
from pymta.auth.dkim_sign_settings import SigningSettings
from pymta.auth.inbound_settings import InboundSettings
from pymta.bounce import BounceSettings
from pymta.cleanup import CleanupSettings
from pymta.config import Config, Problem, Severity, parameter_names
from pymta.control.service import ControlSettings
from pymta.delivery.local_settings import LocalSettings, VirtualSettings
from pymta.delivery.smtp_auth_settings import LmtpLoginSettings, SmtpLoginSettings
from pymta.delivery.smtp_checks import LmtpCheckSettings, SmtpCheckSettings
from pymta.delivery.smtp_settings import LmtpSettings, SmtpSettings
from pymta.delivery.smtp_tls_settings import LmtpTlsSettings, SmtpTlsSettings
from pymta.dns.settings import DnsSettings
from pymta.errors import ConfigError
from pymta.pickup.settings import PickupSettings
from pymta.qmgr import QueueManagerSettings
from pymta.qmgr.settings import TRANSPORT_PARAMETERS, transport_limits
from pymta.rewrite import (
    MappingSettings,
    ProbeRouteSettings,
    ProbeSenderSettings,
    RecipientSettings,
    RewriteSettings,
)
from pymta.smtpd import SmtpdSettings
from pymta.smtpd.sasl_settings import SaslSettings
from pymta.smtpd.space import QueueSpaceSettings
from pymta.smtpd.tls_settings import SmtpdTlsSettings

SETTINGS: tuple[type[Any], ...] = (
    AccessSettings,
    BounceSettings,
    CleanupSettings,
    ControlSettings,
    DnsSettings,
    FlushSettings,
    InboundSettings,
    LmtpCheckSettings,
    LmtpLoginSettings,
    LmtpSettings,
    LocalSettings,
    MappingSettings,
    PickupSettings,
    ProbeRouteSettings,
    ProbeSenderSettings,
    ProcessSettings,
    QueueManagerSettings,
    QueueSpaceSettings,
    RecipientSettings,
    RewriteSettings,
    SigningSettings,
    SaslSettings,
    SmtpCheckSettings,
    SmtpLoginSettings,
    SmtpSettings,
    SmtpTlsSettings,
    LmtpTlsSettings,
    SmtpdSettings,
    SmtpdTlsSettings,
    VerifySettings,
    VirtualSettings,
)

# Read by name where a settings class would be in the way: places, tables that are opened, who starts what.
_BY_NAME = frozenset(
    [
        "alias_database",
        "alias_maps",
        "cleanup_service_name",
        "compatibility_level",
        "config_directory",
        "content_filter",
        "data_directory",
        "default_database_type",
        "doctor_dns_blocklists",
        "doctor_outbound_probe",
        "enable_long_queue_ids",
        "fallback_transport_maps",
        "inet_interfaces",
        "inet_protocols",
        "lmtp_connection_cache_destinations",
        "local_destination_concurrency_limit",
        "local_destination_recipient_limit",
        "mail_owner",
        "mailbox_command_maps",
        "mailbox_transport_maps",
        "maillog_file",
        "maillog_file_prefixes",
        "multi_instance_name",
        "mydomain",
        "mynetworks_style",
        "proxy_interfaces",
        "queue_directory",
        "receive_override_options",
        "smtp_connection_cache_destinations",
        "smtpd_dns_reply_filter",
        "syslog_name",
        "virtual_gid_maps",
        "virtual_mailbox_maps",
        "virtual_uid_maps",
    ]
)


def acted_on() -> frozenset[str]:
    """Every parameter that some service reads."""
    of_transports = [f"transport_{name}" for name in TRANSPORT_PARAMETERS]
    return _BY_NAME.union(of_transports, *(parameter_names(one) for one in SETTINGS))


def problems(config: Config) -> list[Problem]:
    """What `Config.check` finds, and limits of transports that cannot be read."""
    found = config.check(acted_on())
    told = {problem.name for problem in found if problem.severity is Severity.ERROR}
    return found + [problem for problem in _transport_problems(config) if problem.name not in told]


def _transport_problems(config: Config) -> Iterator[Problem]:
    """Of `default_...` and of each service's own; what a service has from the former is told once."""
    for name in ("default", *dict.fromkeys(service.name for service in config.services)):
        try:
            transport_limits(name, config.transport_value)
        except ConfigError as error:
            if error.name and config.is_set(error.name):
                yield Problem(Severity.ERROR, error.message, config.where(error.name), error.name)


def report_problems(config: Config, stream: TextIO) -> int:
    """Print what `Config.check` finds, one line each; how many of them are errors."""
    errors = 0
    for problem in problems(config):
        errors += problem.severity is Severity.ERROR
        stream.write(f"pymta: {problem}\n")
    return errors
