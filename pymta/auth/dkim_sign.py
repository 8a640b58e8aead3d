"""DKIM signing (RFC 6376, RFC 8463): a message's signatures, computed while it passes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

from pymta.auth.dkim_sign_body import BodyHash
from pymta.auth.dkim_sign_clients import SigningClients
from pymta.auth.dkim_sign_header import HeaderFields, SignatureField, Tags
from pymta.auth.dkim_sign_keys import KeyStore
from pymta.auth.dkim_sign_rules import Rules, SignatureRule, SigningProblem, is_domain
from pymta.auth.dkim_sign_settings import OnFailure, SigningPolicy
from pymta.auth.keys import KeyProblem, SigningKey
from pymta.auth.opendkim_addresses import Addresses
from pymta.model.envelope import Recipient
from pymta.model.frozen import frozen
from pymta.ports import Clock

MAXIMUM_SIGNATURES = 20


@frozen
class _Planned:
    """One signature to come."""

    rule: SignatureRule
    key: SigningKey
    field: SignatureField


class Signing:
    """One message's signatures, over its header in canonical form. `update` takes the body as it passes."""

    def __init__(self, planned: Sequence[_Planned], header: bytes, policy: SigningPolicy) -> None:
        self._planned = planned
        self._header = hashlib.sha256(header)
        self._body = BodyHash(relaxed=policy.relaxed_body)
        self.update = self._body.update

    @property
    def names(self) -> list[tuple[str, str]]:
        """Domain and selector of each signature."""
        return [(one.rule.domain, one.rule.selector) for one in self._planned]

    def finish(self) -> bytes:
        """The DKIM-Signature fields for the top of the message; the body is over."""
        body_hash = self._body.digest()
        return b"".join(self._signed(one, body_hash) for one in self._planned)

    def _signed(self, one: _Planned, body_hash: bytes) -> bytes:
        digest = self._header.copy()
        digest.update(one.field.unsigned(body_hash))
        return one.field.complete(body_hash, one.key.sign(digest.digest()))


class SigningSource(Protocol):
    """Where the signer of the moment comes from."""

    @property
    def current(self) -> Signer | None:
        """None where nothing is to be signed now."""
        ...


class Signer:
    """Signs the mail of one configuration. `clients` says whose."""

    def __init__(
        self,
        policy: SigningPolicy,
        rules: Rules,
        keys: KeyStore,
        clients: SigningClients,
        clock: Clock,
        *,
        exempt_recipients: Addresses | None = None,
        exempt_senders: Addresses | None = None,
    ) -> None:
        self.policy = policy
        self.clients = clients
        self._rules = rules
        self._keys = keys
        self._clock = clock
        self._exempt_recipients = exempt_recipients
        self._exempt_senders = exempt_senders

    @property
    def current(self) -> Signer | None:
        """Itself, as a `SigningSource` that never changes."""
        return self

    @property
    def defers(self) -> bool:
        """Whether a message that cannot be signed has to wait (`dkim_failure_action`)."""
        return self.policy.on_failure is OnFailure.DEFER

    def exempts(self, recipients: Sequence[Recipient]) -> bool:
        """Whether one of the recipients is among OpenDKIM's DontSignMailTo."""
        exempt = self._exempt_recipients
        return exempt is not None and any(exempt.contains(str(one.address)) for one in recipients)

    def begin(self, header: HeaderFields, author: str) -> Signing | None:
        """The signatures for a message whose header is complete; None where no rule is about `author`.

        `author` is the address in the first field of `policy.sender_headers`, its domain in ASCII, empty for none.
        Raises SigningProblem.
        """
        if not author or not header.first("from") or self._is_exempt(author):
            return None
        rules = self._rules.find(author)
        if not rules:
            return None
        if len(rules) > MAXIMUM_SIGNATURES:
            raise SigningProblem(f"{len(rules)} signatures for {author} are more than {MAXIMUM_SIGNATURES}")
        names = header.listed(self.policy.signed, self.policy.oversigned)
        planned = [self._plan(rule, names) for rule in rules]
        return Signing(planned, header.canonical(names, relaxed=self.policy.relaxed_header), self.policy)

    def _is_exempt(self, author: str) -> bool:
        return self._exempt_senders is not None and self._exempt_senders.contains(author)

    def problems(self) -> list[str]:
        """What is wrong with rules and keys as they are now, one message each."""
        found = []
        for rule in self._rules.known():
            try:
                self._key(rule)
            except SigningProblem as problem:
                found.append(str(problem))
        return found

    def _plan(self, rule: SignatureRule, names: tuple[str, ...]) -> _Planned:
        key, policy, now = self._key(rule), self.policy, int(self._clock.now())
        tags = Tags(
            algorithm=key.algorithm,
            relaxed_header=policy.relaxed_header,
            relaxed_body=policy.relaxed_body,
            domain=rule.domain,
            selector=rule.selector,
            identity=rule.identity if _belongs(rule.identity, rule.domain) else "",
            timestamp=now,
            expiration=now + policy.lifetime if policy.lifetime else None,
            names=names,
        )
        return _Planned(rule, key, SignatureField(tags))

    def _key(self, rule: SignatureRule) -> SigningKey:
        if not is_domain(rule.domain) or not is_domain(rule.selector.lower()):
            raise SigningProblem(f'"{rule.selector}" at "{rule.domain}" cannot be the place of a key in DNS')
        try:
            return self._keys.get(rule.key)
        except KeyProblem as problem:
            raise SigningProblem(f"d={rule.domain}, s={rule.selector}: {problem}") from None


def _belongs(identity: str, domain: str) -> bool:
    """An `i=` has to be in the signing domain (RFC 6376 3.5); one that is not is left out, as OpenDKIM does."""
    host = identity.rpartition("@")[2].lower()
    return "@" in identity and (host == domain or host.endswith(f".{domain}"))
