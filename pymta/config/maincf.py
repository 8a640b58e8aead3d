"""main.cf: text to raw entries with their place (postconf(5), "syntax")."""

from __future__ import annotations

from dataclasses import dataclass, field

from pymta.config.lines import logical_lines, split_assignment
from pymta.errors import ConfigError
from pymta.model.frozen import frozen


@frozen
class Entry:
    """A value as written. `where` is `FILE:LINE`, or the name of what set it."""

    name: str
    text: str
    where: str


@dataclass(slots=True)
class RawFile:
    """What a file says: the entries that count, in the order of their first mention, and what to warn about."""

    entries: dict[str, Entry] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def parse_main(text: str, path: str) -> RawFile:
    """Read main.cf's text. The last definition of a name wins, with a warning. Raises ConfigError."""
    raw = RawFile()
    for number, line in logical_lines(text, path, raw.warnings):
        where = f"{path.rpartition('/')[2]}:{number}"
        try:
            name, value = split_assignment(line)
        except ValueError as error:
            raise ConfigError(str(error), where=where) from None
        if name in raw.entries:
            earlier = raw.entries[name].text
            raw.warnings.append(f"{path}, line {number}: overriding earlier entry: {name}={earlier}")
        raw.entries[name] = Entry(name, value, where)
    return raw
