"""POSIX regular expressions (regex(7), with glibc's additions) -> `re`.

What matches is the same. One thing is not: POSIX takes the longest alternative, `re` the first, which can show in
what `$1` stands for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pymta.tables.charset import CLASSES, NOT_SPACE, NOT_WORD, WORD, PatternError, member

_GNU_ESCAPES = {
    "w": f"[{WORD}]",
    "W": f"[{NOT_WORD}]",
    "s": f"[{CLASSES['space']}]",
    "S": f"[{NOT_SPACE}]",
    "b": r"\b",
    "B": r"\B",
    "<": r"\b(?=\w)",
    ">": r"\b(?<=\w)",
    "`": r"\A",
    "'": r"\Z",
}
_ANCHORS = "bB<>`'"
_INTERVAL = re.compile(r"(\d*)(,?)(\d*)", re.ASCII)
_MAX_REPEAT = 32767


def translate(pattern: str, *, extended: bool = True, newline: bool = False) -> str:
    """The same pattern for `re`. `extended` is ERE, else BRE; `newline` is REG_NEWLINE.

    Raises PatternError with regcomp(3)'s words.
    """
    return _Translator(pattern, extended, newline).run()


@dataclass(slots=True)
class _Level:
    """A group that is open: a branch may refer to what was closed before the group, not to another branch's."""

    number: int
    before: frozenset[int]
    closed: frozenset[int]


