"""The server's keys and TLS settings as `ssl` contexts, renewed when their files change; the handshake."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

from pymta.errors import ConfigError
from pymta.model.tls import TlsSession
from pymta.ports import Clock, Log
from pymta.protocol.smtp.server_options import ServerOptions
from pymta.runtime.tls_context import Authorities, limit_chain, server_context, set_groups, ssl_options
from pymta.runtime.tls_files import KeyPair, PemFiles, Stamp
from pymta.runtime.tls_handshake import HandshakeError, start_tls
from pymta.runtime.tls_log import parse_tls_loglevel
from pymta.runtime.tls_openssl import openssl
from pymta.runtime.tls_session import describe_session
from pymta.runtime.tls_tickets import TicketKeys
from pymta.runtime.tls_values import CipherLists, cipher_string, parse_protocols, session_seconds, split_exclusions
from pymta.smtpd.tls_names import ServerNames
from pymta.smtpd.tls_settings import ServerLevel, SmtpdTlsSettings, key_exchange_curves, server_level
from pymta.tables import Maps

T = TypeVar("T")

_LOOK_AGAIN_SECONDS = 1.0

OwnKey = Callable[[], tuple[str, str]]
"""Makes a key and certificate where none is configured: the two files."""


class ServerTls:
    """TLS of one smtpd service. `make_own_key` is asked where no certificate is configured.

    `names` are tls_server_sni_maps. Raises ConfigError at construction for settings and files that cannot be used;
    later a file that cannot be used leaves what was read before in force, with a warning.
    """

    def __init__(
        self,
        settings: SmtpdTlsSettings,
        files: PemFiles,
        clock: Clock,
        log: Log,
        *,
        make_own_key: OwnKey,
        names: Maps | None = None,
    ) -> None:
        self.settings = settings
        self.level, warning = server_level(settings)
        self.log_level = _checked("smtpd_tls_loglevel", lambda: parse_tls_loglevel(settings.smtpd_tls_loglevel))
        self._files = files
        self._clock = clock
        self._log = log
        self._make_own_key = make_own_key
        self._names = ServerNames(names, self._context_of, files, log) if names else None
        self._context: ssl.SSLContext | None = None
        self._stamps: Mapping[str, Stamp | None] = {}
        self._look_again = 0.0
        self._asks = settings.smtpd_tls_ask_ccert or settings.smtpd_tls_req_ccert
        if warning:
            log.warning(warning)
        if self.is_on:
            self._check()

    @property
    def is_on(self) -> bool:
        return self.level is not ServerLevel.NONE

    @property
    def is_wrapper(self) -> bool:
        """Whether TLS comes before the greeting."""
        return self.settings.smtpd_tls_wrappermode

    @property
    def requires_certificate(self) -> bool:
        return self.settings.smtpd_tls_req_ccert and self.level is ServerLevel.ENCRYPT

    def open(self) -> None:
        """Be ready for clients; makes a key of our own where none is configured. Raises ConfigError."""
        if self.is_on and self._context is None:
            self._renew()

    def context(self) -> ssl.SSLContext:
        """The context for the next client: files that changed are read again, at most once a second."""
        now = self._clock.monotonic()
        if self._context is None:
            self._renew()
        elif now >= self._look_again:
            self._look_again = now + _LOOK_AGAIN_SECONDS
            if any(self._files.stamp(name) != stamp for name, stamp in self._stamps.items()):
                try:
                    self._renew()
                    self._log.info("TLS certificate files have changed: the new ones are in use")
                except ConfigError as error:
                    self._log.warning(f"TLS certificate files have changed, the old ones stay in use: {error}")
                    self._stamps = {name: self._files.stamp(name) for name in self._stamps}
        assert self._context is not None
        return self._context

    async def accept(
        self, transport: asyncio.Transport, protocol: asyncio.Protocol, first_bytes: bytes = b""
    ) -> tuple[asyncio.Transport, TlsSession]:
        """The server's side of a handshake. Raises HandshakeError."""
        try:
            context = self.context()
        except ConfigError as error:
            self._log.warning(f"TLS is not available: {error}")
            raise HandshakeError("-1") from None
        timeout = self.settings.smtpd_starttls_timeout
        secured, connection = await start_tls(
            transport, protocol, context, server_side=True, timeout=timeout, first_bytes=first_bytes
        )
        tls = describe_session(
            connection,
            is_server=True,
            digest=self.settings.smtpd_tls_fingerprint_digest,
            asked_for_certificate=self._asks,
            with_details=self.log_level.summary or self.settings.smtpd_tls_received_header,
        )
        if self._names:
            name, is_known = self._names.name_of(connection)
            tls = replace(tls, server_name=name, is_name_known=is_known)
        return secured, tls

    def note_failure(self, label: str, error: HandshakeError) -> None:
        self._log.info(f"SSL_accept error from {label}: {error.cause}")
        if error.problem:
            self._log.warning(f"TLS library problem: {error.problem}")

    # Contexts.

    def _check(self) -> None:
        """Everything that can be known at start-up to be wrong."""
        settings = self.settings
        if settings.smtpd_tls_req_ccert and self.level is not ServerLevel.ENCRYPT:
            self._log.warning("Can't require client certs unless TLS is required")
        try:
            hashlib.new(settings.smtpd_tls_fingerprint_digest)
        except ValueError:
            text = f'digest algorithm "{settings.smtpd_tls_fingerprint_digest}" not found'
            raise ConfigError(text, name="smtpd_tls_fingerprint_digest") from None
        if self._asks and openssl() is None:
            self._log.warning(
                "smtpd_tls_ask_ccert: this Python's OpenSSL cannot be told to go on with a client certificate "
                "that nobody vouches for; such clients will fail to begin TLS"
            )
        if self._configured():
            self._renew()
        else:
            self._bare_context()

    def _configured(self) -> bool:
        settings = self.settings
        files = (settings.smtpd_tls_cert_file, settings.smtpd_tls_dcert_file, settings.smtpd_tls_eccert_file)
        return bool(settings.smtpd_tls_chain_files or any(files))

    def _renew(self) -> None:
        stamps = {name: self._files.stamp(name) for name in self._file_names()}
        pairs = self._key_pairs()
        self._context = self._context_of(pairs)
        self._stamps = stamps or {name: self._files.stamp(name) for pair in pairs for name in (pair.key_file,)}
        self._look_again = self._clock.monotonic() + _LOOK_AGAIN_SECONDS
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        for warning in (text for pair in pairs for text in pair.warnings(now)):
            self._log.warning(warning)
        if self._names:
            self._names.forget()
            self._context.sni_callback = self._names.choose

    def _file_names(self) -> list[str]:
        settings = self.settings
        single = [name for pair in self._pair_names() for name in pair]
        names = list(settings.smtpd_tls_chain_files) or single
        return [*names, *((settings.smtpd_tls_CAfile,) if settings.smtpd_tls_CAfile else ())]

    def _pair_names(self) -> list[tuple[str, str]]:
        """Certificate and key files by kind of key; `none` is no certificate at all."""
        settings = self.settings
        pairs = (
            (settings.smtpd_tls_cert_file, settings.smtpd_tls_key_file),
            (settings.smtpd_tls_dcert_file, settings.smtpd_tls_dkey_file),
            (settings.smtpd_tls_eccert_file, settings.smtpd_tls_eckey_file),
        )
        return [(certificate, key or certificate) for certificate, key in pairs if certificate not in ("", "none")]

    def _key_pairs(self) -> list[KeyPair]:
        if self.settings.smtpd_tls_chain_files:
            return self._files.chains(self.settings.smtpd_tls_chain_files)
        names = self._pair_names() if self._configured() else [self._make_own_key()]
        return [self._files.key_pair(certificate, key) for certificate, key in names]

    def _context_of(self, pairs: list[KeyPair]) -> ssl.SSLContext:
        context = self._bare_context()
        for pair in pairs:
            pair.load(context)
        self._share_tickets(context, pairs)
        return context

    def _share_tickets(self, context: ssl.SSLContext, pairs: list[KeyPair]) -> None:
        """Any process of ours resumes the session, but only where settings and certificate are what it began with."""
        library = openssl()
        if library:
            chains = b"".join(block for pair in pairs for block in pair.chain)
            seal = hashlib.sha256(repr(self.settings).encode() + chains).digest()
            self._files.tickets.last_for(session_seconds(self.settings.smtpd_tls_session_cache_timeout))
            library.set_ticket_keys(context, TicketKeys(self._files.tickets, seal, self._clock.monotonic))

    def _bare_context(self) -> ssl.SSLContext:
        settings, mandatory = self.settings, self.level is ServerLevel.ENCRYPT
        excluded = [settings.smtpd_tls_exclude_ciphers]
        if mandatory:
            excluded.append(settings.smtpd_tls_mandatory_exclude_ciphers)
        if self._asks:
            # A session without any certificate cannot show the client's either.
            excluded.append("aNULL")
        lists = CipherLists(settings.tls_high_cipherlist, settings.tls_medium_cipherlist, settings.tls_null_cipherlist)
        which = "mandatory_" if mandatory else ""
        grade = settings.smtpd_tls_mandatory_ciphers if mandatory else settings.smtpd_tls_ciphers
        versions = settings.smtpd_tls_mandatory_protocols if mandatory else settings.smtpd_tls_protocols
        protocols = _checked(f"smtpd_tls_{which}protocols", lambda: parse_protocols(versions))
        name = f"smtpd_tls_{which}ciphers"
        ciphers = _checked(name, lambda: cipher_string(lists, grade, split_exclusions(*excluded)))
        tickets = int(session_seconds(settings.smtpd_tls_session_cache_timeout))
        prefer = settings.tls_preempt_cipherlist
        context = _checked(
            name, lambda: server_context(protocols, ciphers, prefer_own_ciphers=prefer, ticket_seconds=tickets)
        )
        context.options |= _checked("tls_ssl_options", lambda: ssl_options(settings.tls_ssl_options))
        curves = key_exchange_curves(settings)
        _checked("tls_eecdh_auto_curves", lambda: set_groups(context, curves, settings.tls_ffdhe_auto_groups))
        limit_chain(context, settings.smtpd_tls_ccert_verifydepth)
        authorities = Authorities(settings.smtpd_tls_CAfile, settings.smtpd_tls_CApath, settings.tls_append_default_CA)
        authorities.load(context, self._files)
        if self._asks:
            self._ask(context)
        return context

    @staticmethod
    def _ask(context: ssl.SSLContext) -> None:
        library = openssl()
        if library:
            library.ask_for_certificate(context)
        else:
            context.verify_mode = ssl.CERT_OPTIONAL


def with_tls(options: ServerOptions, tls: ServerTls | None) -> ServerOptions:
    """`options` of a session in a service with this TLS."""
    if tls is None:
        return options
    return replace(
        options,
        starttls=not tls.is_wrapper,
        enforce_tls=tls.level is ServerLevel.ENCRYPT,
        tls_wrapper=tls.is_wrapper,
        require_client_certificate=tls.requires_certificate,
        log_tls=tls.log_level.summary,
        log_peer_certificate=tls.log_level.certificates,
    )


def _checked(name: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except ValueError as error:
        raise ConfigError(str(error), name=name) from None
