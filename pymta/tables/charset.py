"""Character classes by name (`[:alpha:]`), for translating brackets of other dialects to `re`'s."""

from __future__ import annotations

# The POSIX locale, as Postfix runs in it: ASCII only. Each is the inside of a bracket for `re`.
CLASSES = {
    "alpha": "a-zA-Z",
    "digit": "0-9",
    "alnum": "a-zA-Z0-9",
    "upper": "A-Z",
    "lower": "a-z",
    "space": r" \t-\r",
    "blank": r" \t",
    "punct": r"!-/:-@\[-`{-~",
    "print": r" -~",
    "graph": r"!-~",
    "cntrl": r"\x00-\x1f\x7f",
    "xdigit": "0-9A-Fa-f",
}
PERL_CLASSES = CLASSES | {"word": r"a-zA-Z0-9_", "ascii": r"\x00-\x7f"}

NOT_DIGIT = r"\x00-/:-\U0010ffff"
NOT_WORD = r"\x00-/:-@\[-\^`{-\U0010ffff"
NOT_SPACE = r"\x00-\x08\x0e-\x1f!-\U0010ffff"
WORD = CLASSES["alnum"] + "_"

_NEGATED = {
    "alpha": r"\x00-@\[-`{-\U0010ffff",
    "digit": NOT_DIGIT,
    "alnum": r"\x00-/:-@\[-`{-\U0010ffff",
    "upper": r"\x00-@\[-\U0010ffff",
    "lower": r"\x00-`{-\U0010ffff",
    "space": NOT_SPACE,
    "blank": r"\x00-\x08\x0a-\x1f!-\U0010ffff",
    "punct": r"\x00- 0-9A-Za-z\x7f-\U0010ffff",
    "print": r"\x00-\x1f\x7f-\U0010ffff",
    "graph": r"\x00- \x7f-\U0010ffff",
    "cntrl": r" -~\x80-\U0010ffff",
    "xdigit": r"\x00-/:-@G-`g-\U0010ffff",
    "word": NOT_WORD,
    "ascii": r"\x80-\U0010ffff",
}


def class_body(name: str) -> str | None:
    """The inside of a bracket for `alpha`, or with PCRE's negation `^alpha`; None for a name that is no class."""
    return _NEGATED.get(name[1:]) if name.startswith("^") else PERL_CLASSES.get(name)


def member(char: str) -> str:
    """One character as it stands inside a bracket of `re`."""
    return f"\\{char}" if char in r"\]^-[&~|" else char


class PatternError(ValueError):
    """A pattern that its own dialect refuses, in the words of regcomp(3) or PCRE; the rule is skipped."""


class UnsupportedPattern(ValueError):
    """A pattern that its own dialect accepts and we cannot express; the table cannot be used."""
