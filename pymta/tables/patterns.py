"""`regexp:` and `pcre:` tables (regexp_table(5), pcre_table(5))."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from pymta.model.frozen import frozen
from pymta.ports import Log
from pymta.tables import perl, posix
from pymta.tables.charset import PatternError, UnsupportedPattern
from pymta.tables.kinds import LocalTable
from pymta.tables.rules import Condition, NotARule, Rule, RuleRefused, RuleSource, compile_rules, first_result
from pymta.tables.text import BLANKS, Line
from pymta.tables.watch import Unusable

MAX_KEY = 262_144
"""Characters of a key. `re` has no limit of steps, so an endless key is no key: TableError."""

SLOW = 0.25
"""Seconds after which a lookup is named in the log: its patterns backtrack too much."""

_BEYOND_RE = ("look-behind requires fixed-width", "cannot refer to an open group", "group reference to open group")
_REFERENCE = re.compile(r"\$(?:(\$)|\{([^}]*)\}|\(([^)]*)\)|(\w+)|)", re.ASCII)

_Replacement = tuple[str | int, ...]


@frozen
class Match:
    """`/pattern/`, or with `!` its opposite."""

    search: Callable[[str], re.Match[str] | None]
    negated: bool

    def holds(self, subject: str) -> bool:
        return (self.search(subject) is None) is self.negated


@frozen
class Both:
    """`/pattern1/!/pattern2/` of regexp_table(5): the first and not the second."""

    first: Match
    second: Match

    def holds(self, subject: str) -> bool:
        return self.first.holds(subject) and self.second.holds(subject)


@frozen
class FixedRule:
    condition: Condition[str]
    text: str

    def result(self, subject: str) -> str | None:
        return self.text if self.condition.holds(subject) else None


@frozen
class ExpandingRule:
    """A result with `$1`; `guard` is the second pattern, where there is one."""

    search: Callable[[str], re.Match[str] | None]
    guard: Match | None
    parts: _Replacement

    def result(self, subject: str) -> str | None:
        match = self.search(subject)
        if match is None or (self.guard and not self.guard.holds(subject)):
            return None
        return "".join((match[part] or "") if isinstance(part, int) else part for part in self.parts)


class Syntax(Protocol):
    """What differs between the two types."""

    title: str
    second_pattern: bool

    def compile(self, pattern: str, flags: str, warn: Callable[[str], None]) -> re.Pattern[str]: ...


class PosixSyntax:
    """Flags: `i` case matters, `m` lines, `x` basic instead of extended; each turns its default round."""

    title = "regexp"
    second_pattern = True

    def compile(self, pattern: str, flags: str, warn: Callable[[str], None]) -> re.Pattern[str]:
        _check_flags(flags, "imx")
        if perlish := re.search(r"(?<!\\)(?:\\\\)*(\\[dDhHzZAGQEKR])", pattern):
            warn(f"{perlish[1]} has no meaning in a POSIX regular expression; did you mean pcre: or [[:digit:]]?")
        extended = flags.count("x") % 2 == 0
        translated = posix.translate(pattern, extended=extended, newline=flags.count("m") % 2 == 1)
        return _compile(translated, 0 if flags.count("i") % 2 else re.IGNORECASE)


class PerlSyntax:
    """Flags of pcre_table(5): `i m s x A E U X`; `i` and `s` turn their defaults round."""

    title = "pcre"
    second_pattern = False

    def compile(self, pattern: str, flags: str, warn: Callable[[str], None]) -> re.Pattern[str]:
        _check_flags(flags, "imsxAEUX")
        on = {flag for flag in flags if flags.count(flag) % 2}
        translated = perl.translate(
            pattern, ungreedy="U" in on, dollar_end_only="E" in on and "m" not in on, extended="x" in on
        )
        if "A" in on:
            translated = rf"\A(?:{translated})"
        options = re.IGNORECASE * ("i" not in on) | re.DOTALL * ("s" not in on)
        return _compile(translated, options | re.MULTILINE * ("m" in on) | re.VERBOSE * ("x" in on))


class PatternDialect:
    """Reads the lines of one type."""

    endif_stray = "ignoring ENDIF without matching IF"

    def __init__(self, syntax: Syntax) -> None:
        self._syntax = syntax
        self.title = syntax.title

    def condition(self, text: str, warn: Callable[[str], None]) -> Match:
        match, _, rest = self._pattern(text, warn)
        if rest:
            warn(f'ignoring extra text after IF statement: "{rest}"')
            warn("do not prepend whitespace to statements between IF and ENDIF")
        return match

    def rule(self, text: str, warn: Callable[[str], None]) -> Rule[str]:
        if text[0].isalnum():
            raise NotARule("ignoring unrecognized request")
        match, groups, rest = self._pattern(text, warn)
        guard: Match | None = None
        if self._syntax.second_pattern and rest.startswith("!"):
            guard, _, rest = self._pattern(rest, warn)
        if not rest:
            warn("no replacement text: using empty string")
        parts = parse_replacement(rest, warn)
        numbers = [part for part in parts if isinstance(part, int)]
        if numbers and match.negated:
            raise RuleRefused("$number found in negative match replacement text")
        if numbers and max(numbers) > groups:
            raise RuleRefused(f'out of range replacement index "{max(numbers)}"')
        if numbers:
            return ExpandingRule(match.search, guard, parts)
        return FixedRule(Both(match, guard) if guard else match, "".join(map(str, parts)))

    def _pattern(self, text: str, warn: Callable[[str], None]) -> tuple[Match, int, str]:
        """A pattern with its flags, how many groups it has, and the text behind it."""
        bare = text.lstrip("!" + BLANKS)
        negated = text[: len(text) - len(bare)].count("!") % 2 == 1
        if not bare:
            raise RuleRefused("no regexp")
        end = _closing(bare)
        if end < 0:
            raise RuleRefused(f'no closing regexp delimiter "{bare[0]}"')
        pattern, behind = bare[1:end], bare[end + 1 :]
        stops = BLANKS + "!" if self._syntax.second_pattern else BLANKS
        stop = next((at for at, char in enumerate(behind) if char in stops), len(behind))
        try:
            compiled = self._syntax.compile(pattern, behind[:stop], warn)
        except PatternError as error:
            raise RuleRefused(f"error in regexp: {error}") from error
        except UnsupportedPattern as error:
            raise UnsupportedPattern(f'"{bare[0]}{pattern}{bare[0]}": {error}') from error
        return Match(compiled.search, negated), compiled.groups, behind[stop:].strip(BLANKS)


class PatternTable(LocalTable):
    """Rules with patterns, in order; the first that matches answers. Keys keep their case and are never parts."""

    takes_partial_keys = False

    def __init__(self, name: str, source: str, base: Path, syntax: Syntax, log: Log) -> None:
        super().__init__(name)
        self._log = log
        self._dialect = PatternDialect(syntax)
        self._source = RuleSource(name, source, base, self._parse, log)

    def find(self, key: str) -> str | None:
        if len(key) > MAX_KEY:
            raise self._failure(f"key of {len(key)} characters is too long to match")
        began = time.monotonic()
        value = first_result(self._source.rules(), key)
        if (took := time.monotonic() - began) > SLOW:
            self._log.warning(f'{self.name}: patterns took {took:.1f} seconds for "{key[:60]}"')
        return value

    def _parse(self, lines: Sequence[Line], source: str) -> list[Rule[str]]:
        try:
            return compile_rules(lines, self._dialect, source, self._log)
        except UnsupportedPattern as error:
            raise Unusable(f"{source}: {error}") from error


def parse_replacement(text: str, warn: Callable[[str], None]) -> _Replacement:
    """Split a result at `$1`, `${1}`, `$(1)` and `$$`; raises RuleRefused for any other `$`."""
    parts: list[str | int] = []
    at = 0
    for match in _REFERENCE.finditer(text):
        parts.append(text[at : match.start()])
        at = match.end()
        name = next((group for group in match.groups()[1:] if group is not None), None)
        if match[1]:
            parts.append("$")
        elif name is None:
            truncated = text[match.end() : match.end() + 1] in ("{", "(")
            warn(f'{"truncated macro reference" if truncated else "empty macro name"}: "{text[: match.end() + 1]}"')
            raise RuleRefused("bad replacement syntax")
        elif not (name.isdecimal() and name.isascii()):
            warn(f'non-numeric replacement index "{name}"')
            raise RuleRefused("bad replacement syntax")
        elif int(name) < 1:
            warn(f'out-of-range replacement index "{name}"')
            raise RuleRefused("bad replacement syntax")
        else:
            parts.append(int(name))
    parts.append(text[at:])
    return tuple(part for part in parts if part != "")


def _closing(text: str) -> int:
    at = 1
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == text[0]:
            return at
        at += 1
    return -1


def _check_flags(flags: str, known: str) -> None:
    for flag in flags:
        if flag not in known:
            raise RuleRefused(f'unknown regexp option "{flag}"')


def _compile(pattern: str, flags: int) -> re.Pattern[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return re.compile(pattern, flags)
    except (re.error, OverflowError, RecursionError) as error:
        text = str(error)
        if any(known in text for known in _BEYOND_RE):
            raise UnsupportedPattern(text) from error
        raise PatternError(text) from error
