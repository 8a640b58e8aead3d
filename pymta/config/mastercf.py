"""master.cf: service entries (master(5))."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from pymta.config.lines import logical_lines, split_assignment
from pymta.config.macros import balanced
from pymta.errors import ConfigError
from pymta.model.frozen import frozen

FIELDS = ("service", "type", "private", "unprivileged", "chroot", "wakeup", "process_limit", "command")
TYPES = ("inet", "unix", "fifo", "pass", "unix-dgram")

_BLANKS = " \t\r\n"
_YES_NO = re.compile(r"[-yn]")
_WAKEUP = re.compile(r"(?:-|[0-9]{1,9})\??")
_LIMIT = re.compile(r"-|[0-9]{1,9}")
# What the fields behind the name may hold, and the words for that.
_CHECKS = {
    "type": (re.compile("|".join(TYPES)), f"one of {', '.join(TYPES)}"),
    "private": (_YES_NO, "y, n or -"),
    "unprivileged": (_YES_NO, "y, n or -"),
    "chroot": (_YES_NO, "y, n or -"),
    "wakeup": (_WAKEUP, 'seconds, a "?" behind them allowed, or -'),
    "process_limit": (_LIMIT, "a number or -"),
}


class FieldError(ConfigError):
    """A field holds what it must not; `wanted` tells what it may hold."""

    def __init__(self, message: str, wanted: str, where: str) -> None:
        super().__init__(message, where=where)
        self.wanted = wanted


@frozen
class RawService:
    """An entry as written: its eight fields and the command's arguments.

    In `argv`, braces around an argument are gone and `-vo NAME=VALUE` has become `-v -o NAME=VALUE`, the value
    without blanks around its `=`.
    """

    fields: tuple[str, ...]
    argv: tuple[str, ...]
    where: str

    @property
    def key(self) -> str:
        """`NAME/TYPE`, as postconf names it."""
        return f"{self.fields[0]}/{self.fields[1]}"

    @property
    def overrides(self) -> list[tuple[str, str]]:
        """The `name=value` of each `-o` among the options; what is not of that form is left out."""
        return [(name, value) for name, equals, value in map(_partition, self.assignments) if name and equals]

    @property
    def assignments(self) -> list[str]:
        """What stands behind each `-o`."""
        options = self.argv[: _first_argument(self.argv)]
        return [value for option, value in pairwise(options) if option == "-o"]


@frozen
class Service:
    """One service of master.cf.

    `private`, `unpriv` and `chroot` are None where the field is `-` and Postfix's default applies; `wakeup` is in
    seconds, 0 for never, `wakeup_if_used` its `?`; `maxproc` is None for `$default_process_limit`, 0 for no limit.
    `args` are the command's arguments without those of `-o`; `overrides` those, in order. `raw` is the entry as
    written.
    """

    name: str
    type: str
    private: bool | None
    unpriv: bool | None
    chroot: bool | None
    wakeup: int
    wakeup_if_used: bool
    maxproc: int | None
    command: str
    args: tuple[str, ...]
    overrides: tuple[tuple[str, str], ...]
    where: str
    raw: RawService

    @property
    def endpoint(self) -> tuple[str, str]:
        """Host and port of an inet service: `("", "smtp")`, `("127.0.0.1", "10025")`, `("::1", "25")`."""
        host, colon, port = self.name.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        return (host, port) if colon else ("", self.name)

    @property
    def key(self) -> str:
        """`NAME/TYPE`, as postconf names it."""
        return f"{self.name}/{self.type}"


def parse_master(text: str, path: Path, warnings: list[str]) -> tuple[Service, ...]:
    """Read master.cf's text. A service defined twice counts once, the last time. Raises ConfigError."""
    found: dict[str, Service] = {}
    for number, line in logical_lines(text, str(path), warnings):
        service = parse_service(line, f"{path.name}:{number}")
        if service.key in found:
            warnings.append(f"{path}: line {number}: duplicate master.cf entry for service {service.key}")
        found[service.key] = service
    return tuple(found.values())


def parse_service(text: str, where: str) -> Service:
    """Read one entry. Raises ConfigError naming what was found and what was expected."""
    problems: list[str] = []
    try:
        raw = read_entry(text, where, problems)
    except FieldError as error:
        raise ConfigError(f"{error.message}, expected {error.wanted}", where=where) from None
    if problems:
        raise ConfigError(problems[0], where=where, name=raw.key)
    _check_overrides(raw)
    return typed(raw)


