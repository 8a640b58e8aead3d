"""What `$name` and the environment of a command tell about a local delivery (local(8))."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from pymta.delivery.command import SAFE_PATH
from pymta.delivery.local_expand import censored
from pymta.delivery.local_settings import LocalSettings
from pymta.delivery.local_state import Attempt, Context
from pymta.delivery.local_users import User


def local_values(attempt: Attempt, context: Context, user: User | None) -> dict[str, str]:
    """Values for `expand`; a name without a value has an empty one."""
    return {
        "user": context.user,
        "local": context.local,
        "mailbox": context.local,
        "domain": context.domain,
        "recipient": str(context.address),
        "original_recipient": str(attempt.recipient.original),
        "extension": context.extension,
        "recipient_delimiter": context.local[len(context.user)] if context.extension else "",
        "home": user.home if user else "",
        "shell": user.shell if user else "",
        "sender": str(context.sender),
        **{name.lower(): value for name, value in _client_values(attempt).items()},
    }


def command_environment(
    settings: LocalSettings, attempt: Attempt, context: Context, user: User | None
) -> tuple[tuple[str, str], ...]:
    """The environment of a command: mail data with every character replaced that a shell could act on."""
    values = {
        "HOME": user.home if user else "",
        "LOGNAME": user.name if user else context.user,
        "USER": context.user,
        "SHELL": (user.shell or "/bin/sh") if user else "",
        "DOMAIN": context.domain,
        "LOCAL": context.local,
        "EXTENSION": context.extension,
        "RECIPIENT": str(context.address),
        "ORIGINAL_RECIPIENT": str(attempt.recipient.original),
        "SENDER": str(context.sender),
        "ENVID": attempt.request.envid,
        **_client_values(attempt),
    }
    always = {"DOMAIN", "LOCAL", "RECIPIENT", "SENDER"}
    mail = {
        name: censored(value, settings.command_expansion_filter)
        for name, value in values.items()
        if value or name in always
    }
    return tuple({**exported(settings.export_environment, os.environ), **mail}.items())


def exported(names: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """export_environment: names to pass on and `name=value` to set; PATH is a safe one unless named."""
    chosen = {"PATH": SAFE_PATH}
    for item in names:
        name, sign, value = item.strip("{} \t").partition("=")
        if sign:
            chosen[name.strip()] = value.strip()
        elif name in environment:
            chosen[name] = environment[name]
    return {name: value for name, value in chosen.items() if "\0" not in value}


def _client_values(attempt: Attempt) -> dict[str, str]:
    client = attempt.request.client
    return {
        "CLIENT_HOSTNAME": client.name,
        "CLIENT_ADDRESS": client.address,
        "CLIENT_HELO": client.helo,
        "CLIENT_PROTOCOL": client.protocol,
        "SASL_METHOD": client.sasl_method,
        "SASL_SENDER": client.sasl_sender,
        "SASL_USERNAME": client.sasl_username,
    }
