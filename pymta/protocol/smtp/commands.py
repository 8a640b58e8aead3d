"""The commands of the SMTP server, one row each (RFC 5321 4.1.1, RFC 3030); replies as Postfix words them.

A row says what is legal (`check`), who decides (`stage`) and what happens then (`proceed`). STARTTLS, ETRN,
XCLIENT and XFORWARD are further rows: the session knows no verb by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pymta.model.access import Stage
from pymta.model.address import Address
from pymta.model.envelope import Recipient
from pymta.model.frozen import frozen
from pymta.model.reply import Reply
from pymta.protocol.smtp.grammar import (
    RcptParameters,
    parse_mail_parameters,
    parse_path,
    parse_rcpt_parameters,
    plain_path,
    split_path,
)
from pymta.protocol.smtp.server_auth import begin_auth, check_auth
from pymta.protocol.smtp.server_content import Chunk
from pymta.protocol.smtp.server_log import note_bad_address, note_bdat

if TYPE_CHECKING:
    from pymta.protocol.smtp.server import ServerSession

OK = Reply.of(250, "Ok", "2.0.0")
_MAIL_OK = Reply.of(250, "Ok", "2.1.0")
_RCPT_OK = Reply.of(250, "Ok", "2.1.5")
_MAIL_SYNTAX = Reply.of(501, "Syntax: MAIL FROM:<address>", "5.5.4")
_RCPT_SYNTAX = Reply.of(501, "Syntax: RCPT TO:<address>", "5.5.4")
_VRFY_SYNTAX = Reply.of(501, "Syntax: VRFY address [SMTPUTF8]", "5.5.4")
_BAD_SENDER = Reply.of(501, "Bad sender address syntax", "5.1.7")
_BAD_RECIPIENT = Reply.of(501, "Bad recipient address syntax", "5.1.3")
_TOO_MANY_RECIPIENTS = Reply.of(452, "Error: too many recipients", "4.5.3")
_TOO_BIG = Reply.of(552, "Message size exceeds fixed limit", "5.3.4")
_UNDECLARED_UTF8 = Reply.of(553, "Must declare SMTPUTF8 to send unicode address", "5.6.7")
_FROM = re.compile(r"FROM:", re.IGNORECASE)
_TO = re.compile(r"TO:", re.IGNORECASE)
_BDAT = re.compile(r"([0-9]{1,19})(\s+LAST)?\s*", re.IGNORECASE)
_NEEDS_NEUTERING = re.compile(r'[<>()\\";:@]')
_NEUTERED = str.maketrans(dict.fromkeys('<>()\\";:@', "?"))


class Given:
    """A path and parameters as parsed; `said` is what the client wrote, `address` the same completed."""

    __slots__ = ("address", "parameters", "said")

    def __init__(self, address: Address, parameters: Any = None) -> None:
        self.said = address
        self.address = address
        self.parameters = parameters


@frozen
class Command:
    """One verb.

    `check` gives the refusal or what was parsed; a `Given` has its address completed, `stage` asks for a
    decision, `proceed` acts and answers. Commands that mail needs not are `is_junk` (`smtpd_junk_command_limit`);
    behind one that `ends_group` a client must wait for the reply (RFC 2920 3.1). `works_when_denied` marks the
    one that a client refused at connect may still use, `works_without_tls` those that need not wait for TLS.
    Where commands of this verb are limited per time unit, `counts` tells which: all but those out of order, however
    malformed.
    """

    verb: str
    check: Callable[[ServerSession, str], Any]
    proceed: Callable[[ServerSession, Any], None]
    stage: Stage | None = None
    is_junk: bool = False
    ends_group: bool = False
    works_when_denied: bool = False
    works_without_tls: bool = False
    counts: Callable[[ServerSession], bool] = lambda session: True


def _no_check(session: ServerSession, argument: str) -> str:
    return argument


def _check_hello(session: ServerSession, argument: str) -> Reply | str:
    name = " ".join(argument.split())
    if not name:
        return Reply.of(501, f"Syntax: {session.verb} hostname")
    if name.isprintable():
        return name
    return "".join(character if character.isprintable() else "?" for character in name)


def _helo(session: ServerSession, name: str) -> None:
    session.greet(_neutered(name), "SMTP")
    session.succeed(Reply.of(250, session.options.myhostname))


def _ehlo(session: ServerSession, name: str) -> None:
    session.greet(_neutered(name), "ESMTP")
    session.succeed(session.options.ehlo_reply(session.security_offers()))


def _neutered(name: str) -> str:
    """A HELO name that cannot be taken for header syntax in Received."""
    if not _NEEDS_NEUTERING.search(name) or name.lower().startswith("[ipv6:"):
        return name
    return name.translate(_NEUTERED)


def _may_begin(session: ServerSession) -> bool:
    if session.options.helo_required and session.helo_name is None:
        return False
    return session.transaction.sender is None


def _check_mail(session: ServerSession, argument: str) -> Reply | Given:
    options = session.options
    if options.helo_required and session.helo_name is None:
        return Reply.of(503, "Error: send HELO/EHLO first", "5.5.1")
    if session.transaction.sender is not None:
        return Reply.of(503, "Error: nested MAIL command", "5.5.1")
    given = _parse_path(session, argument, _FROM, _MAIL_SYNTAX, _BAD_SENDER)
    if isinstance(given, Reply):
        return given
    found = parse_mail_parameters(given.parameters, dsn=options.offers("DSN"), utf8=session.takes_utf8)
    if isinstance(found, Reply):
        return found
    given.parameters = found
    if options.message_size_limit and (found.size or 0) > options.message_size_limit:
        session.note_reject("MAIL", str(_TOO_BIG), sender=given.address)
        return _TOO_BIG
    # Whoever decides about MAIL wants to know them, too.
    session.transaction.parameters = found
    return _declared(session, given, found.smtputf8)


def _mail(session: ServerSession, given: Given) -> None:
    session.transaction.begin(given.address, given.parameters)
    if session.client.sasl_sender != given.parameters.auth:
        session.client = replace(session.client, sasl_sender=given.parameters.auth)
    session.succeed(_MAIL_OK)


def _takes_recipients(session: ServerSession) -> bool:
    return session.transaction.sender is not None and not session.transaction.has_chunks


def _check_rcpt(session: ServerSession, argument: str) -> Reply | Given:
    transaction = session.transaction
    if transaction.sender is None:
        return Reply.of(503, "Error: need MAIL command", "5.5.1")
    if transaction.has_chunks:
        return Reply.of(503, "Error: RCPT after BDAT", "5.5.1")
    given = _parse_path(session, argument, _TO, _RCPT_SYNTAX, _BAD_RECIPIENT)
    if isinstance(given, Reply):
        return given
    if given.address.is_null:
        note_bad_address(session, argument.partition(":")[2].strip())
        return _BAD_RECIPIENT
    found = parse_rcpt_parameters(given.parameters, dsn=session.options.offers("DSN"))
    if isinstance(found, Reply):
        return found
    given.parameters = found
    return _declared(session, given, transaction.parameters.smtputf8)


def _rcpt(session: ServerSession, given: Given) -> None:
    transaction = session.transaction
    parameters: RcptParameters = given.parameters
    transaction.recipients.append(Recipient(given.address, given.address, parameters.notify, parameters.orcpt))
    transaction.said = given.said
    if not transaction.queue_id:
        session.assign_queue_id()
    session.succeed(_RCPT_OK)


def _limit_recipients(session: ServerSession, argument: str) -> Reply | Given | None:
    """RCPT behind `smtpd_recipient_limit`; a few more are forgiven, as RFC 5321 4.5.3.1.10 asks, then they count."""
    given = _check_rcpt(session, argument)
    if isinstance(given, Reply) or len(session.transaction.recipients) < session.options.recipient_limit:
        return given
    if session.transaction.overshoot >= session.options.recipient_overshoot_limit:
        return _TOO_MANY_RECIPIENTS
    session.transaction.overshoot += 1
    session.succeed(_TOO_MANY_RECIPIENTS)
    return None


def _parse_path(
    session: ServerSession, argument: str, keyword: re.Pattern[str], syntax: Reply, bad: Reply
) -> Reply | Given:
    match = keyword.match(argument)
    text = argument[match.end() :].strip() if match else ""
    if not text:
        return syntax
    if plain := plain_path(text):
        return Given(plain, [])
    split = split_path(text)
    address = parse_path(split[0], session.options.paths) if split else None
    if not split or address is None:
        note_bad_address(session, split[0] if split else text)
        return bad
    return Given(address, split[1])


def _declared(session: ServerSession, given: Given, smtputf8: bool) -> Reply | Given:
    if session.options.strict_smtputf8 and not smtputf8 and not given.address.is_ascii:
        return _UNDECLARED_UTF8
    return given


def _check_data(session: ServerSession, argument: str) -> Reply | object:
    if session.transaction.has_chunks:
        return Reply.of(503, "Error: DATA after BDAT", "5.5.1")
    missing = _missing_recipients(session)
    if missing:
        return missing
    return Reply.of(501, "Syntax: DATA", "5.5.4") if argument.strip() else _NOTHING


def _missing_recipients(session: ServerSession) -> Reply | None:
    if session.transaction.recipients:
        return None
    if session.transaction.sender is not None:
        return Reply.of(554, "Error: no valid recipients", "5.5.1")
    return Reply.of(503, "Error: need RCPT command", "5.5.1")


def _data(session: ServerSession, nothing: object) -> None:
    session.message.open_draft(session.message.start_data)


def _check_bdat(session: ServerSession, argument: str) -> Chunk | None:
    """Only syntax ends in a refusal at once; all others first swallow the chunk that is on its way."""
    if not session.options.offers("CHUNKING"):
        session.give_up(Reply.of(521, "Error: command not implemented", "5.5.1"))
        return None
    match = _BDAT.fullmatch(argument)
    if not match or int(match[1]) > (1 << 63) - 1:
        note_bdat(session, f"malformed BDAT command syntax from {session.label}: BDAT {argument}"[:200].rstrip())
        session.give_up(Reply.of(521, "Syntax: BDAT count [LAST]", "5.5.4"))
        return None
    return Chunk(int(match[1]), bool(match[2]))


def _bdat(session: ServerSession, chunk: Chunk) -> None:
    chunk.failure = _bad_chunk(session, chunk)
    if chunk.failure:
        session.transaction.chunks_failed = session.transaction.sender is not None
        session.message.start_chunk(chunk)
    elif session.transaction.has_chunks:
        session.message.start_chunk(chunk)
    else:
        session.message.decide_chunk(chunk)


def _bad_chunk(session: ServerSession, chunk: Chunk) -> Reply | None:
    transaction = session.transaction
    if transaction.chunks_failed:
        return Reply.of(551, f"Discarded {chunk.size} bytes after earlier error", "5.0.0")
    missing = _missing_recipients(session)
    if missing:
        return missing
    if not chunk.size and not chunk.is_last:
        note_bdat(session, f"null BDAT request from {session.label}")
        return Reply.of(551, "Null BDAT request", "5.7.1")
    limit = session.options.message_size_limit
    if limit and session.message.size + chunk.size > limit:
        note_bdat(session, f"BDAT request from {session.label} exceeds message size limit")
        return Reply.of(552, "Chunk exceeds message size limit", "5.3.4")
    return None


def _check_rset(session: ServerSession, argument: str) -> Reply | object:
    return Reply.of(501, "Syntax: RSET", "5.5.4") if argument.strip() else _NOTHING


def _rset(session: ServerSession, nothing: object) -> None:
    session.reset_transaction()
    session.succeed(OK)


def _noop(session: ServerSession, argument: str) -> None:
    session.succeed(OK)


def _check_vrfy(session: ServerSession, argument: str) -> Reply | Given:
    if session.options.disable_vrfy_command:
        return Reply.of(502, "VRFY command is disabled", "5.5.1")
    if not argument.strip():
        return _VRFY_SYNTAX
    split = split_path(argument)
    words = split[1] if split else []
    if words and words[-1].upper() == "SMTPUTF8" and session.takes_utf8:
        words = words[:-1]
    address = parse_path(split[0], session.options.paths) if split and not words else None
    if not split or address is None or address.is_null:
        note_bad_address(session, argument.strip())
        return _BAD_RECIPIENT
    return Given(address, split[0])


def _vrfy(session: ServerSession, given: Given) -> None:
    session.succeed(Reply.of(252, given.parameters, "2.0.0"))


def _help(session: ServerSession, argument: str) -> None:
    session.succeed(Reply.of(214, f"Commands: {' '.join(session.verbs)}", "2.0.0"))


def _quit(session: ServerSession, argument: str) -> None:
    session.succeed(Reply.of(221, "Bye", "2.0.0"))
    session.close()


_NOTHING = object()

COMMANDS = (
    Command("HELO", _check_hello, _helo, Stage.HELO, is_junk=True, ends_group=True, works_without_tls=True),
    Command("EHLO", _check_hello, _ehlo, Stage.HELO, is_junk=True, ends_group=True, works_without_tls=True),
    Command("AUTH", check_auth, begin_auth),
    Command("MAIL", _check_mail, _mail, Stage.MAIL, counts=_may_begin),
    Command("RCPT", _limit_recipients, _rcpt, Stage.RCPT, counts=_takes_recipients),
    Command("DATA", _check_data, _data, Stage.DATA, ends_group=True),
    Command("BDAT", _check_bdat, _bdat),
    Command("RSET", _check_rset, _rset, is_junk=True),
    Command("NOOP", _no_check, _noop, is_junk=True, ends_group=True, works_without_tls=True),
    Command("VRFY", _check_vrfy, _vrfy, Stage.VRFY, is_junk=True, ends_group=True),
    Command("HELP", _no_check, _help, is_junk=True, ends_group=True, works_without_tls=True),
    Command("QUIT", _no_check, _quit, works_when_denied=True, works_without_tls=True),
)
"""In the order in which the `disconnect` line counts them."""


@frozen
class CommandTable:
    """The rows of one server: by verb, and their verbs in order."""

    by_verb: Mapping[str, Command]
    verbs: tuple[str, ...]


def command_table(commands: Sequence[Command]) -> CommandTable:
    rows = {command.verb: command for command in commands}
    return CommandTable(rows, tuple(rows))
