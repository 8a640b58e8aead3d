"""Which signatures a sender's mail gets: one rule is one signature."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from pymta.errors import ConfigError, PymtaError
from pymta.model.frozen import frozen

_DOMAIN = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_LONGEST_DOMAIN = 253

PATH_STARTS = ("/", "./", "../")
"""How the name of a key file begins in OpenDKIM's KeyTable; anything else is the key itself."""


class SigningProblem(PymtaError):
    """A message that ought to be signed cannot be; the text says why."""


@frozen
class SignatureRule:
    """One signature: its `d=`, `s=` and `i=` (empty for none), and the key: a file's path, or the key itself."""

    domain: str
    selector: str
    key: str
    identity: str = ""


class Rules(Protocol):
    def find(self, author: str) -> Sequence[SignatureRule]:
        """The signatures for mail from `author`, an address whose domain is in ASCII. Raises SigningProblem."""
        ...

    def known(self) -> Sequence[SignatureRule]:
        """The rules that can be looked at before mail flows."""
        ...


def as_path(text: str) -> str:
    """The name of a key file as rules have it, which tells it from a key that stands there itself."""
    return text if text.startswith(PATH_STARTS) else f"./{text}"


def domain_of(author: str) -> str:
    """An address's domain in lower case; empty where it is no name that may stand in `d=`, or in a file's path."""
    domain = author.rpartition("@")[2].lower().removesuffix(".")
    return domain if is_domain(domain) else ""


def is_domain(text: str) -> bool:
    """Whether `text` is a domain or a selector in lower case (RFC 6376 3.1, 3.5)."""
    return len(text) <= _LONGEST_DOMAIN and _DOMAIN.fullmatch(text) is not None


class DomainRules:
    """Signing by the domain alone: `DOMAIN:SELECTOR:KEYFILE`, one signature for each entry of the domain."""

    def __init__(self, rules: Sequence[SignatureRule], *, subdomains: bool) -> None:
        self._rules = tuple(rules)
        self._subdomains = subdomains

    @classmethod
    def parse(cls, items: Sequence[str], *, subdomains: bool, name: str) -> DomainRules:
        """The entries of parameter `name`; raises ConfigError naming the one that is none."""
        rules = []
        for item in items:
            domain, selector, key = [*(part.strip() for part in item.split(":", 2)), "", ""][:3]
            if not is_domain(domain.lower()) or not is_domain(selector.lower()) or not key:
                raise ConfigError(f'found "{item}", expected DOMAIN:SELECTOR:KEYFILE', name=name)
            rules.append(SignatureRule(domain.lower(), selector, as_path(key)))
        return cls(rules, subdomains=subdomains)

    def find(self, author: str) -> Sequence[SignatureRule]:
        """Those of the domain itself; else, where subdomains count, those of the nearest domain above it."""
        domain = domain_of(author)
        while domain:
            found = tuple(rule for rule in self._rules if rule.domain == domain)
            if found or not self._subdomains:
                return found
            domain = domain.partition(".")[2]
        return ()

    def known(self) -> Sequence[SignatureRule]:
        return self._rules
