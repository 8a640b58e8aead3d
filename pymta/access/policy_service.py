"""Which policy service a restriction list names, and on what terms it is asked (postconf(5), SMTPD_POLICY_README)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pymta.access.parse import Words
from pymta.access.settings import AccessSettings
from pymta.config.registry import parameter
from pymta.model.frozen import frozen

_PREFIX = "smtpd_policy_service_"


@frozen
class PolicyService:
    """Times are in seconds. `overrides` are the attributes that the list itself sets, by name.

    `default_action` stands for an answer that does not come. `max_idle`, `max_ttl` and `request_limit` (0: none)
    bound the use of one connection; `try_limit` attempts of at most `timeout` each, `retry_delay` apart.
    """

    endpoint: str
    overrides: tuple[tuple[str, Any], ...] = ()
    default_action: str = ""
    max_idle: float = 300.0
    max_ttl: float = 1000.0
    policy_context: str = ""
    request_limit: int = 0
    retry_delay: float = 1.0
    timeout: float = 100.0
    try_limit: int = 2

    def completed(self, settings: AccessSettings) -> PolicyService:
        """The same with `smtpd_policy_service_*` where the list says nothing."""
        values = {name: getattr(settings, _PREFIX + name) for name in ATTRIBUTES}
        return replace(self, **{**values, **dict(self.overrides)})


ATTRIBUTES = (
    "default_action",
    "max_idle",
    "max_ttl",
    "policy_context",
    "request_limit",
    "retry_delay",
    "timeout",
    "try_limit",
)


def take_service(restriction: str, words: Words) -> PolicyService:
    """Read `inet:host:port`, `unix:path` or `{ inet:host:port, timeout=10s, ... }`; raises ConfigError."""
    word = words.next
    if word.startswith("{") and word.endswith("}"):
        words.take()
        endpoint, *assignments = _parts(word[1:-1], words)
        return PolicyService(_endpoint(restriction, endpoint, words), _overrides(assignments, words))
    endpoint = _endpoint(restriction, word, words)
    words.take()
    return PolicyService(endpoint)


def _parts(text: str, words: Words) -> list[str]:
    inner = Words(text, words.parameter)
    parts = []
    while inner:
        part = inner.take()
        parts.append(part[1:-1].strip() if part.startswith("{") and part.endswith("}") else part)
    return parts or [""]


def _endpoint(restriction: str, word: str, words: Words) -> str:
    kind, colon, place = word.partition(":")
    if not colon or kind not in ("inet", "unix", "local") or not place:
        raise words.error(f'restriction {restriction}: bad argument "{word}": need inet:host:port or unix:path')
    if kind == "inet" and not place.rpartition(":")[2]:
        raise words.error(f'restriction {restriction}: "{word}" has no port')
    return word


def _overrides(assignments: list[str], words: Words) -> tuple[tuple[str, Any], ...]:
    return tuple(_override(one, words) for one in assignments)


def _override(assignment: str, words: Words) -> tuple[str, Any]:
    name, sign, value = (part.strip() for part in assignment.partition("="))
    if not sign or name not in ATTRIBUTES:
        raise words.error(f'unexpected policy service attribute "{name}": use one of {", ".join(ATTRIBUTES)}')
    line = parameter(_PREFIX + name)
    try:
        return name, line.parse(value)
    except ValueError as error:
        raise words.error(f'policy service attribute "{name}": {error}') from None
