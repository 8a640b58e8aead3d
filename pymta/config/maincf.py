"""main.cf: text to raw entries with their place (postconf(5), "syntax")."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pymta.errors import ConfigError
from pymta.model.frozen import frozen

_BLANKS = " \t\r\n\f\v"
_SHOWN = 30


@frozen
class Entry:
    """A value as written. `where` is `FILE:LINE`, or the name of what set it."""

    name: str
    text: str
    where: str


@frozen
class LogicalLine:
    """One line with its continuation lines, without the last line's end. `number` is its first line's."""

    number: int
    text: str


@dataclass(slots=True)
class RawFile:
    """What a file says: the entries that count, in the order of their first mention, and what to warn about."""

    entries: dict[str, Entry] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def read_text(path: Path, shown: str = "") -> str:
    """A configuration file's text; bytes that are not UTF-8 survive as surrogates. Raises ConfigError.

    `shown` is the path as the user spelled it.
    """
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise ConfigError(f"open {shown or path}: {error.strerror}") from error


def logical_lines(text: str, path: str, warnings: list[str]) -> Iterator[LogicalLine]:
    """Join continuation lines; drop comments and blank lines, also between a line and its continuation.

    A continuation line with nothing before it is skipped with a warning.
    """
    parts: list[str] = []
    first = 0
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip(_BLANKS)
        if not stripped or stripped.startswith("#"):
            continue
        if line[0] not in _BLANKS:
            if parts:
                yield LogicalLine(first, "".join(parts))
            parts, first = [line], number
        elif parts:
            parts.append(line)
        else:
            dots = "..." if len(line) > _SHOWN else ""
            warnings.append(f'{path}: logical line must not start with whitespace: "{line[:_SHOWN]}{dots}"')
    if parts:
        yield LogicalLine(first, "".join(parts))


def split_assignment(text: str) -> tuple[str, str]:
    """Split `name = value`, blanks around both taken off. Raises ValueError with Postfix's words."""
    name, equals, value = text.partition("=")
    name = name.strip(_BLANKS)
    shown = " ".join(text.split())
    if not name:
        raise ValueError(f'missing attribute name: "{shown}"')
    if not equals or len(name.split()) > 1:
        raise ValueError(f"missing '=' after attribute name: \"{shown}\"")
    return name, value.strip(_BLANKS)


def parse_main(text: str, path: str) -> RawFile:
    """Read main.cf's text. The last definition of a name wins, with a warning. Raises ConfigError."""
    raw = RawFile()
    for line in logical_lines(text, path, raw.warnings):
        where = f"{path.rpartition('/')[2]}:{line.number}"
        try:
            name, value = split_assignment(line.text)
        except ValueError as error:
            raise ConfigError(str(error), where=where) from None
        if name in raw.entries:
            earlier = raw.entries[name].text
            raw.warnings.append(f"{path}, line {line.number}: overriding earlier entry: {name}={earlier}")
        raw.entries[name] = Entry(name, value, where)
    return raw
