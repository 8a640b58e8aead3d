"""AUTH for the smtpd services, as main.cf and master.cf say."""

from __future__ import annotations

from pymta.auth.verify_pool import HashPool
from pymta.config import Config, build
from pymta.ports import Clock, Log, PasswordDatabase, TokenVerifier
from pymta.smtpd.sasl import SaslService, open_backend
from pymta.smtpd.sasl_settings import SaslSettings
from pymta.tables import TableFactory


class LoginParts:
    """What logins share over services and reloads: threads for hashing, and an app's own answers."""

    def __init__(self, passwords: PasswordDatabase | None = None, tokens: TokenVerifier | None = None) -> None:
        self.pool = HashPool()
        self.passwords = passwords
        self.tokens = tokens


def server_sasl(
    config: Config, parts: LoginParts, tables: TableFactory, clock: Clock, log: Log, name: str
) -> SaslService | None:
    """AUTH of one service; None where `smtpd_sasl_auth_enable` is off. Raises ConfigError."""
    settings = build(SaslSettings, config)
    if not settings.smtpd_sasl_auth_enable:
        return None
    backend = open_backend(settings, parts.pool, log, passwords=parts.passwords, tokens=parts.tokens)
    return SaslService(settings, backend, tables, clock, log, name)
