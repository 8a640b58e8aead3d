"""AUTH for one smtpd service: which mechanisms, for whom, how often (SASL_README)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

from pymta.auth.dovecot import DovecotAddress, DovecotSasl
from pymta.auth.verify import PasswordSasl
from pymta.auth.verify_cache import LoginCache
from pymta.auth.verify_cyrus import cyrus_database, read_cyrus_options
from pymta.auth.verify_file import PasswordFile
from pymta.auth.verify_pool import HashPool
from pymta.auth.verify_saslauthd import Saslauthd
from pymta.errors import AuthUnavailableError, ConfigError, TableError
from pymta.model.envelope import Client
from pymta.model.sasl import Mechanism, SaslFailure, SaslStep
from pymta.ports import Clock, Log, PasswordDatabase, SaslBackend, SaslExchange, TokenVerifier
from pymta.protocol.sasl.mechanisms import check_options, permitted, without_bindings
from pymta.protocol.smtp.server_auth import AuthRules
from pymta.protocol.smtp.server_events import Authenticate
from pymta.runtime.places import SpoolPlaces
from pymta.runtime.tls_session import can_tell_bindings
from pymta.smtpd.sasl_limits import FailureDelays, network_of
from pymta.smtpd.sasl_settings import SaslSettings
from pymta.tables import TableFactory


def open_backend(
    settings: SaslSettings,
    pool: HashPool,
    log: Log,
    *,
    passwords: PasswordDatabase | None = None,
    tokens: TokenVerifier | None = None,
    clock: Clock | None = None,
) -> SaslBackend:
    """What `smtpd_sasl_type` and `smtpd_sasl_path` name. Raises ConfigError.

    Without a `clock` no login is remembered.
    `passwords` and `tokens` are an app's own; tokens can be used with every type but dovecot.
    """
    kind, path = settings.smtpd_sasl_type.lower(), settings.smtpd_sasl_path
    domain, host = settings.smtpd_sasl_local_domain, settings.myhostname
    of_passwords = partial(
        PasswordSasl,
        pool=pool,
        log=log,
        tokens=tokens,
        hostname=host,
        local_domain=domain,
        can_bind=can_tell_bindings(),
    )
    cache = LoginCache(settings.smtpd_sasl_login_cache_time, clock.monotonic) if clock else None
    if kind == "dovecot":
        try:
            return DovecotSasl(
                DovecotAddress.parse(path, settings.queue_directory), log, service=settings.smtpd_sasl_service
            )
        except ValueError as error:
            raise ConfigError(str(error), name="smtpd_sasl_path") from None
    if kind == "cyrus":
        options = read_cyrus_options(path, settings.cyrus_sasl_config_path, settings.config_directory)
        database = cyrus_database(options, domain or host, log, service=settings.smtpd_sasl_service, cache=cache)
        return of_passwords(database, names=options.mechanisms)
    if kind == "file":
        where = Path(settings.config_directory, path)
        return of_passwords(PasswordFile(where, pool, log, local_domain=domain, cache=cache))
    if kind == "shadow":
        place = str(SpoolPlaces.below(settings.queue_directory).passwords_socket)
        service = settings.smtpd_sasl_service
        return of_passwords(Saslauthd(place, service=service, realm=domain or host, is_only_realm=True, cache=cache))
    if kind == "app":
        if passwords is None and tokens is None:
            raise ConfigError("no program answers for passwords: MTA(passwords=...)", name="smtpd_sasl_type")
        return of_passwords(passwords)
    raise ConfigError(f'unknown type "{kind}"; known are cyrus, dovecot, file, shadow and app', name="smtpd_sasl_type")


class SaslService:
    """AUTH as one service offers it. Raises ConfigError at construction."""

    def __init__(
        self, settings: SaslSettings, backend: SaslBackend, tables: TableFactory, clock: Clock, log: Log
    ) -> None:
        for parameter in ("smtpd_sasl_security_options", "smtpd_sasl_tls_security_options"):
            try:
                check_options(getattr(settings, parameter))
            except ValueError as error:
                raise ConfigError(str(error), name=parameter) from None
        self._settings = settings
        self._backend = backend
        self._clock = clock
        self._log = log
        self._filter = tables.string_list(settings.smtpd_sasl_mechanism_filter, title="smtpd_sasl_mechanism_filter")
        self._unannounced = tables.network_list(
            settings.smtpd_sasl_exceptions_networks, title="smtpd_sasl_exceptions_networks"
        )
        self._unlimited = tables.network_list(settings.smtpd_client_event_limit_exceptions)
        self._delays = FailureDelays(settings.smtpd_error_sleep_time)
        self._complaint = ""

    async def rules(self, client: Client) -> AuthRules:
        """What AUTH is for a new client. Never raises."""
        settings = self._settings
        try:
            mechanisms = await self._available()
            is_announced = not await self._unannounced.matches(client.address, client.name)
        except (AuthUnavailableError, TableError) as error:
            self._complain(str(error))
            return AuthRules(is_available=False, needs_tls=settings.smtpd_tls_auth_only)
        self._complaint = ""
        return AuthRules(
            clear=_names(permitted(without_bindings(mechanisms), settings.smtpd_sasl_security_options)),
            secured=_names(permitted(mechanisms, settings.smtpd_sasl_tls_security_options)),
            is_announced=is_announced,
            needs_tls=settings.smtpd_tls_auth_only,
            repeats_keyword=settings.broken_sasl_auth_clients,
            response_limit=settings.smtpd_sasl_response_limit,
        )

    async def step(
        self, event: Authenticate, client: Client, bindings: Mapping[str, bytes] = MappingProxyType({})
    ) -> tuple[SaslStep, SaslExchange]:
        """The backend's word on what the client said; one who failed before waits for it."""
        exchange: SaslExchange = event.exchange or self._backend.begin(event.mechanism, client, bindings)  # type: ignore[assignment]  # what we gave
        found = await exchange.step(event.response)
        if isinstance(found, SaslFailure) and not found.is_temporary:
            found = replace(found, delay=await self._delay(client))
        return found, exchange

    def close(self) -> None:
        """The service has ended."""
        self._backend.close()

    async def _available(self) -> list[Mechanism]:
        return [one for one in await self._backend.mechanisms() if await self._filter.matches(one.name)]

    async def _delay(self, client: Client) -> float:
        try:
            if await self._unlimited.matches(client.address, client.name):
                return 0.0
        except TableError as error:
            self._complain(str(error))
        return self._delays.failed(self._network(client), self._clock.monotonic())

    def _network(self, client: Client) -> str:
        settings = self._settings
        return network_of(
            client.address, settings.smtpd_client_ipv4_prefix_length, settings.smtpd_client_ipv6_prefix_length
        )

    def _complain(self, text: str) -> None:
        """Once until it works again: every client would say the same."""
        if text != self._complaint:
            self._complaint = text
            self._log.warning(text)


def _names(mechanisms: Iterable[Mechanism]) -> tuple[str, ...]:
    return tuple(one.name for one in mechanisms)
