"""An open relay does not start (SMTPD_ACCESS_README, "Dangerous use")."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterator, Mapping
from enum import Enum

from pymta.access.parse import Words, split
from pymta.access.settings import AccessSettings
from pymta.errors import ConfigError
from pymta.ports import Log

_GUARDS = frozenset({"reject", "reject_unauth_destination", "defer", "defer_if_permit", "defer_unauth_destination"})
_FORGEABLE = frozenset({"check_sender_access", "check_helo_access"})
_ALWAYS_OK = frozenset({"ok", "relay", "permit"})
_WIDE_PREFIX = {4: 8, 6: 16}
_LOCAL_V6 = (ipaddress.IPv6Network("fc00::/7"), ipaddress.IPv6Network("fe80::/10"))
_PARAMETERS = "smtpd_relay_restrictions or smtpd_recipient_restrictions"


_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Ending(Enum):
    """How a list treats a stranger who wants to relay."""

    GUARDED = "guarded"
    OPEN = "open"
    UNDECIDED = "undecided"


def check_relay(settings: AccessSettings, classes: Mapping[str, str], log: Log) -> None:
    """Raise ConfigError where mail from anyone to anywhere is certain to pass; warn where it is likely.

    Mail has to pass both lists, so one that guards is enough.
    """
    relay = _Walk(settings, classes)
    recipient = _Walk(settings, classes)
    relay_ending = relay.ending(settings.smtpd_relay_restrictions, "smtpd_relay_restrictions", "check_recipient_access")
    recipient_ending = recipient.ending(
        settings.smtpd_recipient_restrictions, "smtpd_recipient_restrictions", "check_recipient_access"
    )
    if Ending.GUARDED not in (relay_ending, recipient_ending):
        opener = relay.opener or recipient.opener
        because = f" ({opener} lets everybody relay before one is reached)" if opener else ""
        raise ConfigError(
            f"this would be an open relay{because}: specify at least one working instance of: "
            "reject_unauth_destination, defer_unauth_destination, reject, defer or defer_if_permit",
            name=_PARAMETERS,
        )
    guarded = [walk for walk, end in ((relay, relay_ending), (recipient, recipient_ending)) if end is Ending.GUARDED]
    if all(walk.doubts for walk in guarded):
        for doubt in guarded[0].doubts:
            log.warning(doubt)


class _Walk:
    """Reads one list as a stranger meets it. `doubts` are what may let a stranger through before the guard."""

    def __init__(self, settings: AccessSettings, classes: Mapping[str, str]) -> None:
        self.opener = ""
        self.doubts: list[str] = []
        self._classes = classes
        self._networks = settings.mynetworks

    def ending(self, text: str, parameter: str, bare_check: str) -> Ending:
        words = Words(text, parameter)
        while words:
            name = words.take()
            if name.lower() == "warn_if_reject":
                # What only warns guards nothing; what it permits, it still permits.
                ending = self._one(words.take(), words, bare_check) if words else Ending.UNDECIDED
                ending = Ending.UNDECIDED if ending is Ending.GUARDED else ending
            else:
                ending = self._one(name, words, bare_check)
            if ending is not Ending.UNDECIDED:
                return ending
        return Ending.UNDECIDED

    def _one(self, name: str, words: Words, bare_check: str) -> Ending:
        folded = name.lower()
        if name in self._classes:
            return self.ending(self._classes[name], name, bare_check)
        if folded in _GUARDS:
            return Ending.GUARDED
        if folded == "permit":
            return self._open("permit")
        if folded == "permit_mynetworks":
            return self._mynetworks()
        if ":" in name:
            return self._table(bare_check, name)
        if folded.startswith("check_") and ":" in words.next:
            return self._table(folded, words.take())
        return Ending.UNDECIDED

    def _table(self, check: str, table: str) -> Ending:
        kind, _, value = table.partition(":")
        # A stranger cannot be kept from saying HELO, and always has an address, a sender and a recipient.
        always_asked = check in ("check_client_access", "check_recipient_access", *_FORGEABLE)
        if kind == "static" and always_asked and (value.lower() in _ALWAYS_OK or value.isdecimal()):
            return self._open(f"{check} {table}")
        if check in _FORGEABLE and kind != "static":
            self.doubts.append(
                f"{check} {table} stands before reject_unauth_destination: "
                "anyone who claims a name that it answers with OK can relay"
            )
        return Ending.UNDECIDED

    def _mynetworks(self) -> Ending:
        for network in _networks(self._networks):
            if network.prefixlen == 0:
                return self._open(f"permit_mynetworks with everybody ({network}) in mynetworks")
            if network.prefixlen < _WIDE_PREFIX[network.version] and not _is_local(network):
                self.doubts.append(f"mynetworks contains {network}: everybody there can relay")
        return Ending.UNDECIDED

    def _open(self, opener: str) -> Ending:
        self.opener = self.opener or opener
        return Ending.OPEN


def _is_local(network: _Network) -> bool:
    return isinstance(network, ipaddress.IPv6Network) and any(network.subnet_of(local) for local in _LOCAL_V6)


def _networks(text: str) -> Iterator[_Network]:
    """The networks written in `text`, neighbours joined; tables, files, names and exceptions are not looked into."""
    by_version: dict[int, list[_Network]] = {4: [], 6: []}
    for word in split(text):
        with contextlib.suppress(ValueError):
            network = ipaddress.ip_network(word.replace("[", "").replace("]", ""), strict=False)
            by_version[network.version].append(network)
    for networks in by_version.values():
        yield from ipaddress.collapse_addresses(networks)  # type: ignore[type-var]
