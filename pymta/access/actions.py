"""What access(5) results do."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from pymta.access.decision import Decision, Outcome, Refusal
from pymta.access.subject import Subject, fitting_status
from pymta.model.access import EffectKind, Stage
from pymta.model.reply import split_status

_HEADER = re.compile(r"[!-9;-~]+[ \t]*:")
_MAX_DEPTH = 100


class Entry(NamedTuple):
    """One result: what it was found for, in which table under which key, its first word and the rest."""

    about: Subject
    table: str
    key: str
    action: str = ""
    text: str = ""


RunList = Callable[[Decision, str], Awaitable[Outcome]]
"""Run a result that is a list of restrictions; raises ConfigError where it is none."""


async def apply(decision: Decision, entry: Entry, value: str, run_list: RunList) -> Outcome:
    """Act on the result `value`; it is taken apart into `entry.action` and `entry.text` here."""
    word, _, rest = value.strip().partition(" ")
    action = _ACTIONS.get(word.upper())
    entry = entry._replace(action=word, text=rest.strip())
    if action is not None:
        return await action(decision, entry)
    if value.isdecimal():
        # Left by tools that authorize relaying by address and keep a time stamp here.
        return await _ok(decision, entry)
    if len(word) == 3 and word.isdecimal() and word[0] in "45" and entry.text:
        return _refuse(decision, entry, int(word), f"{word[0]}.7.1")
    return await _run(decision, entry, value, run_list)


async def _run(decision: Decision, entry: Entry, value: str, run_list: RunList) -> Outcome:
    if ":" in value:
        return decision.server_error(
            f"access table {entry.table} has entry with lookup table: {value}",
            "do not specify lookup tables inside SMTPD access maps",
            "define a restriction class and specify its name instead.",
        )
    if decision.depth >= _MAX_DEPTH:
        return decision.server_error(f"access table {entry.table} entry {entry.key} causes unreasonable recursion")
    saved, decision.subject = decision.subject, entry.about
    decision.depth += 1
    try:
        return await run_list(decision, value)
    finally:
        decision.depth -= 1
        decision.subject = saved


def _refuse(decision: Decision, entry: Entry, code: int, default: str, generic: str = "") -> Outcome:
    return decision.reject(*_refusal(decision, entry, code, default, generic))


def _refusal(decision: Decision, entry: Entry, code: int, default: str, generic: str = "") -> Refusal:
    status, text = split_status(entry.text)
    fitting = fitting_status(status or default, entry.about.kind)
    if status and fitting != status:
        decision.environment.log.info(f"mapping DSN status {status} into {entry.about.kind.value} status {fitting}")
    return Refusal(code, fitting, entry.about.rejected(text or generic))


# --- accepting ---


async def _ok(decision: Decision, entry: Entry) -> Outcome:
    return await decision.permit(entry.action, lambda _: entry.about, f"from {entry.table}")


async def _dunno(decision: Decision, entry: Entry) -> Outcome:
    return Outcome.DUNNO


# --- refusing ---


async def _reject(decision: Decision, entry: Entry) -> Outcome:
    return _refuse(decision, entry, decision.settings.access_map_reject_code, "5.7.1", "Access denied")


async def _defer(decision: Decision, entry: Entry) -> Outcome:
    return _refuse(decision, entry, decision.settings.access_map_defer_code, "4.7.1", "Access denied")


async def _defer_if_permit(decision: Decision, entry: Entry) -> Outcome:
    code = decision.settings.access_map_defer_code
    refusal = _refusal(decision, entry, code, "4.7.1", "Service unavailable")
    return decision.defer_unless_rejected("defer_if_permit", refusal)


async def _defer_if_reject(decision: Decision, entry: Entry) -> Outcome:
    code = decision.settings.access_map_defer_code
    return decision.defer_unless_permitted(_refusal(decision, entry, code, "4.7.1", "Service unavailable"))


async def _hangup(decision: Decision, entry: Entry) -> Outcome:
    """Close the connection. Postfix does so without a word; a client takes that as this 421."""
    decision.note("hangup", entry.text)
    return decision.hang_up()


# --- noting ---


async def _warn(decision: Decision, entry: Entry) -> Outcome:
    decision.note("warn", entry.text)
    return Outcome.DUNNO


async def _info(decision: Decision, entry: Entry) -> Outcome:
    decision.note("info", entry.text)
    return Outcome.DUNNO


# --- changing the message ---


async def _discard(decision: Decision, entry: Entry) -> Outcome:
    if not _has_message(decision, entry, "DISCARD"):
        return Outcome.DUNNO
    decision.note("discard", entry.about.noted(entry.text or "triggers DISCARD action"))
    decision.effect(EffectKind.DISCARD)
    return await _ok(decision, entry)


async def _hold(decision: Decision, entry: Entry) -> Outcome:
    if _has_message(decision, entry, "HOLD"):
        decision.note("hold", entry.about.noted(entry.text or "triggers HOLD action"))
        decision.effect(EffectKind.HOLD)
    return Outcome.DUNNO


async def _filter(decision: Decision, entry: Entry) -> Outcome:
    log = decision.environment.log
    if not entry.text:
        log.warning(f'access table {entry.table} entry "{entry.key}" has FILTER entry without value')
    elif ":" not in entry.text:
        log.warning(f'access table {entry.table} entry "{entry.key}" requires transport:destination')
    elif _has_message(decision, entry, "FILTER"):
        decision.note("filter", entry.about.noted(f"triggers FILTER {entry.text}"))
        decision.effect(EffectKind.FILTER, entry.text)
    return Outcome.DUNNO


async def _redirect(decision: Decision, entry: Entry) -> Outcome:
    return _to_address(decision, entry, "REDIRECT", EffectKind.REDIRECT)


async def _bcc(decision: Decision, entry: Entry) -> Outcome:
    return _to_address(decision, entry, "BCC", EffectKind.BCC)


def _to_address(decision: Decision, entry: Entry, action: str, kind: EffectKind) -> Outcome:
    if "@" not in entry.text:
        warning = f'access table {entry.table} entry "{entry.key}" requires user@domain target'
        decision.environment.log.warning(warning)
    elif _has_message(decision, entry, action):
        decision.note(action.lower(), entry.about.noted(f"triggers {action} {entry.text}"))
        decision.effect(kind, entry.text)
    return Outcome.DUNNO


async def _prepend(decision: Decision, entry: Entry) -> Outcome:
    log = decision.environment.log
    if decision.context.stage is Stage.END_OF_DATA:
        log.warning(f"access table {entry.table}: action PREPEND must be used before smtpd_end_of_data_restrictions")
    elif not _HEADER.match(entry.text):
        log.warning(f'access table {entry.table} entry "{entry.key}" requires header: text')
    elif _has_message(decision, entry, "PREPEND"):
        decision.effect(EffectKind.PREPEND, entry.text)
    return Outcome.DUNNO


def _has_message(decision: Decision, entry: Entry, action: str) -> bool:
    """Before MAIL there is no message that an action could change."""
    if decision.context.sender is not None:
        return True
    delayed = "yes" if decision.settings.smtpd_delay_reject else "no"
    decision.environment.log.warning(
        f"access table {entry.table}: with smtpd_delay_reject={delayed}, "
        f"action {action} is always skipped in client, helo or etrn restrictions"
    )
    return False


_ACTIONS: dict[str, Callable[[Decision, Entry], Awaitable[Outcome]]] = {
    "OK": _ok,
    "RELAY": _ok,
    "DUNNO": _dunno,
    "REJECT": _reject,
    "DEFER": _defer,
    "DEFER_IF_PERMIT": _defer_if_permit,
    "DEFER_IF_REJECT": _defer_if_reject,
    "HANGUP": _hangup,
    "WARN": _warn,
    "INFO": _info,
    "DISCARD": _discard,
    "HOLD": _hold,
    "FILTER": _filter,
    "REDIRECT": _redirect,
    "BCC": _bcc,
    "PREPEND": _prepend,
}
