"""PCRE patterns (pcre_table(5), pcre2pattern(3)) -> `re`.

Most of the language is `re`'s own. Translated are: POSIX classes, `\\Q...\\E`, options amid a pattern, named groups
in all spellings, relative and `\\g` references, `\\h \\R \\N \\e \\z` and their like, `\\d \\w \\s` as ASCII, and the
ungreedy flag. Recursion, subroutine calls, branch reset, Unicode properties and verbs have no counterpart: they
are refused by name, since leaving out a rule could let mail through.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from pymta.tables.charset import (
    CLASSES,
    NOT_DIGIT,
    NOT_SPACE,
    NOT_WORD,
    WORD,
    PatternError,
    UnsupportedPattern,
    class_body,
    member,
)

_VERTICAL = r"\n-\r\x85\u2028\u2029"
_NOT_VERTICAL = r"\x00-\x09\x0e-\x84\x86-\u2027\u202a-\U0010ffff"
_HORIZONTAL = r"\t \xa0\u1680\u180e\u2000-\u200a\u202f\u205f\u3000"
_NOT_HORIZONTAL = (
    r"\x00-\x08\n-\x1f!-\x9f\xa1-\u167f\u1681-\u180d\u180f-\u1fff\u200b-\u202e"
    r"\u2030-\u205e\u2060-\u2fff\u3001-\U0010ffff"
)
_SETS = {
    "d": CLASSES["digit"],
    "D": NOT_DIGIT,
    "w": WORD,
    "W": NOT_WORD,
    "s": CLASSES["space"],
    "S": NOT_SPACE,
    "h": _HORIZONTAL,
    "H": _NOT_HORIZONTAL,
    "v": _VERTICAL,
    "V": _NOT_VERTICAL,
}
_ASSERTIONS = {"A": r"\A", "z": r"\Z", "Z": r"(?=\n?\Z)", "G": r"\A", "b": r"\b", "B": r"\B", "K": ""}
_CHARACTERS = {"a": "\a", "e": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_UNSUPPORTED = {"p": r"\p (Unicode properties)", "P": r"\P (Unicode properties)", "X": r"\X", "C": r"\C"}

_QUANTIFIER = re.compile(r"[*+?]|\{\d+(?:,\d*)?\}", re.ASCII)
_HEX = re.compile(r"x(?:\{([0-9A-Fa-f]+)\}|([0-9A-Fa-f]{0,2}))")
_OCTAL = re.compile(r"0[0-7]{0,2}|o\{([0-7]+)\}|[0-7]{1,3}")
_REFERENCE = re.compile(r"g(?:\{([+-]?\d+)\}|([+-]?\d+))", re.ASCII)
_NAMED_REFERENCE = re.compile(r"(?:k(?:<(\w+)>|'(\w+)'|\{(\w+)\})|g\{([A-Za-z_]\w*)\})", re.ASCII)
_OPEN_NAMED = re.compile(r"\?(?:P?<([A-Za-z_]\w*)>|'([A-Za-z_]\w*)')", re.ASCII)
_OPEN_PLAIN = re.compile(r"\?(?::|=|!|<=|<!|>)")
_OPEN_CONDITION = re.compile(r"\?\((?:<(\w+)>|'(\w+)'|(\w+))\)", re.ASCII)
_OPTIONS = re.compile(r"\?([imsx]*)(?:-([imsx]+))?([:)])")


@dataclass(slots=True)
class _Group:
    """`tail` closes what an option amid the group opened, `reopen` opens it again behind a `|`.

    `start` is the place of its opening in what was translated.
    """

    start: int = 0
    tail: str = ""
    reopen: list[str] = field(default_factory=list)


def translate(pattern: str, *, ungreedy: bool = False, dollar_end_only: bool = False, extended: bool = False) -> str:
    """The same pattern for `re`; `ungreedy` and `dollar_end_only` are the flags `U` and `E`, `extended` is `x`.

    Raises UnsupportedPattern for what `re` cannot express. What is wrong in PCRE too is left for `re` to refuse.
    """
    return _Translator(pattern, ungreedy, dollar_end_only, extended).run()


class _Translator:
    def __init__(self, pattern: str, ungreedy: bool, dollar_end_only: bool, extended: bool) -> None:
        self.pattern = pattern
        self.ungreedy = ungreedy
        self.dollar = r"\Z" if dollar_end_only else "$"
        self.extended = extended
        self.at = 0
        self.out: list[str] = []
        self.groups = 0
        self.forward = 0
        self.stack = [_Group()]
        self.last_group: tuple[int, int] | None = None

    def run(self) -> str:
        while self.at < len(self.pattern):
            self.step()
        if len(self.stack) > 1:
            raise PatternError("missing closing parenthesis")
        if self.forward > self.groups:
            raise PatternError("reference to non-existent subpattern")
        if self.forward:
            raise UnsupportedPattern("a reference to a group that comes later is not supported")
        return "".join(self.out) + self.stack[0].tail

    def step(self) -> None:
        char = self.pattern[self.at]
        handler = _HANDLERS.get(char)
        if handler:
            handler(self)
        elif quantifier := _QUANTIFIER.match(self.pattern, self.at):
            self.quantify(quantifier)
        elif char == "{":
            self.emit(r"\{", 1)
        else:
            self.emit(char, 1)

    def emit(self, text: str, width: int) -> None:
        self.out.append(text)
        self.at += width

    def quantify(self, match: re.Match[str]) -> None:
        suffix = self.pattern[match.end() : match.end() + 1]
        if suffix == "+":
            self.possessive(match[0])
        elif (suffix == "?") is not self.ungreedy:
            self.emit(match[0] + "?", len(match[0]) + (suffix == "?"))
        else:
            self.emit(match[0], len(match[0]) + (suffix == "?"))

    def possessive(self, quantifier: str) -> None:
        """What is possessive is atomic, and a group is spelled so: `re` takes back too little of possessive groups
        before 3.11.5, and fails over captures in them even later.
        """
        start, end = self.last_group or (0, -1)
        if end == len(self.out) or (self.extended and end >= 0 and "".join(self.out[end:]).isspace()):
            self.out[start] = "(?>" + self.out[start]
            self.emit(quantifier + ")", len(quantifier) + 1)
        else:
            self.emit(quantifier + "+", len(quantifier) + 1)

    def comment(self) -> None:
        """`#` begins a comment under the `x` flag, in which nothing is special."""
        if not self.extended:
            self.emit("#", 1)
            return
        end = self.pattern.find("\n", self.at)
        self.at = len(self.pattern) if end < 0 else end + 1

    def branch(self) -> None:
        group = self.stack[-1]
        self.emit(group.tail + "|" + "".join(group.reopen), 1)

    def close(self) -> None:
        if len(self.stack) == 1:
            raise PatternError("unmatched closing parenthesis")
        group = self.stack.pop()
        self.emit(group.tail + ")", 1)
        self.last_group = group.start, len(self.out)

    def open(self) -> None:
        if self.pattern.startswith("(*", self.at):
            self.verb()
        elif self.pattern.startswith("(?", self.at):
            self.open_special()
        else:
            self.open_capture("(", 1)

    def verb(self) -> None:
        end = self.pattern.find(")", self.at)
        name = self.pattern[self.at : end + 1 or None]
        if name not in ("(*UTF8)", "(*UTF)"):
            raise UnsupportedPattern(f"{name} is not supported")
        self.at = end + 1

    def open_capture(self, text: str, width: int) -> None:
        self.groups += 1
        self.push(text, width)

    def push(self, text: str, width: int) -> None:
        self.stack.append(_Group(len(self.out)))
        self.emit(text, width)

    def open_special(self) -> None:
        at = self.at + 1
        if match := _OPEN_NAMED.match(self.pattern, at):
            self.open_capture(f"(?P<{match[1] or match[2]}>", len(match[0]) + 1)
        elif match := _OPEN_PLAIN.match(self.pattern, at):
            self.push("(" + match[0], len(match[0]) + 1)
        elif match := _OPTIONS.match(self.pattern, at):
            self.options(match)
        elif match := re.compile(r"\?#[^)]*\)").match(self.pattern, at):
            self.at = match.end()
        elif match := re.compile(r"\?P=(\w+)\)").match(self.pattern, at):
            self.emit(f"(?P={match[1]})", len(match[0]) + 1)
        elif (match := _OPEN_CONDITION.match(self.pattern, at)) and not re.match(r"R\d*$|R&|DEFINE$", match[3] or ""):
            self.push(f"(?({match[1] or match[2] or match[3]})", len(match[0]) + 1)
        else:
            raise UnsupportedPattern(f"{self.pattern[self.at : self.at + 4]}... is not supported")

    def options(self, match: re.Match[str]) -> None:
        on, off, end = match[1], match[2], match[3]
        if "x" in on + (off or "") and end == ")":
            raise UnsupportedPattern("the option x amid a pattern is not supported: write it behind the pattern")
        text = f"(?{on}{'-' + off if off else ''}:" if on or off else "(?:"
        if end == ":":
            self.push(text, len(match[0]) + 1)
            return
        group = self.stack[-1]
        group.tail += ")"
        group.reopen.append(text)
        self.emit(text, len(match[0]) + 1)

    def anchor(self) -> None:
        self.emit(self.dollar, 1)

    def escape(self) -> None:
        rest = self.pattern[self.at + 1 :]
        if not rest:
            raise PatternError("\\ at end of pattern")
        char = rest[0]
        if char == "Q":
            quoted, end, _ = rest[1:].partition(r"\E")
            self.emit(re.escape(quoted), len(quoted) + 2 + len(end))
        elif char == "E":
            self.at += 2
        elif char in _SETS:
            self.emit(f"[{_SETS[char]}]", 2)
        elif char in _ASSERTIONS:
            self.emit(_ASSERTIONS[char], 2)
        elif char == "R":
            self.emit(f"(?>\\r\\n|[{_VERTICAL}])", 2)
        elif char == "N":
            self.emit(r"[^\n]", 2)
        elif not self.reference(rest):
            literal, width = self.character(rest)
            self.emit(re.escape(literal), width + 1)

    def reference(self, rest: str) -> bool:
        if match := _NAMED_REFERENCE.match(rest):
            self.emit(f"(?P={match[1] or match[2] or match[3] or match[4]})", len(match[0]) + 1)
            return True
        if match := _REFERENCE.match(rest):
            number, width = match[1] or match[2], len(match[0])
        elif match := re.compile(r"[1-9]\d*", re.ASCII).match(rest):
            number, width = match[0], len(match[0])
            if len(number) > 1 and int(number) > self.groups:
                return False
        else:
            return False
        target = int(number) + (self.groups + number.startswith("-") if number[0] in "+-" else 0)
        if target < 1:
            raise PatternError("reference to non-existent subpattern")
        if target > self.groups:
            self.forward = max(self.forward, target)
        self.emit(f"(?:\\{target})", width + 1)
        return True

    def character(self, rest: str) -> tuple[str, int]:
        """The character that an escape stands for, and the escape's width without its backslash."""
        char = rest[0]
        if match := _HEX.match(rest):
            return _chr(int(match[1] or match[2] or "0", 16)), len(match[0])
        if match := _OCTAL.match(rest):
            return _chr(int(match[1] or match[0], 8)), len(match[0])
        if char == "c" and len(rest) > 1 and " " <= rest[1] <= "~":
            return chr(ord(rest[1].upper()) ^ 64), 2
        if char in _CHARACTERS:
            return _CHARACTERS[char], 1
        if char in _UNSUPPORTED:
            raise UnsupportedPattern(f"{_UNSUPPORTED[char]} is not supported")
        if char.isalnum() and char.isascii():
            raise PatternError("unrecognized character follows \\")
        return char, 1

    def bracket(self) -> None:
        at = self.at + 1
        while self.pattern.startswith(r"\E", at):
            at += 2
        negated = self.pattern.startswith("^", at)
        at += negated
        items: list[str] = []
        while not items or not self.pattern.startswith("]", at):
            if at >= len(self.pattern):
                raise PatternError("missing terminating ] for character class")
            at = self.bracket_item(at, items)
        body = "".join(items)
        self.emit(f"[{'^' if negated else ''}{body}]", at + 1 - self.at)

    def bracket_item(self, at: int, items: list[str]) -> int:
        if self.pattern.startswith("[:", at) and (end := self.pattern.find(":]", at)) > 0:
            body = class_body(self.pattern[at + 2 : end])
            if body is not None:
                items.append(body)
                return end + 2
            if re.fullmatch(r"\^?[a-z]+", self.pattern[at + 2 : end]):
                raise PatternError("unknown POSIX class name")
        if self.pattern.startswith(r"\Q", at):
            quoted, mark, _ = self.pattern[at + 2 :].partition(r"\E")
            items.extend(map(member, quoted))
            return at + 2 + len(quoted) + len(mark)
        if self.pattern.startswith(r"\E", at):
            return at + 2
        low, at = self.bracket_char(at)
        if len(low) > 1 or not self.pattern.startswith("-", at) or self.pattern.startswith("-]", at):
            items.append(low if len(low) > 1 else member(low))
            return at
        high, end = self.bracket_char(at + 1)
        if len(high) > 1 or self.pattern.startswith("[:", at + 1):
            items.append(member(low) + r"\-")
            return at + 1
        if high < low:
            raise PatternError("range out of order in character class")
        items.append(f"{member(low)}-{member(high)}")
        return end

    def bracket_char(self, at: int) -> tuple[str, int]:
        """A character, or the body of a class such as `\\d`, and where the next begins."""
        if at >= len(self.pattern):
            raise PatternError("missing terminating ] for character class")
        if self.pattern[at] != "\\":
            return self.pattern[at], at + 1
        rest = self.pattern[at + 1 :]
        if not rest:
            raise PatternError("\\ at end of pattern")
        if rest[0] in _SETS:
            return _SETS[rest[0]], at + 2
        if rest[0] == "b":
            return "\b", at + 2
        char, width = self.character(rest)
        return char, at + 1 + width


def _chr(code: int) -> str:
    if code > 0x10FFFF:
        raise PatternError("character code point value in \\x{} or \\o{} is too large")
    return chr(code)


_HANDLERS: dict[str, Callable[[_Translator], None]] = {
    "\\": _Translator.escape,
    "[": _Translator.bracket,
    "(": _Translator.open,
    ")": _Translator.close,
    "|": _Translator.branch,
    "$": _Translator.anchor,
    "#": _Translator.comment,
}