def typed(raw: RawService) -> Service:
    """The service that an entry describes."""
    name, kind, private, unprivileged, chroot, wakeup, limit, command = raw.fields
    return Service(
        name=name,
        type=kind,
        private=_yes_no(private),
        unpriv=_yes_no(unprivileged),
        chroot=_yes_no(chroot),
        wakeup=int(wakeup.rstrip("?").replace("-", "0")),
        wakeup_if_used=wakeup.endswith("?"),
        maxproc=None if limit == "-" else int(limit),
        command=command,
        args=_without_overrides(raw.argv),
        overrides=tuple(raw.overrides),
        where=raw.where,
        raw=raw,
    )


def read_entry(text: str, where: str, problems: list[str]) -> RawService:
    """Read one entry as written; broken braces are repaired and noted in `problems`. Raises ConfigError."""
    words = _words(text)
    if len(words) < len(FIELDS):
        raise ConfigError(f'bad field count in "{_short(text)}": found {len(words)}, expected 8 or more', where=where)
    for field, word in zip(FIELDS, words[: len(FIELDS)], strict=True):
        allowed, wanted = _CHECKS.get(field, (None, ""))
        if allowed and not allowed.fullmatch(word):
            raise FieldError(f'invalid {field} field "{word}" in "{_short(text)}"', wanted, where)
    argv = [_unbrace(word, problems) for word in words[len(FIELDS) :]]
    return RawService(tuple(words[: len(FIELDS)]), tuple(_normalized(argv)), where)


def _words(text: str) -> list[str]:
    """Split at blanks; `{ ... }` stays together, up to the next blank behind it."""
    words: list[str] = []
    position = 0
    while position < len(text):
        if text[position] in _BLANKS:
            position += 1
            continue
        end = position
        while end < len(text) and text[end] not in _BLANKS:
            closed = balanced(text, end) if text[end] == "{" else end + 1
            end = closed if closed >= 0 else len(text)
        words.append(text[position:end])
        position = end
    return words


def _unbrace(word: str, problems: list[str]) -> str:
    """The inside of `{ ... }`, blanks at its ends taken off; other words as they are."""
    if not word.startswith("{"):
        return word
    end = balanced(word, 0)
    if end < 0:
        problems.append(f"missing '}}' in \"{word}\"")
        return word[1:].strip(_BLANKS)
    if end < len(word):
        problems.append(f"syntax error after '}}' in \"{word}\"")
    return word[1 : end - 1].strip(_BLANKS)


def _normalized(argv: list[str]) -> Iterator[str]:
    """Take `-o` and its value apart from each other and from options glued to it."""
    words = iter(argv)
    for word in words:
        if not word.startswith("-") or word == "--":
            yield word
            break
        flags, option, value = word.partition("o")
        if flags != "-" or not option:
            yield flags
        if option:
            yield "-o"
            value = value or next(words, "")
            if value:
                yield "=".join(part.strip(_BLANKS) for part in value.split("=", 1))
    yield from words


def _first_argument(argv: Sequence[str]) -> int:
    """The index of the first word that is neither an option nor an option's value."""
    position = 0
    while position < len(argv) and argv[position].startswith("-") and argv[position] != "--":
        position += 2 if argv[position] == "-o" else 1
    return min(position, len(argv))


def _without_overrides(argv: tuple[str, ...]) -> tuple[str, ...]:
    first = _first_argument(argv)
    options = [word for before, word in pairwise(("", *argv[:first])) if word != "-o" and before != "-o"]
    return (*options, *argv[first:])


def _check_overrides(raw: RawService) -> None:
    options = raw.argv[: _first_argument(raw.argv)]
    if options and options[-1] == "-o":
        raise ConfigError("option -o has no value, expected name=value", where=raw.where, name=raw.key)
    for assignment in raw.assignments:
        try:
            split_assignment(assignment)
        except ValueError as error:
            raise ConfigError(str(error), where=raw.where, name=raw.key) from None


def _partition(assignment: str) -> tuple[str, str, str]:
    return assignment.partition("=")


def _yes_no(word: str) -> bool | None:
    return None if word == "-" else word == "y"


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 100 else text[:97] + "..."
