"""Whose mail is signed: mail that begins here, never mail that merely passes."""

from __future__ import annotations

from typing import Protocol

from pymta.auth.dkim_sign_settings import CLASSES, SigningSettings
from pymta.auth.opendkim_datasets import Hosts
from pymta.errors import ConfigError
from pymta.model.envelope import Client, Origin


class Networks(Protocol):
    async def matches(self, address: str, name: str, /) -> bool:
        """Whether a client is one of ours. Raises TableError."""
        ...


class SigningClients:
    """Decides for one message. `internal` and `peers` are OpenDKIM's InternalHosts and PeerList, where given."""

    def __init__(
        self,
        settings: SigningSettings,
        networks: Networks,
        *,
        internal: Hosts | None = None,
        peers: Hosts | None = None,
    ) -> None:
        classes = {word.lower() for word in settings.dkim_sign_classes}
        if unknown := sorted(classes - set(CLASSES)):
            raise ConfigError(f'found "{unknown[0]}", expected {", ".join(CLASSES)}', name="dkim_sign_classes")
        self._classes = classes
        self._networks = networks
        self._internal = internal
        self._peers = peers
        self._notices = "notices" in classes or "bounce" in settings.internal_mail_filter_classes

    async def signs(self, client: Client, origin: Origin) -> bool:
        """Whether this message begins here. Raises TableError where a table cannot say."""
        if origin is not Origin.SMTP:
            return (
                self._notices if origin is Origin.NOTICE else origin is not Origin.FORWARD and "local" in self._classes
            )
        if self._peers is not None and self._peers.contains(client.address, client.name):
            return False
        if client.sasl_username and "authenticated" in self._classes:
            return True
        if "mynetworks" not in self._classes:
            return False
        if self._internal is not None:
            return self._internal.contains(client.address, client.name)
        return await self._networks.matches(client.address, client.name)
