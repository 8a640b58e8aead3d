"""Logins to other hosts: whose password, which mechanism, and what a refusal means (smtp(8), SASL_README)."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable

from pymta.delivery.connection import ClientConnection
from pymta.delivery.hosts import Failure
from pymta.delivery.smtp_auth_refused import RefusedLogins
from pymta.delivery.smtp_auth_settings import LoginSettings
from pymta.delivery.smtp_auth_token import PREFIX, TokenError, TokenSource
from pymta.errors import TableError
from pymta.model.address import Address
from pymta.model.frozen import frozen
from pymta.ports import Log
from pymta.protocol.sasl.client import ClientRun, Credentials, choose
from pymta.protocol.smtp.client_auth import offered_mechanisms
from pymta.protocol.smtp.client_events import LoginFailed, Lost
from pymta.protocol.smtp.client_replies import ServerReply
from pymta.tables import Maps

_BOUND = "SCRAM-SHA-256-PLUS"


@frozen
class LoginRefused:
    """Why there is no session with this host; `reply` is the server's where it said so."""

    failure: Failure
    reply: ServerReply | None = None


class SmtpLogin:
    """Logs in where a host offers AUTH and `passwords` know an account for it.

    `accepts` is smtp_sasl_mechanism_filter, None where it is empty; `refused` is asked before a password is tried.
    """

    def __init__(
        self,
        settings: LoginSettings,
        passwords: Maps,
        accepts: Callable[[str], Awaitable[bool]] | None,
        tokens: TokenSource,
        log: Log,
        refused: RefusedLogins | None = None,
    ) -> None:
        self._refused = refused
        self._settings = settings
        self._passwords = passwords
        self._accepts = accepts
        self._tokens = tokens
        self._log = log

    @property
    def is_by_sender(self) -> bool:
        """Whether the account depends on who sends."""
        return self._settings.sender_dependent_authentication

    async def identity(self, sender: Address) -> str:
        """Whose session a message of `sender` may share; empty where that does not depend on the sender."""
        if not self._settings.sender_dependent_authentication or sender.is_null:
            return ""
        try:
            found = await self._find_by_sender(sender)
        except TableError:
            return f"?{sender}"
        return self._split(found)[0] if found else ""

    async def log_in(self, connection: ClientConnection, sender: Address, place: str) -> LoginRefused | Lost | None:
        """Log in where that is due; None where mail may be sent. `place` is the next hop as it was written."""
        host, capabilities = connection.host, connection.session.capabilities
        if "AUTH" not in capabilities.keywords:
            return None
        try:
            found = await self._find(sender, host.name, place)
            if not found:
                return None
            username, secret = self._split(found)
            mechanisms = [one for one in offered_mechanisms(capabilities) if await self._is_accepted(one)]
        except TableError as error:
            self._log.warning(str(error))
            return _refused("4.3.0", f"local data error while talking to {host.named}")
        if not mechanisms:
            offer = capabilities.keywords["AUTH"]
            self._log.warning(f"{host.relay} offered no supported AUTH mechanisms: '{offer}'")
            text = "offered no compatible authentication mechanisms for this type of connection security"
            return _refused("4.7.0", f"SASL authentication failed; server {host.named} {text}")
        known = self._refused.find(host.name, username, secret) if self._refused else None
        if known:
            reason = f"SASL [CACHED] authentication failed; server {host.name} said: {known.reason}"
            return _refused(self._softened(known.status), reason)
        is_token = secret.startswith(PREFIX)
        binding = connection.tls.channel_binding if connection.tls else b""
        mechanism = choose(mechanisms, self._options(connection), is_token=is_token, can_bind=bool(binding))
        if mechanism is None:
            self._log.warning("SASL authentication failure: No worthy mechs found")
            return _cannot(connection, "no mechanism available")
        if mechanism != _BOUND and _BOUND in offered_mechanisms(capabilities):
            # It is there, and our own settings forbid it.
            binding = b""
        return await self._run(connection, mechanism, username, secret, is_token, binding)

    async def _run(
        self,
        connection: ClientConnection,
        mechanism: str,
        username: str,
        secret: str,
        is_token: bool,
        binding: bytes,
    ) -> LoginRefused | Lost | None:
        try:
            word = await self._tokens.token(secret) if is_token else secret
        except TokenError as error:
            self._log.warning(f"access token for {username}: {error}")
            return _cannot(connection, "no access token")
        credentials = Credentials(username, word, is_token)
        nonce, host = secrets.token_urlsafe(18), connection.host
        connection.session.authenticate(ClientRun(mechanism, credentials, nonce=nonce, binding=binding, host=host.name))
        event = await connection.next_event()
        if isinstance(event, Lost):
            return event
        if not isinstance(event, LoginFailed):
            return None
        if is_token:
            self._tokens.forget(secret)
        if event.reply is None:
            return _cannot(connection, event.reason)
        if self._refused and event.reply.code // 100 == 5 and not is_token:
            said = Failure(event.reply.status or "5.7.0", event.reply.line)
            self._refused.keep(host.name, username, secret, said)
        reason = f"SASL authentication failed; server {host.named} said: {event.reply.line}"
        return LoginRefused(Failure(self._status(event.reply), reason), event.reply)

    async def _find(self, sender: Address, host: str, place: str) -> str | None:
        """By sender, by the host's name, by the next hop, in this order."""
        found = None
        if self._settings.sender_dependent_authentication and not sender.is_null:
            found = await self._find_by_sender(sender)
        return found or await self._passwords.find(host) or await self._passwords.find(place)

    async def _find_by_sender(self, sender: Address) -> str | None:
        match = await self._passwords.find_address(sender, delimiter=self._settings.recipient_delimiter)
        return match.value if match else None

    async def _is_accepted(self, mechanism: str) -> bool:
        return await self._accepts(mechanism) if self._accepts else True

    def _split(self, found: str) -> tuple[str, str]:
        username, _, secret = found.partition(self._settings.sasl_password_result_delimiter)
        return username, secret

    def _options(self, connection: ClientConnection) -> tuple[str, ...]:
        """The security options that hold for this session's kind of channel."""
        tls = connection.tls
        if tls is None:
            return self._settings.sasl_security_options
        verified = self._settings.sasl_tls_verified_security_options
        return verified if tls.is_verified else self._settings.sasl_tls_security_options

    def _status(self, reply: ServerReply) -> str:
        """smtp_sasl_auth_soft_bounce: a refused password is our affair, and not the sender's."""
        status = reply.status if reply.status[:1] in ("4", "5") else "4.7.0"
        return self._softened(status) if reply.code == 535 else status

    def _softened(self, status: str) -> str:
        return f"4{status[1:]}" if self._settings.sasl_auth_soft_bounce else status


def _cannot(connection: ClientConnection, why: str) -> LoginRefused:
    named = connection.host.named
    return _refused("4.7.0", f"SASL authentication failed; cannot authenticate to server {named}: {why}")


def _refused(status: str, reason: str) -> LoginRefused:
    return LoginRefused(Failure(status, reason))
