"""Logins in both directions, as main.cf and master.cf say."""

from __future__ import annotations

import pwd
from functools import partial
from pathlib import Path

from pymta.auth.verify_app import CheckFunction, PasswordFunction, TokenCheck, TokenFunction
from pymta.auth.verify_pool import HashPool
from pymta.auth.verify_saslauthd import answer_saslauthd
from pymta.auth.verify_shadow import DEFAULT_PATH as SHADOW_PATH
from pymta.auth.verify_shadow import ShadowPasswords
from pymta.config import Config, build
from pymta.delivery.smtp_auth import SmtpLogin
from pymta.delivery.smtp_auth_refused import RefusedLogins
from pymta.delivery.smtp_auth_settings import LmtpLoginSettings, SmtpLoginSettings, login_settings
from pymta.delivery.smtp_auth_token import TokenSource
from pymta.ports import Clock, Log, PasswordDatabase, TokenVerifier
from pymta.protocol.sasl.mechanisms import check_options
from pymta.runtime.places import SpoolPlaces
from pymta.runtime.root_server import RootServer
from pymta.runtime.verify_cache import VerifyCache
from pymta.smtpd.sasl import SaslService, open_backend
from pymta.smtpd.sasl_settings import SaslSettings
from pymta.tables import TableFactory


class LoginParts:
    """What logins share over services and reloads: threads for hashing, and an app's own answers."""

    def __init__(
        self,
        passwords: PasswordDatabase | CheckFunction | None = None,
        tokens: TokenVerifier | TokenFunction | None = None,
    ) -> None:
        self.pool = HashPool()
        self.passwords = PasswordFunction(passwords) if callable(passwords) else passwords
        self.tokens = TokenCheck(tokens) if callable(tokens) else tokens


def open_shadow(config: Config, account: pwd.struct_passwd | None) -> RootServer | None:
    """Fork the process that answers for the system's accounts, while we are root; None where nobody asks it.

    `account` is whom we are to become. Raises ConfigError.
    """
    for view in (config, *(config.for_service(service) for service in config.services)):
        settings = build(SaslSettings, view)
        if settings.smtpd_sasl_auth_enable and settings.smtpd_sasl_type.lower() == "shadow":
            path = settings.smtpd_sasl_path if settings.smtpd_sasl_path.startswith("/") else SHADOW_PATH
            place = SpoolPlaces.below(settings.queue_directory).passwords_socket
            serve = partial(answer_saslauthd, check=ShadowPasswords(Path(path)).check)
            return RootServer.start(place, account, serve)
    return None


def smtp_login(lmtp: bool, config: Config, tables: TableFactory, clock: Clock, log: Log) -> SmtpLogin | None:
    """Logins of one smtp or lmtp transport; None where `smtp_sasl_auth_enable` is off. Raises ConfigError."""
    prefix = "lmtp" if lmtp else "smtp"
    settings = login_settings(build(LmtpLoginSettings, config) if lmtp else build(SmtpLoginSettings, config))
    if not settings.sasl_auth_enable:
        return None
    if settings.sasl_type != "cyrus":
        raise config.error(f"{prefix}_sasl_type", f'unknown type "{settings.sasl_type}"; cyrus is the only one')
    passwords = tables.maps(settings.sasl_password_maps, f"{prefix}_sasl_password_maps")
    if not passwords:
        raise config.error(f"{prefix}_sasl_password_maps", f"needed with {prefix}_sasl_auth_enable = yes")
    for kind in ("security", "tls_security", "tls_verified_security"):
        name = f"{prefix}_sasl_{kind}_options"
        try:
            check_options(config.items(name))
        except ValueError as error:
            raise config.error(name, str(error)) from None
    title = f"{prefix}_sasl_mechanism_filter"
    names = tables.string_list(settings.sasl_mechanism_filter, title=title)
    refused = None
    if settings.sasl_auth_cache_name:
        cache = VerifyCache(SpoolPlaces.below(settings.queue_directory).queue / f"{prefix}_refused_logins")
        refused = RefusedLogins(cache, settings.sasl_auth_cache_time, clock, log)
    return SmtpLogin(settings, passwords, names.matches if names else None, TokenSource(clock, log), log, refused)


def server_sasl(config: Config, parts: LoginParts, tables: TableFactory, clock: Clock, log: Log) -> SaslService | None:
    """AUTH of one service; None where `smtpd_sasl_auth_enable` is off. Raises ConfigError."""
    settings = build(SaslSettings, config)
    if not settings.smtpd_sasl_auth_enable:
        return None
    backend = open_backend(settings, parts.pool, log, passwords=parts.passwords, tokens=parts.tokens, clock=clock)
    return SaslService(settings, backend, tables, clock, log)
