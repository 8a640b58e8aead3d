"""The client's side of TLS: contexts by policy, the handshake, and whether the server is the right one."""

from __future__ import annotations

import ssl
from collections.abc import Hashable
from dataclasses import replace
from typing import TYPE_CHECKING

from pymta.delivery.hosts import Destination, Failure, Host
from pymta.delivery.smtp_security import SecurityPolicy, TlsLevel
from pymta.delivery.smtp_tls_names import certificate_names, names_match, wanted_names
from pymta.delivery.smtp_tls_policy import TlsPolicies
from pymta.delivery.smtp_tls_sessions import TlsSessions
from pymta.delivery.smtp_tls_settings import ClientTlsSettings
from pymta.errors import ConfigError
from pymta.model.tls import TlsSession
from pymta.ports import Clock, Log
from pymta.protocol.sasl.scram import CLIENT_BINDING
from pymta.runtime.tls_context import Authorities, client_context, limit_chain, set_groups, ssl_options
from pymta.runtime.tls_files import KeyPair, PemFiles, Stamp
from pymta.runtime.tls_handshake import HandshakeError
from pymta.runtime.tls_log import parse_tls_loglevel
from pymta.runtime.tls_session import channel_bindings, describe_session
from pymta.runtime.tls_values import CipherLists, cipher_string, parse_protocols, session_seconds
from pymta.tables import Maps

if TYPE_CHECKING:
    from pymta.delivery.connection import ClientConnection

_NOT_STARTED = Failure("4.7.5", "Cannot start TLS: handshake failure")
_NOT_VERIFIED = Failure("4.7.5", "Server certificate not verified")
_NO_ENGINE = Failure("4.7.5", "TLS is required, but our TLS engine is unavailable")
_CONTEXTS_KEPT = 1000


