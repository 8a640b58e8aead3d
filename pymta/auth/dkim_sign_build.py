"""The signer that a configuration asks for: from `dkim_*` parameters or from OpenDKIM's own files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pymta.auth import opendkim
from pymta.auth.dkim_sign import Signer, SigningSource
from pymta.auth.dkim_sign_clients import Networks, SigningClients
from pymta.auth.dkim_sign_keys import KeyPolicy, KeyStore
from pymta.auth.dkim_sign_rules import DomainRules, Rules, SignatureRule, as_path
from pymta.auth.dkim_sign_settings import (
    OnFailure,
    SigningPolicy,
    SigningSettings,
    canonicalization,
    policy_of,
    signed_fields,
)
from pymta.auth.key_table import TableRules, key_rows, signing_rows
from pymta.auth.opendkim import OpenDkimConfig
from pymta.auth.opendkim_addresses import Addresses, AddressSet
from pymta.auth.opendkim_datasets import Dataset, Hosts, HostSet, Source, open_dataset, read_rows
from pymta.errors import ConfigError
from pymta.ports import Clock, Log
from pymta.tables.watch import Unusable, WatchedFile

_SOURCES = ("dkim_keys", "dkim_key_table", "dkim_opendkim_config")


class FollowedSigner:
    """What opendkim.conf asks for, read again when it changes; what cannot be used is logged and changes nothing."""

    def __init__(self, path: Path, make: Callable[[], Signer | None], log: Log) -> None:
        """Raises ConfigError."""
        self._first: list[Signer | None] = [make()]
        self._make = make
        self._file = WatchedFile(path, self._again, name="dkim_opendkim_config", log=log)

    @property
    def current(self) -> Signer | None:
        return self._file.content()

    def _again(self, _: bytes) -> Signer | None:
        if self._first:
            return self._first.pop()
        try:
            return self._make()
        except ConfigError as error:
            raise Unusable(str(error)) from error


class _FollowedHosts:
    def __init__(self, dataset: Dataset[HostSet]) -> None:
        self._dataset = dataset

    def contains(self, address: str, name: str) -> bool:
        return self._dataset.content().contains(address, name)


class _FollowedAddresses:
    def __init__(self, dataset: Dataset[AddressSet]) -> None:
        self._dataset = dataset

    def contains(self, address: str) -> bool:
        return self._dataset.content().contains(address)


def make_signer(
    settings: SigningSettings, networks: Networks, base: Path, clock: Clock, log: Log
) -> SigningSource | None:
    """None where nothing is to be signed. `base` is where relative file names begin.

    Raises ConfigError for what can never work; keys that cannot be used now are only warned of, since a message may
    be signed once they can.
    """
    if not settings.is_configured:
        return None
    given = [name for name in _SOURCES if getattr(settings, name)]
    if len(given) > 1:
        raise ConfigError(f"set one of {', '.join(given)}, not both", name=given[1])
    if settings.dkim_opendkim_config:
        path = base / settings.dkim_opendkim_config
        return FollowedSigner(path, lambda: _tried(_from_opendkim(settings, networks, path, clock, log), log), log)
    return _tried(_from_parameters(settings, networks, base, clock, log), log)


def _tried(signer: Signer | None, log: Log) -> Signer | None:
    for problem in signer.problems() if signer else ():
        log.warning(f"DKIM: {problem}")
    return signer


def make_rules(settings: SigningSettings, base: Path, log: Log) -> Rules | None:
    """Only the rules, for a look at them; None where nothing is to be signed. Raises ConfigError."""
    if settings.dkim_opendkim_config:
        return _opendkim_rules(OpenDkimConfig.read(base / settings.dkim_opendkim_config), log)
    return _own_rules(settings, base, log) if settings.is_configured else None


def _from_parameters(settings: SigningSettings, networks: Networks, base: Path, clock: Clock, log: Log) -> Signer:
    return Signer(
        policy_of(settings),
        _own_rules(settings, base, log),
        KeyStore(KeyPolicy(base, settings.dkim_require_safe_keys, settings.dkim_minimum_key_bits)),
        SigningClients(settings, networks),
        clock,
    )


def _own_rules(settings: SigningSettings, base: Path, log: Log) -> Rules:
    if settings.dkim_keys:
        return DomainRules.parse(settings.dkim_keys, subdomains=settings.dkim_sign_subdomains, name="dkim_keys")
    for name, other in (("dkim_key_table", "dkim_signing_table"), ("dkim_signing_table", "dkim_key_table")):
        if not getattr(settings, name):
            raise ConfigError(f"{other} is set, so this has to be set too", name=name)
    return _tables(
        Source.parse(settings.dkim_key_table, base, "dkim_key_table"),
        Source.parse(settings.dkim_signing_table, base, "dkim_signing_table"),
        multiple=settings.dkim_multiple_signatures,
        log=log,
    )


def _tables(keys: Source, senders: Source, *, multiple: bool, log: Log) -> TableRules:
    wildcards = senders.wildcards
    rules = TableRules(
        open_dataset(keys, key_rows, log),
        open_dataset(senders, lambda rows: signing_rows(rows, wildcards=wildcards), log),
        multiple=multiple,
    )
    for problem in rules.dangling():
        log.warning(f"DKIM: {problem}")
    return rules


# -- opendkim.conf


def _from_opendkim(settings: SigningSettings, networks: Networks, path: Path, clock: Clock, log: Log) -> Signer | None:
    config = OpenDkimConfig.read(path)
    for warning in config.warnings:
        log.warning(f"DKIM: {warning}")
    if not config.signs:
        return None
    safe = config.flag("RequireSafeKeys", settings.dkim_require_safe_keys)
    bits = config.number("MinimumKeyBits", settings.dkim_minimum_key_bits)
    clients = SigningClients(
        settings,
        networks,
        internal=_hosts(config, "InternalHosts", log),
        peers=_hosts(config, "PeerList", log),
    )
    return Signer(
        _opendkim_policy(config, policy_of(settings)),
        _opendkim_rules(config, log),
        KeyStore(KeyPolicy(config.base, safe, bits)),
        clients,
        clock,
        exempt_recipients=_addresses(config, "DontSignMailTo", log),
        exempt_senders=_addresses(config, "ExemptDomains", log),
    )


def _opendkim_policy(config: OpenDkimConfig, policy: SigningPolicy) -> SigningPolicy:
    """What the file does not say is what the `dkim_*` parameters say."""
    header, body = policy.relaxed_header, policy.relaxed_body
    if text := config.text("Canonicalization"):
        header, body = canonicalization(text, config.where("Canonicalization"))
    names = opendkim.signed_headers(config) or policy.signed
    oversigned = policy.oversigned
    if text := config.text("OversignHeaders"):
        oversigned = frozenset(opendkim.header_names(text, ()))
    algorithm = config.text("SignatureAlgorithm").lower()
    if algorithm not in ("", "rsa-sha256", "ed25519-sha256"):
        raise ConfigError(
            f'found "{algorithm}", expected rsa-sha256 or ed25519-sha256 (RFC 8301 forbids rsa-sha1)',
            name=config.where("SignatureAlgorithm"),
        )
    return replace(
        policy,
        relaxed_header=header,
        relaxed_body=body,
        signed=signed_fields(names, sorted(oversigned), opendkim.omitted_headers(config)),
        oversigned=oversigned,
        sender_headers=opendkim.header_names(config.text("SenderHeaders"), ()) or policy.sender_headers,
        lifetime=config.number("SignatureTTL", policy.lifetime),
        on_failure=_on_failure(config, policy.on_failure),
    )


def _on_failure(config: OpenDkimConfig, default: OnFailure) -> OnFailure:
    """`accept` sends unsigned; what refuses in any way defers here: a failure of ours is never for ever."""
    for name in ("On-SignatureError", "On-InternalError", "On-Default"):
        if text := config.text(name):
            return OnFailure.SEND if text.lower() in ("accept", "a") else OnFailure.DEFER
    return default


def _opendkim_rules(config: OpenDkimConfig, log: Log) -> Rules:
    if config.text("KeyTable") and config.text("SigningTable"):
        return _tables(
            _source(config, "KeyTable"),
            _source(config, "SigningTable"),
            multiple=config.flag("MultipleSignatures", False),
            log=log,
        )
    names = ("Domain", "Selector", "KeyFile")
    if missing := [name for name in names if not config.text(name)]:
        raise ConfigError(
            f"to sign, set Domain, Selector and KeyFile, or KeyTable and SigningTable; {', '.join(missing)} not found",
            where=str(config.path),
        )
    domains = [row.key.lower() for row in read_rows(_source(config, "Domain"))]
    selector, key = config.text("Selector"), as_path(config.text("KeyFile"))
    rules = [SignatureRule(domain, selector, key) for domain in domains]
    return DomainRules(rules, subdomains=config.flag("SubDomains", False))


def _source(config: OpenDkimConfig, name: str) -> Source:
    return Source.parse(config.text(name), config.base, config.where(name))


def _hosts(config: OpenDkimConfig, name: str, log: Log) -> Hosts | None:
    return _FollowedHosts(open_dataset(_source(config, name), HostSet, log)) if config.text(name) else None


def _addresses(config: OpenDkimConfig, name: str, log: Log) -> Addresses | None:
    if not config.text(name):
        return None
    source = _source(config, name)
    return _FollowedAddresses(open_dataset(source, lambda rows: AddressSet(rows, wildcards=source.wildcards), log))
