"""TLS protocols and ciphers as main.cf writes them (postconf(5) smtpd_tls_protocols, smtpd_tls_ciphers)."""

from __future__ import annotations

import re
import ssl
import warnings
from collections.abc import Sequence

from pymta.model.frozen import frozen

_VERSIONS = {
    "ssl3": ssl.TLSVersion.SSLv3,
    "tls1": ssl.TLSVersion.TLSv1,
    "tls1.1": ssl.TLSVersion.TLSv1_1,
    "tls1.2": ssl.TLSVersion.TLSv1_2,
    "tls1.3": ssl.TLSVersion.TLSv1_3,
}
_FORBID = {
    ssl.TLSVersion.SSLv3: ssl.OP_NO_SSLv3,
    ssl.TLSVersion.TLSv1: ssl.OP_NO_TLSv1,
    ssl.TLSVersion.TLSv1_1: ssl.OP_NO_TLSv1_1,
    ssl.TLSVersion.TLSv1_2: ssl.OP_NO_TLSv1_2,
    ssl.TLSVersion.TLSv1_3: ssl.OP_NO_TLSv1_3,
}
_BOUND = re.compile(r"(>=|<=)(.*)")
_SHORTEST_CACHE = 120.0
_UNARY = re.compile(r"[!+\-@]")


@frozen
class Protocols:
    """The versions that may be spoken: `lowest` to `highest` (None: no bound) without `excluded`."""

    lowest: ssl.TLSVersion | None = None
    highest: ssl.TLSVersion | None = None
    excluded: frozenset[ssl.TLSVersion] = frozenset()

    def apply(self, context: ssl.SSLContext) -> None:
        """Bounds that are not given are OpenSSL's widest: the system's own default (openssl.cnf) does not count."""
        with warnings.catch_warnings():
            # Old versions are deprecated; whether they are spoken is the administrator's decision.
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = self.lowest or ssl.TLSVersion.MINIMUM_SUPPORTED
            context.maximum_version = self.highest or ssl.TLSVersion.MAXIMUM_SUPPORTED
            for version, option in _FORBID.items():
                if version in self.excluded:
                    context.options |= option
                elif version is not ssl.TLSVersion.SSLv3 or self.lowest is version:
                    context.options &= ~option


def parse_protocols(text: str) -> Protocols:
    """Read `>=TLSv1.2, <=TLSv1.3`, `!SSLv2, !SSLv3` or `TLSv1.2 TLSv1.3`. Raises ValueError naming the bad word.

    Names that are listed exclude all others. SSLv2 is known and never spoken. Bounds may be hexadecimal: `>=0303`.
    """
    lowest = highest = None
    excluded: set[ssl.TLSVersion] = set()
    included: set[ssl.TLSVersion] = set()
    for word in re.split(r"[,\s:]+", text.strip()):
        bound = _BOUND.fullmatch(word)
        if bound and bound[1] == ">=":
            lowest = _bound(bound[2], text)
        elif bound:
            highest = _bound(bound[2], text)
        elif word:
            named = _version(word.removeprefix("!"), text)
            (excluded if word.startswith("!") else included).update({named} if named else ())
    if included:
        excluded |= _FORBID.keys() - included
    return Protocols(lowest, highest, frozenset(excluded))


def _bound(name: str, text: str) -> ssl.TLSVersion | None:
    """The version of a bound; 0 or nothing lifts it."""
    if re.fullmatch(r"(0x)?[0-9a-f]{1,4}", name, re.IGNORECASE):
        number = int(name, 16)
        if not number:
            return None
        for version in _FORBID:
            if version.value == number:
                return version
    return _version(name, text)


def _version(name: str, text: str) -> ssl.TLSVersion | None:
    key = re.sub(r"^(tls|ssl)v", r"\1", name.lower())
    key = "tls1" if key == "tls1.0" else key
    if key == "ssl2":
        return None
    try:
        return _VERSIONS[key]
    except KeyError:
        known = "SSLv3, TLSv1, TLSv1.1, TLSv1.2, TLSv1.3"
        raise ValueError(f'invalid TLS protocol "{name}" in "{text}"; known are {known}') from None


@frozen
class CipherLists:
    """The texts of tls_high_cipherlist, tls_medium_cipherlist and tls_null_cipherlist."""

    high: str
    medium: str
    null: str

    def of_grade(self, grade: str) -> str:
        """OpenSSL's list for a grade. `low` and `export` are names of the past and mean `medium` (Postfix 3.8)."""
        lists = {"high": self.high, "medium": self.medium, "null": self.null, "low": self.medium, "export": self.medium}
        try:
            return lists[grade.lower()]
        except KeyError:
            raise ValueError(f'invalid TLS cipher grade "{grade}"; expected high, medium or null') from None


def cipher_string(lists: CipherLists, grade: str, excluded: Sequence[str]) -> str:
    """OpenSSL's cipher string for a grade without `excluded`. Raises ValueError.

    The security level is 0 as in Postfix: the grade decides, not the system's level, which refuses old hosts.
    """
    for word in excluded:
        if _UNARY.match(word):
            raise ValueError(f'invalid unary "!+-@" in cipher exclusion "{word}"')
    return ":".join([lists.of_grade(grade), *(f"!{word}" for word in excluded), "@SECLEVEL=0"])


def split_exclusions(*texts: str) -> tuple[str, ...]:
    """The words of some *_exclude_ciphers."""
    return tuple(dict.fromkeys(word for text in texts for word in re.split(r"[,\s:]+", text) if word))


def session_seconds(timeout: float) -> float:
    """`*_tls_session_cache_timeout`: no less than two minutes, or 0 for no sessions at all (postconf(5))."""
    return max(timeout, _SHORTEST_CACHE) if timeout > 0 else 0.0


def set_ciphers(context: ssl.SSLContext, ciphers: str) -> None:
    """Raises ValueError where OpenSSL knows none of them."""
    try:
        context.set_ciphers(ciphers)
    except ssl.SSLError:
        raise ValueError(f'no usable TLS cipher in "{ciphers}"') from None