class ClientTls:
    """TLS of one transport. Raises ConfigError at construction for settings and files that cannot be used."""

    def __init__(
        self,
        settings: ClientTlsSettings,
        files: PemFiles,
        clock: Clock,
        log: Log,
        prefix: str,
        maps: Maps | None = None,
    ) -> None:
        self.settings = settings
        self.policies = TlsPolicies(settings, maps, log, prefix)
        self._files = files
        self._clock = clock
        self._log = log
        self._prefix = prefix
        self._contexts: dict[tuple[object, ...], ssl.SSLContext] = {}
        seconds = session_seconds(settings.tls_session_cache_timeout)
        self._sessions = TlsSessions(seconds) if settings.tls_session_cache_database and seconds else None
        self._stamps: dict[str, Stamp | None] = {}
        try:
            self._level = parse_tls_loglevel(settings.tls_loglevel)
        except ValueError as error:
            raise ConfigError(str(error), name=f"{prefix}_tls_loglevel") from None
        self._pairs = self._read_pairs()

    async def secure(
        self, connection: ClientConnection, policy: SecurityPolicy, destination: Destination | Host, *, say_hello: bool
    ) -> Failure | None:
        """Shake hands with `connection`'s host; the failure says why mail must not go over it."""
        host = connection.host
        try:
            context = self._context(policy)
        except (ConfigError, ValueError) as error:
            self._log.warning(f"TLS to {host.relay}: {error}")
            connection.abort()
            return _NO_ENGINE
        name = _server_name(policy, host, destination)
        server = _server(context, host, name)
        resumable = self._sessions.take(server, self._clock.monotonic()) if self._sessions else None
        try:
            secured = await connection.start_tls(context, self.settings.starttls_timeout, name, resumable)
        except HandshakeError as error:
            self._forget(server)
            self._note_failure(host, error)
            return _NOT_VERIFIED if error.untrusted else _NOT_STARTED
        if connection.resumed and self._level.cache:
            self._log.info(f"{host.relay}: Reusing old session")
        tls = self._describe(secured, policy, host, destination)
        if self._level.summary:
            self._log.info(f"{tls.standing} TLS connection established to {host.relay}: {tls.summary}")
        connection.tls_started(tls, say_hello=say_hello and not (policy.level.must_match and not tls.is_verified))
        if policy.level.must_match and not tls.is_verified:
            self._forget(server)
            return _NOT_VERIFIED
        return None

    def keep_session(self, connection: ClientConnection) -> None:
        """The server talks to us under TLS: it has said by now what a later connection can resume this session with."""
        secured = connection.secured
        if self._sessions and secured:
            server = _server(secured.context, connection.host, secured.server_hostname)
            self._sessions.keep(server, secured, self._clock.monotonic(), connection.resumed)

    def _forget(self, server: Hashable) -> None:
        if self._sessions:
            self._sessions.forget(server)

    def _note_failure(self, host: Host, error: HandshakeError) -> None:
        if error.untrusted:
            self._log.info(f"certificate verification failed for {host.relay}: {error.untrusted}")
        self._log.info(f"SSL_connect error to {host.relay}: {error.cause}")
        if error.problem:
            self._log.warning(f"TLS library problem: {error.problem}")

    def _describe(
        self, secured: ssl.SSLObject, policy: SecurityPolicy, host: Host, destination: Destination | Host
    ) -> TlsSession:
        digest = self.settings.tls_fingerprint_digest
        tls = describe_session(secured, is_server=False, digest=digest, with_details=self._level.summary)
        is_right = self._is_right(secured, tls, policy, host, destination)
        if self._level.certificates and tls.certificate:
            shown = tls.certificate
            self._log.info(
                f"{host.relay}: subject_CN={shown.subject}, issuer={shown.issuer}, "
                f"fingerprint={shown.fingerprint}, pkey_fingerprint={shown.public_key_fingerprint}"
            )
        binding = channel_bindings(secured, is_server=False).get(CLIENT_BINDING, b"")
        return replace(tls, is_verified=is_right, channel_binding=binding)

    def _is_right(
        self,
        secured: ssl.SSLObject,
        tls: TlsSession,
        policy: SecurityPolicy,
        host: Host,
        destination: Destination | Host,
    ) -> bool:
        """Whether the certificate is the one that the policy asks for."""
        if tls.certificate is None or not policy.level.must_match:
            return False
        if policy.level is TlsLevel.FINGERPRINT:
            wanted = {word.upper() for word in policy.match}
            return not wanted.isdisjoint({tls.certificate.fingerprint, tls.certificate.public_key_fingerprint})
        # The handshake has proved the chain: CERT_REQUIRED.
        nexthop = destination.name if isinstance(destination, Host) else destination.host
        names = certificate_names(secured.getpeercert() or {})
        wanted_by = wanted_names(policy.match, host.name, nexthop)
        if names_match(names, wanted_by, deep_wildcards=self.settings.tls_wildcard_matches_multiple_labels):
            return True
        self._log.info(
            f"certificate verification failed for {host.relay}: "
            f"none of its names ({', '.join(names) or 'none'}) is one of {', '.join(wanted_by) or 'none'}"
        )
        return False

    # Contexts.

    def _context(self, policy: SecurityPolicy) -> ssl.SSLContext:
        """The context of a policy; those of other names and levels that ask OpenSSL for the same share one."""
        stamps = {name: self._files.stamp(name) for name in self._stamps}
        if stamps != self._stamps:
            self._forget_contexts()
            try:
                self._pairs = self._read_pairs()
            except ConfigError as error:
                self._log.warning(f"TLS certificate files have changed, the old ones stay in use: {error}")
                self._stamps = stamps
        key = (policy.level.must_trust, policy.protocols, policy.ciphers, policy.excluded, policy.anchors)
        context = self._contexts.get(key)
        if context is None:
            if len(self._contexts) >= _CONTEXTS_KEPT:
                self._forget_contexts()
            context = self._contexts[key] = self._new_context(policy)
        return context

    def _forget_contexts(self) -> None:
        """A session can be resumed in the context that it began in alone."""
        self._contexts.clear()
        if self._sessions:
            self._sessions.clear()

    def _new_context(self, policy: SecurityPolicy) -> ssl.SSLContext:
        settings = self.settings
        lists = CipherLists(settings.tls_high_cipherlist, settings.tls_medium_cipherlist, settings.tls_null_cipherlist)
        ciphers = cipher_string(lists, policy.ciphers, policy.excluded)
        context = client_context(parse_protocols(policy.protocols), ciphers, must_trust=policy.level.must_trust)
        context.options |= ssl_options(settings.tls_ssl_options)
        set_groups(context, settings.tls_eecdh_auto_curves, settings.tls_ffdhe_auto_groups)
        limit_chain(context, settings.tls_scert_verifydepth)
        Authorities(settings.tls_CAfile, settings.tls_CApath, settings.tls_append_default_CA, policy.anchors).load(
            context, self._files
        )
        for pair in self._pairs:
            pair.load(context)
        return context

    def _read_pairs(self) -> list[KeyPair]:
        """The client's own certificates; none by default."""
        settings = self.settings
        if settings.tls_chain_files:
            names = list(settings.tls_chain_files)
            pairs = self._files.chains(names)
        else:
            files = [
                (certificate, key or certificate)
                for certificate, key in (
                    (settings.tls_cert_file, settings.tls_key_file),
                    (settings.tls_dcert_file, settings.tls_dkey_file),
                    (settings.tls_eccert_file, settings.tls_eckey_file),
                )
                if certificate
            ]
            names = [name for pair in files for name in pair]
            pairs = [self._files.key_pair(*pair) for pair in files]
        if settings.tls_CAfile:
            names.append(settings.tls_CAfile)
        self._stamps = {name: self._files.stamp(name) for name in names}
        return pairs


def _server(context: ssl.SSLContext, host: Host, name: str | None) -> Hashable:
    """Whom a session was made with, and how: the context stands for what the policy asks of TLS itself.

    The names that another policy wants are compared with the certificate again when a session is resumed.
    """
    return context, host.name, host.address, host.port, name


def _server_name(policy: SecurityPolicy, host: Host, destination: Destination | Host) -> str | None:
    """What to ask for by SNI (smtp_tls_servername): `hostname`, `nexthop` or a name; an address is none."""
    nexthop = destination.name if isinstance(destination, Host) else destination.host
    name = {"": "", "hostname": host.name, "nexthop": nexthop}.get(policy.server_name, policy.server_name)
    return name if name and not name.replace(".", "").isdigit() and ":" not in name else None
