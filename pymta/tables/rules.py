"""The rule files of `regexp:`, `pcre:` and `cidr:`: conditions, nesting, and where their text comes from."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from pymta.errors import ConfigError
from pymta.model.frozen import frozen
from pymta.ports import Log
from pymta.tables.entries import decode
from pymta.tables.text import BraceError, Line, logical_lines, split_list, strip_braces
from pymta.tables.watch import Unusable, WatchedFile

_KEYWORD = re.compile(r"(if|endif)(?![A-Za-z0-9])", re.IGNORECASE)

S = TypeVar("S")
S_contra = TypeVar("S_contra", contravariant=True)


class RuleRefused(ValueError):
    """A rule that is left out; the text is Postfix's, without `skipping this rule`."""


class NotARule(RuleRefused):
    """A line that is left out because it is no rule at all."""


class Condition(Protocol[S_contra]):
    """What stands before the result of a rule, or behind IF."""

    def holds(self, subject: S_contra) -> bool: ...


class Rule(Protocol[S_contra]):
    def result(self, subject: S_contra) -> str | None:
        """The rule's answer, None where it does not apply."""
        ...


@frozen
class Block(Generic[S]):
    """IF: the rules up to ENDIF count only where `condition` holds."""

    condition: Condition[S]
    rules: list[Rule[S]]

    def result(self, subject: S) -> str | None:
        return first_result(self.rules, subject) if self.condition.holds(subject) else None


def first_result(rules: Sequence[Rule[S]], subject: S) -> str | None:
    """The answer of the first rule that has one."""
    for rule in rules:
        value = rule.result(subject)
        if value is not None:
            return value
    return None


class Dialect(Protocol[S_contra]):
    """How one type of table reads a line. Both methods raise RuleRefused, and tell `warn` of what is only odd."""

    title: str
    endif_stray: str

    def condition(self, text: str, warn: Callable[[str], None]) -> Condition[S_contra]:
        """What stands behind IF."""
        ...

    def rule(self, text: str, warn: Callable[[str], None]) -> Rule[S_contra]: ...


def compile_rules(lines: Sequence[Line], dialect: Dialect[S], source: str, log: Log) -> list[Rule[S]]:
    """Read all rules; what cannot be used is logged with its line number, as Postfix does, and left out."""
    top: list[Rule[S]] = []
    open_blocks: list[tuple[int, list[Rule[S]]]] = []
    for line in lines:

        def warn(text: str, number: int = line.number) -> None:
            log.warning(f"{dialect.title} map {source}, line {number}: {text}")

        rules = open_blocks[-1][1] if open_blocks else top
        word, rest = _keyword(line.text)
        try:
            if word == "if":
                block = Block(dialect.condition(rest, warn), list[Rule[S]]())
                rules.append(block)
                open_blocks.append((line.number, block.rules))
            elif word == "endif":
                _close(open_blocks, rest, dialect, warn)
            else:
                rules.append(dialect.rule(line.text.strip(), warn))
        except NotARule as refusal:
            warn(str(refusal))
        except RuleRefused as refusal:
            warn(f"{refusal}: skipping this rule")
    for number, _ in reversed(open_blocks):
        log.warning(f"{dialect.title} map {source}, line {number}: IF has no matching ENDIF")
    return top


def _close(
    open_blocks: list[tuple[int, list[Rule[S]]]], rest: str, dialect: Dialect[S], warn: Callable[[str], None]
) -> None:
    if not open_blocks:
        warn(dialect.endif_stray)
        return
    if rest:
        warn("ignoring extra text after ENDIF")
    open_blocks.pop()


def _keyword(text: str) -> tuple[str, str]:
    """`if` or `endif` and what follows it; for any other line nothing and the line."""
    match = _KEYWORD.match(text)
    return (match[1].lower(), text[match.end() :].strip()) if match else ("", text)


class RuleSource(Generic[S]):
    """A table's rules: a file that is watched, or `{ {rule}, {rule} }` in the table's own name.

    `parse` turns logical lines into rules and may raise Unusable.
    """

    def __init__(self, name: str, source: str, base: Path, parse: Callable[[Sequence[Line], str], S], log: Log) -> None:
        self._file: WatchedFile[S] | None = None
        if source.startswith("{"):
            try:
                self._rules = parse(inline_lines(source), "(inline)")
            except (BraceError, Unusable) as error:
                raise ConfigError(str(error), name=name) from error
        else:
            path = base / source
            self._file = WatchedFile(
                path, lambda data: parse(list(logical_lines(decode(data))), str(path)), name=name, log=log
            )

    def rules(self) -> S:
        return self._file.content() if self._file else self._rules


def inline_lines(source: str) -> list[Line]:
    """The rules of `{ {rule}, {rule} }`, numbered from 1; raises BraceError."""
    lines = []
    for number, item in enumerate(split_list(strip_braces(source)), 1):
        if not item.startswith("{"):
            raise BraceError(f"no '{{' at start of text in \"{item}\"")
        lines.append(Line(number, strip_braces(item)))
    return lines