class _Translator:
    """One pass over the pattern. `atom` is the start of what a repeat applies to, -1 where there is nothing."""

    def __init__(self, pattern: str, extended: bool, newline: bool) -> None:
        self.pattern = pattern
        self.extended = extended
        self.newline = newline
        self.at = 0
        self.out: list[str] = []
        self.atom = -1
        self.open: list[int] = []
        self.groups = 0
        self.closed: frozenset[int] = frozenset()
        self.levels = [_Level(0, frozenset(), frozenset())]

    def run(self) -> str:
        while self.at < len(self.pattern):
            self.step()
        if self.open:
            raise PatternError(r"Unmatched ( or \(")
        return "".join(self.out)

    def step(self) -> None:
        char = self.pattern[self.at]
        if char == "\\":
            self.escape()
        elif char == "[":
            self.bracket()
        elif char == "*" or (self.extended and char in "+?{"):
            self.repeat(char)
        elif self.extended and char in "()|":
            self.at += 1
            self.operator(char)
        elif char in "^$" and self.is_anchor(char):
            self.anchor(char)
        elif char == ".":
            self.emit("[^\\n]" if self.newline else "(?s:.)", 1)
        else:
            self.emit(re.escape(char), 1)

    def emit(self, text: str, width: int) -> None:
        self.atom = len(self.out)
        self.out.append(text)
        self.at += width

    def is_anchor(self, char: str) -> bool:
        if self.extended:
            return True
        before, after = self.pattern[: self.at], self.pattern[self.at + 1 :]
        if char == "^":
            return not before or before.endswith((r"\(", r"\|"))
        return not after or after.startswith((r"\)", r"\|"))

    def anchor(self, char: str) -> None:
        self.at += 1
        if self.newline:
            self.out.append("(?m:^)" if char == "^" else "(?m:$)")
        else:
            self.out.append(r"\A" if char == "^" else r"\Z")
        self.atom = -1

    def operator(self, char: str) -> None:
        if char == "(":
            self.groups += 1
            self.levels.append(_Level(self.groups, self.closed, self.closed))
            self.open.append(len(self.out))
            self.out.append("(")
            self.atom = -1
        elif char == "|":
            self.out.append("|")
            self.atom = -1
            self.levels[-1].closed |= self.closed
            self.closed = self.levels[-1].before
        elif self.open:
            self.out.append(")")
            self.atom = self.open.pop()
            level = self.levels.pop()
            self.closed |= level.closed | {level.number}
        elif self.extended:
            self.emit(r"\)", 0)
        else:
            raise PatternError(r"Unmatched ) or \)")

    def escape(self) -> None:
        if self.at + 1 == len(self.pattern):
            raise PatternError("Trailing backslash")
        char = self.pattern[self.at + 1]
        if not self.extended and char in "(){}|+?":
            self.basic_operator(char)
        elif char in _ANCHORS:
            self.out.append(_GNU_ESCAPES[char])
            self.at += 2
            self.atom = -1
        elif char in _GNU_ESCAPES:
            self.emit(_GNU_ESCAPES[char], 2)
        elif char in "123456789":
            if int(char) not in self.closed:
                raise PatternError("Invalid back reference")
            self.emit(f"(?:\\{char})", 2)
        else:
            self.emit(re.escape(char), 2)

    def basic_operator(self, char: str) -> None:
        if char in "()|":
            self.at += 2
            self.operator(char)
        elif char == "}":
            self.emit(r"\}", 2)
        else:
            self.at += 1
            self.repeat(char)

    def repeat(self, char: str) -> None:
        if self.atom < 0:
            if self.extended:
                raise PatternError("Invalid preceding regular expression")
            self.emit(re.escape(char), 1)
            return
        self.at += 1
        quantifier = self.interval() if char == "{" else char
        # Grouped, because `a*?` and `a*+` mean something else to `re`.
        self.out[self.atom :] = ["(?:" + "".join(self.out[self.atom :]) + quantifier + ")"]

    def interval(self) -> str:
        end = self.pattern.find("}" if self.extended else r"\}", self.at)
        match = _INTERVAL.fullmatch(self.pattern, self.at, end) if end >= 0 else None
        if end < 0:
            raise PatternError(r"Unmatched \{")
        if not match or not match[0]:
            raise PatternError(r"Invalid content of \{\}")
        low, comma, high = match.groups()
        self.at = end + (1 if self.extended else 2)
        if max(int(low or 0), int(high or 0)) > _MAX_REPEAT:
            raise PatternError("Regular expression too big")
        if high and int(high) < int(low or 0):
            raise PatternError(r"Invalid content of \{\}")
        return f"{{{low or 0}{comma}{high}}}"

    def bracket(self) -> None:
        at = self.at + 1
        negated = self.pattern.startswith("^", at)
        at += negated
        items: list[str] = []
        first = True
        while first or not self.pattern.startswith("]", at):
            at = self.bracket_item(at, items)
            first = False
        if negated and self.newline:
            items.append(r"\n")
        self.emit(f"[{'^' if negated else ''}{''.join(items)}]", at + 1 - self.at)

    def bracket_item(self, at: int, items: list[str]) -> int:
        if self.pattern.startswith("[:", at):
            name, at = self.bracket_name(at, ":]")
            if name not in CLASSES:
                raise PatternError("Invalid character class name")
            items.append(CLASSES[name])
            if self.pattern.startswith("-", at) and not self.pattern.startswith("-]", at):
                raise PatternError("Invalid range end")
            return at
        low, at = self.bracket_char(at)
        if not self.pattern.startswith("-", at) or self.pattern.startswith("-]", at):
            items.append(member(low))
            return at
        if self.pattern.startswith(("[:", "[="), at + 1):
            raise PatternError("Invalid range end")
        high, at = self.bracket_char(at + 1)
        if high < low:
            raise PatternError("Invalid range end")
        items.append(f"{member(low)}-{member(high)}")
        if self.pattern.startswith("-", at) and not self.pattern.startswith("-]", at):
            raise PatternError("Invalid range end")
        return at

    def bracket_char(self, at: int) -> tuple[str, int]:
        for mark in (".", "="):
            if self.pattern.startswith("[" + mark, at):
                name, at = self.bracket_name(at, mark + "]")
                if len(name) != 1:
                    raise PatternError("Invalid collation character")
                return name, at
        if at >= len(self.pattern):
            raise PatternError("Unmatched [, [^, [:, [., or [=")
        return self.pattern[at], at + 1

    def bracket_name(self, at: int, end: str) -> tuple[str, int]:
        stop = self.pattern.find(end, at + 2)
        if stop < 0:
            raise PatternError("Unmatched [, [^, [:, [., or [=")
        return self.pattern[at + 2 : stop], stop + 2
