"""Which TLS policy a destination has (postconf(5) smtp_tls_security_level, smtp_tls_policy_maps; TLS_README)."""

from __future__ import annotations

import re
from dataclasses import replace

from pymta.delivery.hosts import Destination, Failure, Host
from pymta.delivery.smtp_security import CLEARTEXT, SecurityPolicy, TlsLevel
from pymta.delivery.smtp_tls_settings import ClientTlsSettings
from pymta.errors import ConfigError, TableError
from pymta.ports import Log
from pymta.runtime.tls_values import parse_protocols, split_exclusions
from pymta.tables import Maps

_NOT_THERE = frozenset({"dane", "dane-only", "half-dane"})
_ATTRIBUTES = frozenset(
    {"exclude", "protocols", "match", "ciphers", "tafile", "connection_reuse", "servername", "enable_rpk"}
)
_GRADES = frozenset({"high", "medium", "null", "low", "export"})
_HOST_NAME = re.compile(
    r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?)*"
)
_BROKEN = Failure("4.7.5", "client TLS configuration problem")


class PolicyError(ValueError):
    """A policy cannot be used; the text is for the log."""


class TlsPolicies:
    """Policies by destination. `maps` are smtp_tls_policy_maps. Raises ConfigError for settings without sense."""

    def __init__(self, settings: ClientTlsSettings, maps: Maps | None, log: Log, prefix: str) -> None:
        self._settings = settings
        self._maps = maps
        self._log = log
        self._prefix = prefix
        try:
            self._default = self._complete(global_level(settings), {})
            parse_protocols(settings.tls_protocols)
            parse_protocols(settings.tls_mandatory_protocols)
        except PolicyError as error:
            raise ConfigError(str(error), name=f"{prefix}_tls_security_level") from None
        except ValueError as error:
            raise ConfigError(str(error), name=f"{prefix}_tls_protocols") from None
        if settings.tls_per_site:
            text = f"{prefix}_tls_per_site is obsolete and not acted on: use {prefix}_tls_policy_maps"
            raise ConfigError(text, name=f"{prefix}_tls_per_site")

    @property
    def may_use_tls(self) -> bool:
        return bool(self._maps) or self._default.level is not TlsLevel.NONE or self._settings.tls_wrappermode

    @property
    def has_table(self) -> bool:
        """Whether a destination's policy may change from one message to the next."""
        return bool(self._maps)

    async def policy_for(self, destination: Destination | Host) -> SecurityPolicy | Failure:
        """The policy, or the failure that defers the mail: without a policy nothing may be sent."""
        name = destination.address if isinstance(destination, Host) else destination.text or destination.host
        try:
            value = await self._find(name) if self._maps else None
        except TableError as error:
            self._log.warning(f"TLS policy lookup for {name}: {error}")
            return Failure("4.7.5", "TLS policy lookup error")
        try:
            policy = self._default if value is None else self._parse(value)
        except PolicyError as error:
            self._log.warning(f'TLS policy table, next-hop destination "{name}": {error}')
            return _BROKEN
        if isinstance(destination, Host) and not destination.port and policy.level is TlsLevel.MAY:
            # Opportunistic encryption makes no sense on a socket of this host.
            return CLEARTEXT
        return policy

    async def _find(self, name: str) -> str | None:
        """The entry for the next hop as it is written; for a bare domain also those of `.parent`s."""
        assert self._maps is not None
        value = await self._maps.find(name.lower())
        if not _HOST_NAME.fullmatch(name):
            return value
        while value is None and (dot := name.find(".", 1)) >= 0:
            name = name[dot:]
            value = await self._maps.find(name.lower(), partial=True)
        return value

    def _parse(self, value: str) -> SecurityPolicy:
        words = re.split(r"[,\s]+", value.strip())
        level = parse_level(words[0])
        attributes: dict[str, str] = {}
        for word in words[1:]:
            name, equals, text = word.partition("=")
            name = name.lower()
            if name not in _ATTRIBUTES:
                raise PolicyError(f'invalid attribute name: "{name}"')
            if not equals or not text:
                raise PolicyError(f'attribute "{name}" has empty value')
            if level is TlsLevel.NONE:
                self._log.warning(f'TLS policy table: ignoring attribute "{name}" with TLS disabled')
            elif name in attributes and name in ("match", "tafile"):
                attributes[name] += f" {text}"
            elif name in attributes:
                raise PolicyError(f'attribute "{name}" is specified multiple times')
            else:
                attributes[name] = text
        return self._complete(level, attributes)

    def _complete(self, level: TlsLevel, attributes: dict[str, str]) -> SecurityPolicy:
        """Fill in what main.cf has for what the entry does not say."""
        settings = self._settings
        if settings.tls_wrappermode and not level.is_required:
            raise PolicyError(f'TLS level "encrypt" or stronger is needed with {self._prefix}_tls_wrappermode = yes')
        if level is TlsLevel.NONE:
            return CLEARTEXT
        required = level.is_required
        protocols = attributes.get(
            "protocols", settings.tls_mandatory_protocols if required else settings.tls_protocols
        )
        ciphers = attributes.get("ciphers", settings.tls_mandatory_ciphers if required else settings.tls_ciphers)
        if ciphers.lower() not in _GRADES:
            raise PolicyError(f'invalid TLS cipher grade "{ciphers}"')
        excluded = [settings.tls_exclude_ciphers, *((settings.tls_mandatory_exclude_ciphers,) if required else ())]
        if "exclude" in attributes:
            excluded = [attributes["exclude"]]
        try:
            parse_protocols(protocols)
        except ValueError as error:
            raise PolicyError(str(error)) from None
        policy = SecurityPolicy(
            level,
            ciphers,
            split_exclusions(*excluded, *(("aNULL",) if level.must_match else ())),
            protocols,
            server_name=attributes.get("servername", settings.tls_servername),
            wrapper=settings.tls_wrappermode,
        )
        return self._with_match(policy, attributes)

    def _with_match(self, policy: SecurityPolicy, attributes: dict[str, str]) -> SecurityPolicy:
        settings, level = self._settings, policy.level
        if not level.must_match:
            if "match" in attributes:
                raise PolicyError(f'attribute "match" invalid at security level "{level.name.lower()}"')
            return policy
        defaults = {
            TlsLevel.FINGERPRINT: settings.tls_fingerprint_cert_match,
            TlsLevel.VERIFY: settings.tls_verify_cert_match,
            TlsLevel.SECURE: settings.tls_secure_cert_match,
        }
        text = attributes.get("match", defaults[level])
        separators = r"[|,\s]+" if level is TlsLevel.FINGERPRINT else r"[:,\s]+"
        match = tuple(word for word in re.split(separators, text) if word)
        if not match:
            raise PolicyError("no fingerprints to match" if level is TlsLevel.FINGERPRINT else "no names to match")
        anchors = attributes["tafile"].split() if "tafile" in attributes else settings.tls_trust_anchor_file.split()
        return replace(policy, match=match, anchors=tuple(anchors) if level.must_trust else ())


def parse_level(word: str) -> TlsLevel:
    """A word of smtp_tls_security_level. Raises PolicyError."""
    name = word.lower()
    if name in _NOT_THERE:
        raise PolicyError(f'security level "{name}" is not there yet')
    try:
        return TlsLevel[name.upper()]
    except KeyError:
        known = ", ".join(level.name.lower() for level in TlsLevel)
        raise PolicyError(f'invalid security level "{word}"; expected one of {known}') from None


def global_level(settings: ClientTlsSettings) -> TlsLevel:
    """smtp_tls_security_level, else what the two old switches say. Raises PolicyError."""
    word = settings.tls_security_level.strip()
    if word:
        return parse_level(word)
    if settings.enforce_tls:
        return TlsLevel.VERIFY if settings.tls_enforce_peername else TlsLevel.ENCRYPT
    return TlsLevel.MAY if settings.use_tls else TlsLevel.NONE
