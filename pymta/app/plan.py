"""What master.cf asks us to run (master(5))."""

from __future__ import annotations

from collections.abc import Mapping

from pymta.config import Config, Service
from pymta.config.mastercf import parse_service
from pymta.errors import ConfigError
from pymta.model.frozen import frozen
from pymta.runtime.sockets import Endpoint, endpoints

ListenPlan = Mapping[str, list[Endpoint]]

SMTP_COMMANDS = frozenset({"smtp", "lmtp"})
DELIVERY_COMMANDS = frozenset({"smtp", "lmtp", "local", "virtual", "pipe", "error", "discard"})

# Jobs that one program does without a service of their own; their entries are fine and need nothing.
_BUILT_IN = frozenset(
    [
        "anvil",
        "bounce",
        "flush",
        "nqmgr",
        "oqmgr",
        "pickup",
        "postlogd",
        "proxymap",
        "qmgr",
        "scache",
        "showq",
        "tlsmgr",
        "trivial-rewrite",
        "verify",
    ]
)
# Doors that would stand open, or mail that would be lost, if their entries were passed over.
_NOT_YET = {
    "postscreen": "postscreen is not there yet; use an smtpd service instead",
    "qmqpd": "QMQP is not there yet",
    "tlsproxy": "tlsproxy is only of use to postscreen, which is not there yet",
    "dnsblog": "dnsblog is only of use to postscreen, which is not there yet",
    "spawn": "spawn is not there yet; start the program by itself (systemd can)",
}
_REFUSED = frozenset({"postscreen", "qmqpd"})

# What is there where master.cf has no transport of its own (settings from code).
_DEFAULT_TRANSPORTS = (
    "smtp unix - - n - - smtp",
    "relay unix - - n - - smtp",
    "lmtp unix - - n - - lmtp",
    "local unix - n n - - local",
    "virtual unix - n n - - virtual",
    "error unix - - n - - error",
    "retry unix - - n - - error",
    "discard unix - - n - - discard",
)


@frozen
class Plan:
    """The services of one configuration by what they are. `warnings` are for the user."""

    smtpd: tuple[Service, ...]
    transports: Mapping[str, Service]
    cleanups: Mapping[str, Service]
    warnings: tuple[str, ...]


def make_plan(config: Config) -> Plan:
    """Sort the services; raises ConfigError for one that must not be passed over."""
    smtpd: list[Service] = []
    transports = {line.partition(" ")[0]: parse_service(line, "default") for line in _DEFAULT_TRANSPORTS}
    cleanups: dict[str, Service] = {}
    warnings: list[str] = []
    if any(service.type == "unix" for service in config.services):
        transports = {}
    for service in config.services:
        if service.command == "smtpd" and service.type == "inet":
            smtpd.append(service)
        elif service.command in DELIVERY_COMMANDS and service.type == "unix":
            transports[service.name] = service
        elif service.command == "cleanup":
            cleanups[service.name] = service
        elif service.command not in _BUILT_IN:
            warnings.append(_warning(service))
    return Plan(tuple(smtpd), transports, cleanups, tuple(warnings))


def _warning(service: Service) -> str:
    reason = _NOT_YET.get(service.command)
    if service.command in _REFUSED and reason:
        raise ConfigError(reason, where=service.where, name=service.key)
    if reason is None:
        reason = f"the command {service.command} as a service of type {service.type} is not there yet"
    return f"{service.where}: {service.key}: {reason}; this service is not started"


def listen_plan(config: Config) -> ListenPlan:
    """Where each smtpd service listens, by its key; raises ConfigError."""
    return {
        service.key: endpoints(
            service.name,
            _interfaces(config.for_service(service)),
            config.for_service(service).items("inet_protocols"),
        )
        for service in make_plan(config).smtpd
    }


def _interfaces(config: Config) -> list[str]:
    return config.items("inet_interfaces")
