"""The header fields that tell what was found out: Authentication-Results and Received-SPF (RFC 8601, RFC 7208 9.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pymta.model.address import quote_local_part
from pymta.model.authentication import (
    AuthenticationResults,
    DkimResult,
    NameResult,
    Result,
    SpfIdentity,
    SpfResult,
)

FIELD_NAME = "Authentication-Results"
_LINE = 78
# What a value may be without quotes: RFC 2045 token, and the dot-atoms and domains of RFC 8601 2.2.
_PLAIN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~@-]+")
_DOMAIN = re.compile(r"[^\s()<>,;:\\\"/\[\]?=@\x00-\x20\x7f]+")
_QUOTED_PAIR = re.compile(r'(["\\])')
_COMMENT_PAIR = re.compile(r"([()\\])")
_SIGNATURE_START = 8
# Between the field's name and the authserv-id there may be comments; more of them than this is no honest header.
_LONGEST_PREFIX = 2000


def authentication_results(results: AuthenticationResults, *, smtputf8: bool = False) -> bytes:
    """The field for the top of the header, ending in CRLF. Without anything to tell it says `none` (RFC 8601 2.2).

    Only a message that needs SMTPUTF8 anyway may get more than ASCII into its header (RFC 6532).
    """
    parts = list(_parts(results)) or ["none"]
    lines = [f"{FIELD_NAME}: {_value(results.authserv_id)};"]
    for number, part in enumerate(parts):
        lines.extend(_folded(part + (";" if number < len(parts) - 1 else "")))
    return _encoded(lines, smtputf8)


def summary(results: AuthenticationResults) -> str:
    """The same for a log line."""
    return ", ".join(_parts(results)) or "none"


def _parts(results: AuthenticationResults) -> Iterator[str]:
    if results.checks_dkim:
        yield from map(_dkim, results.dkim or (DkimResult(Result.NONE),))
    yield from map(_spf, results.spf)
    if results.name:
        yield _name(results.name)


def _dkim(result: DkimResult) -> str:
    words = [f"dkim={result.result.value}"]
    if result.reason:
        words.append(f"reason={_quoted(result.reason)}")
    elif not result.covers_body:
        words.append(f'reason="only {result.signed_length} of {result.body_length} bytes of the body are signed"')
    if result.key_bits:
        words.append(f"({result.key_bits}-bit key{', testing' if result.testing else ''})")
    properties = {
        "d": result.domain,
        "i": result.identity,
        "s": result.selector,
        "a": result.algorithm,
        "b": result.signature[:_SIGNATURE_START],
    }
    words += [f"header.{name}={_value(value)}" for name, value in properties.items() if value]
    return " ".join(words)


def _spf(result: SpfResult) -> str:
    words = [f"spf={result.result.value}"]
    if result.problem:
        words.append(f"reason={_quoted(result.problem)}")
    if result.identity is SpfIdentity.HELO:
        words.append(f"smtp.helo={_value(result.helo)}")
    else:
        words.append(f"smtp.mailfrom={_mailbox(result.sender)}")
    return " ".join(words)


def _name(result: NameResult) -> str:
    name = f" {_comment(result.name)}" if result.name else ""
    return f"iprev={result.result.value}{name} policy.iprev={_value(result.client_address)}"


def received_spf(result: SpfResult, receiver: str, *, smtputf8: bool = False) -> bytes:
    """The Received-SPF field for one check, ending in CRLF."""
    values = {
        "client-ip": result.client_address,
        "envelope-from": _quoted(result.sender) if result.identity is SpfIdentity.MAIL_FROM else "",
        "helo": _spf_value(result.helo),
        "receiver": _spf_value(receiver),
        "identity": result.identity.value,
        "mechanism": _spf_value(result.mechanism),
        "problem": _quoted(result.problem) if result.problem else "",
    }
    pairs = [f"{name}={value};" for name, value in values.items() if value]
    pairs[-1] = pairs[-1].removesuffix(";")
    comment = _comment(f"{receiver}: {_said(result)}")
    return _encoded([f"Received-SPF: {result.result.value} {comment}", *_folded(" ".join(pairs))], smtputf8)


def _said(result: SpfResult) -> str:
    """The comment's sentence, in the words of RFC 7208 9.1's example where it has them."""
    who = result.sender if result.identity is SpfIdentity.MAIL_FROM else result.helo
    domain, address = f"domain of {who}", result.client_address
    return {
        Result.PASS: f"{domain} designates {address} as permitted sender",
        Result.FAIL: f"{domain} does not designate {address} as permitted sender",
        Result.SOFTFAIL: f"transitioning {domain} does not designate {address} as permitted sender",
        Result.NEUTRAL: f"{address} is neither permitted nor denied by {domain}",
        Result.NONE: f"{domain} does not designate permitted sender hosts",
        Result.TEMPERROR: f"error in processing during lookup of {who}",
        Result.PERMERROR: f"permanent error in processing {domain}",
    }[result.result]


# Whose field it is.


def is_from(value: bytes, authserv_id: str) -> bool:
    """Whether an Authentication-Results value, whatever else is wrong with it, claims to be by `authserv_id`.

    Comments, folding, quotes, a version, another case and a final dot do not hide the name (RFC 8601 5).
    """
    text = value[:_LONGEST_PREFIX].decode("utf-8", "replace")
    found = _unquoted(_without_comment(text))
    return found.removesuffix(".").lower() == authserv_id.removesuffix(".").lower()


def _without_comment(text: str) -> str:
    """`text` behind leading blanks and comments; a comment that does not end hides the rest."""
    text = text.lstrip()
    while text.startswith("("):
        depth, position = 0, 0
        while position < len(text):
            character = text[position]
            position += 2 if character == "\\" else 1
            depth += (character == "(") - (character == ")")
            if not depth:
                break
        else:
            return ""
        text = text[position:].lstrip()
    return text


def _unquoted(text: str) -> str:
    if text.startswith('"'):
        match = re.match(r'"((?:[^"\\]|\\.)*)"', text, re.DOTALL)
        return re.sub(r"\\(.)", r"\1", match[1]) if match else ""
    match = _DOMAIN.match(text)
    return match[0] if match else ""


# Spelling.


def _value(text: str) -> str:
    return (
        text if _PLAIN.fullmatch(text) or (text and not text.isascii() and _DOMAIN.fullmatch(text)) else _quoted(text)
    )


def _spf_value(text: str) -> str:
    return text and _value(text)


def _mailbox(mailbox: str) -> str:
    local_part, _, domain = mailbox.rpartition("@")
    if not _DOMAIN.fullmatch(domain):
        return _quoted(mailbox)
    return f"{_shown(quote_local_part(local_part))}@{domain}"


def _quoted(text: str) -> str:
    return '"' + _QUOTED_PAIR.sub(r"\\\1", _shown(text)) + '"'


def _comment(text: str) -> str:
    return "(" + _COMMENT_PAIR.sub(r"\\\1", _shown(text)) + ")"


def _shown(text: str) -> str:
    """Without what could end a line or confuse a reader."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _folded(text: str) -> Iterator[str]:
    """Continuation lines; a word that is longer than a line stays whole."""
    line = ""
    for word in text.split(" "):
        if line and len(line) + len(word) + 2 > _LINE:
            yield f"\t{line}"
            line = word
        else:
            line = f"{line} {word}" if line else word
    yield f"\t{line}"


def _encoded(lines: list[str], smtputf8: bool) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode("utf-8" if smtputf8 else "ascii", "replace")
