"""What MAIL, RCPT and VRFY say: paths and ESMTP parameters (RFC 5321 4.1.2, RFC 3461 4, RFC 6531 3.4).

Paths are read as leniently as Postfix reads them, because real clients need it: without brackets, with comments,
with source routes; `strict_rfc821_envelopes` takes that away. Every pattern here runs in linear time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

from pymta.model.address import NULL_SENDER, Address
from pymta.model.envelope import Body, Notify, Ret
from pymta.model.frozen import frozen
from pymta.model.reply import Reply

# No group is repeated possessively: before 3.11.5 Python loses its place where the last round fails.
_QUOTED = r'"[^"\\]*(?:\\.[^"\\]*)*"'
_PATH = re.compile(
    rf'(?>(?:<(?:\\.|{_QUOTED}|[^>\\"])*>|{_QUOTED}|\\.|\[[^\s\]]*\]|[^\s<"\\\[])+)(?=\s|\Z)',
    re.DOTALL,
)
_PLAIN = re.compile(
    r"<([A-Za-z0-9!#$%&'*+/=?^_`{|}~][A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]*)@([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)>"
)
_PIECE = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"|\\(.)|(\[[^\]]*\])|([^"\\\[])', re.DOTALL)
_BACKSLASH = re.compile(r"\\(.)", re.DOTALL)
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_\x80-\U0010ffff-]{1,63}(?<!-)")
_HEX = re.compile(r"\+(?![0-9A-Fa-f]{2})")
_SPECIAL = frozenset('<>,;()"\\[]')
_MAX_SIZE = (1 << 63) - 1
_MAX_DOMAIN = 255


@frozen
class PathRules:
    """`strict_rfc821_envelopes`, `allow_min_user` and `smtputf8_enable`."""

    strict: bool = False
    allow_min_user: bool = False
    utf8: bool = True


def split_path(text: str) -> tuple[str, list[str]] | None:
    """The path and the parameters behind it; None where quotes or brackets are left open."""
    text = text.lstrip()
    match = _PATH.match(text)
    return (match[0], text[match.end() :].split()) if match else None


def plain_path(text: str) -> Address | None:
    """The address in a path as nearly all are, `<local@domain>`; None for any other, and where more follows."""
    plain = _PLAIN.fullmatch(text)
    return Address(plain[1], plain[2]) if plain and valid_domain(plain[2]) else None


def parse_path(path: str, rules: PathRules) -> Address | None:
    """The address in `path`, NULL_SENDER for `<>`, None where it is not one (RFC 5321 4.1.2)."""
    if plain := plain_path(path):
        return plain
    if path == "<>":
        return NULL_SENDER
    if rules.strict and not (path.startswith("<") and path.endswith(">")):
        return None
    if not rules.utf8 and not path.isascii():
        return None
    return _lenient_path(path, rules)


def _lenient_path(path: str, rules: PathRules) -> Address | None:
    pieces = _pieces(path)
    if pieces is None:
        return None
    bare = _without_comments(pieces)
    if bare is None or (rules.strict and len(bare) != len(pieces)):
        return None
    bare = _without_route(_without_brackets(bare))
    if any(not quoted and (text in _SPECIAL or text.isspace()) for text, quoted in bare):
        return None
    address = _split_address(bare)
    return address if address and _acceptable(address, rules) else None


_Piece = tuple[str, bool]


def _pieces(path: str) -> list[_Piece] | None:
    """Characters, and quoted strings and literals whole; the flag tells that quotes protect the text."""
    pieces: list[_Piece] = []
    position = 0
    while position < len(path):
        match = _PIECE.match(path, position)
        if not match:
            return None
        position = match.end()
        quoted, escaped, literal, character = match.groups()
        if quoted is not None:
            pieces.append((_BACKSLASH.sub(r"\1", quoted), True))
        elif escaped is not None:
            pieces.append((escaped, True))
        else:
            pieces.append((literal or character, False))
    return pieces


def _without_comments(pieces: list[_Piece]) -> list[_Piece] | None:
    """RFC 822 comments taken out, nested ones too; None where parentheses do not match."""
    kept: list[_Piece] = []
    depth = 0
    for piece in pieces:
        if piece == ("(", False):
            depth += 1
        elif piece == (")", False):
            depth -= 1
            if depth < 0:
                return None
        elif not depth:
            kept.append(piece)
    return None if depth else kept


def _without_brackets(pieces: list[_Piece]) -> list[_Piece]:
    """Surrounding angle brackets taken off; a lone closing one is forgiven."""
    while len(pieces) > 1 and pieces[0] == ("<", False) and pieces[-1] == (">", False):
        pieces = pieces[1:-1]
    if pieces and pieces[-1] == (">", False) and ("<", False) not in pieces:
        return pieces[:-1]
    return pieces


def _without_route(pieces: list[_Piece]) -> list[_Piece]:
    """`@a,@b:user@c` means `user@c` (RFC 5321 appendix C)."""
    if pieces and pieces[0] == ("@", False) and (":", False) in pieces:
        return pieces[pieces.index((":", False)) + 1 :]
    return pieces


def _split_address(pieces: list[_Piece]) -> Address | None:
    at = next((place for place in reversed(range(len(pieces))) if pieces[place] == ("@", False)), None)
    if at is None:
        return Address("".join(text for text, _ in pieces))
    domain = pieces[at + 1 :]
    if not domain or any(quoted for _, quoted in domain):
        return None
    return Address("".join(text for text, _ in pieces[:at]), "".join(text for text, _ in domain))


def _acceptable(address: Address, rules: PathRules) -> bool:
    local_part = address.local_part
    if any(character < " " or character == "\x7f" for character in local_part):
        return False
    if local_part.startswith("-") and not rules.allow_min_user:
        return False
    if not address or (rules.strict and not local_part):
        return False
    return not address.domain or valid_domain(address.domain)


@lru_cache(maxsize=4096)
def valid_domain(domain: str) -> bool:
    """Whether `domain` is a host name or an address literal; one dot at its end is forgiven."""
    if domain.startswith("["):
        return domain.endswith("]") and _valid_literal(domain[1:-1])
    labels = domain.removesuffix(".").split(".")
    if len(domain) > _MAX_DOMAIN or not all(map(_LABEL.fullmatch, labels)):
        return False
    return not all(label.isdecimal() for label in labels)


def _valid_literal(text: str) -> bool:
    try:
        if text[:5].lower() == "ipv6:":
            IPv6Address(text[5:])
        else:
            IPv4Address(text)
    except ValueError:
        return False
    return True


@frozen
class MailParameters:
    """What follows the path of MAIL. `envid` and `auth` are byte for byte as they came, `AUTH=<>` is empty."""

    size: int | None = None
    body: Body | None = None
    smtputf8: bool = False
    ret: Ret | None = None
    envid: str = ""
    auth: str = ""


@frozen
class RcptParameters:
    """What follows the path of RCPT. `orcpt` is byte for byte as it came."""

    notify: Notify = Notify.DEFAULT
    orcpt: str = ""


_NO_MAIL_PARAMETERS = MailParameters()
_NO_RCPT_PARAMETERS = RcptParameters()
NO_DSN = Reply.of(501, "DSN support is disabled", "5.7.1")


def parse_mail_parameters(words: list[str], *, dsn: bool = True, utf8: bool = True) -> MailParameters | Reply:
    """The parameters of MAIL, or the refusal of the first that is wrong."""
    if not words:
        return _NO_MAIL_PARAMETERS
    found: dict[str, object] = {}
    for word in words:
        name, equals, value = word.partition("=")
        read = _MAIL.get(name.upper() + equals)
        if read is None or (read is _read_smtputf8 and not utf8):
            return _unsupported(word)
        problem = NO_DSN if not dsn and read in _DSN_ONLY else read(value, found)
        if problem is not None:
            return _unsupported(word) if problem is _UNSUPPORTED else problem
    return MailParameters(**found)  # type: ignore[arg-type]  # the readers put each field in its type


def parse_rcpt_parameters(words: list[str], *, dsn: bool = True) -> RcptParameters | Reply:
    """The parameters of RCPT, or the refusal of the first that is wrong."""
    if not words:
        return _NO_RCPT_PARAMETERS
    found: dict[str, object] = {}
    for word in words:
        name, equals, value = word.partition("=")
        read = _RCPT.get(name.upper() + equals)
        if read is None:
            return _unsupported(word)
        problem = NO_DSN if not dsn else read(value, found)
        if problem is not None:
            return problem
    return RcptParameters(**found)  # type: ignore[arg-type]  # as above


def _unsupported(word: str) -> Reply:
    return Reply.of(555, f"Unsupported option: {word}", "5.5.4")


_Reader = Callable[[str, dict[str, object]], Reply | None]
_UNSUPPORTED = Reply.of(555, "Unsupported option", "5.5.4")


def _read_size(value: str, found: dict[str, object]) -> Reply | None:
    if not (value.isascii() and value.isdecimal()):
        return Reply.of(501, "Bad message size syntax", "5.5.4")
    if len(value) > 20 or int(value) > _MAX_SIZE:
        return Reply.of(552, "Message size exceeds file system imposed limit", "5.3.4")
    found["size"] = int(value)
    return None


def _read_body(value: str, found: dict[str, object]) -> Reply | None:
    bodies = {"7BIT": Body.SEVEN_BIT, "8BITMIME": Body.EIGHT_BIT_MIME}
    if value.upper() not in bodies:
        return _UNSUPPORTED
    found["body"] = bodies[value.upper()]
    return None


def _read_smtputf8(value: str, found: dict[str, object]) -> Reply | None:
    found["smtputf8"] = True
    return None


def _read_auth(value: str, found: dict[str, object]) -> Reply | None:
    """RFC 4954 5: who the client says submitted the message. Kept for the log and for delivered commands only."""
    if not value or not _is_xtext(value):
        return Reply.of(501, "Bad AUTH parameter syntax", "5.5.4")
    found["auth"] = "" if value == "<>" else value
    return None


def _read_ret(value: str, found: dict[str, object]) -> Reply | None:
    if "ret" in found or value.upper() not in Ret.__members__:
        return Reply.of(501, "Bad RET parameter syntax", "5.5.4")
    found["ret"] = Ret[value.upper()]
    return None


def _read_envid(value: str, found: dict[str, object]) -> Reply | None:
    if "envid" in found or not value or not _is_xtext(value):
        return Reply.of(501, "Bad ENVID parameter syntax", "5.5.4")
    found["envid"] = value
    return None


def _read_notify(value: str, found: dict[str, object]) -> Reply | None:
    notify = parse_notify(value)
    if "notify" in found or notify is None:
        return Reply.of(501, "Error: Bad NOTIFY parameter syntax", "5.5.4")
    found["notify"] = notify
    return None


def _read_orcpt(value: str, found: dict[str, object]) -> Reply | None:
    kind, semicolon, address = value.partition(";")
    if "orcpt" in found or not kind or not semicolon or _HEX.search(address):
        return Reply.of(501, "Error: Bad ORCPT parameter syntax", "5.5.4")
    found["orcpt"] = value
    return None


_MAIL: dict[str, _Reader] = {
    "SIZE=": _read_size,
    "BODY=": _read_body,
    "SMTPUTF8": _read_smtputf8,
    "AUTH=": _read_auth,
    "RET=": _read_ret,
    "ENVID=": _read_envid,
}
_RCPT: dict[str, _Reader] = {"NOTIFY=": _read_notify, "ORCPT=": _read_orcpt}
_DSN_ONLY = (_read_ret, _read_envid)


def parse_notify(value: str) -> Notify | None:
    """`SUCCESS,FAILURE` and the like (RFC 3461 4.1); NEVER stands alone."""
    words = [word.upper() for word in value.split(",") if word]
    if not words or any(word not in Notify.__members__ or word == "DEFAULT" for word in words):
        return None
    notify = Notify.DEFAULT
    for word in words:
        notify |= Notify[word]
    return None if Notify.NEVER in notify and notify != Notify.NEVER else notify


def _is_xtext(value: str) -> bool:
    """Printable ASCII in which each `+` begins two hexadecimal digits (RFC 3461 4), as leniently as Postfix."""
    return value.isascii() and value.isprintable() and not _HEX.search(value)
