"""`smtp_tls_loglevel` and `smtpd_tls_loglevel`: a number, or the names of what to log (postconf(5))."""

from __future__ import annotations

import re

from pymta.model.frozen import frozen

_SUMMARY = frozenset({"1", "2", "3", "4", "summary", "routine", "debug", "ssl-expert", "ssl-developer"})
_CERTIFICATES = frozenset({"2", "3", "4", "peercert", "debug", "ssl-expert", "ssl-developer"})
_CACHE = frozenset({"2", "3", "4", "cache", "debug", "ssl-expert", "ssl-developer"})
_UNTRUSTED = frozenset({"1", "2", "3", "4", "untrusted", "routine", "debug", "ssl-expert", "ssl-developer"})
_KNOWN = _SUMMARY | _CERTIFICATES | _UNTRUSTED | _CACHE | frozenset({"0", "none", "certmatch", "verbose", "ssl-debug"})


@frozen
class TlsLog:
    """`summary` is a line per session, `certificates` one more about the other side's, `untrusted` why not trusted.

    `cache` tells of sessions that were resumed.
    """

    summary: bool
    certificates: bool
    untrusted: bool
    cache: bool


def parse_tls_loglevel(text: str) -> TlsLog:
    """Raises ValueError for a word that no level has."""
    words = {word for word in re.split(r"[,\s]+", text.lower()) if word}
    unknown = sorted(words - _KNOWN)
    if unknown:
        raise ValueError(f'unknown TLS log level "{unknown[0]}"; expected 0 to 4 or names such as summary')
    return TlsLog(bool(words & _SUMMARY), bool(words & _CERTIFICATES), bool(words & _UNTRUSTED), bool(words & _CACHE))
