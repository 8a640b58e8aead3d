"""master.cf: service entries (master(5))."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pymta.config.maincf import logical_lines, split_assignment
from pymta.config.values import split_list
from pymta.errors import ConfigError

FIELDS = ("service", "type", "private", "unprivileged", "chroot", "wakeup", "process_limit", "command")
TYPES = ("inet", "unix", "fifo", "pass", "unix-dgram")

_YES_NO = ("-", "y", "n")
_NUMBER = re.compile(r"-|[0-9]{1,9}")
_WAKEUP = re.compile(r"-|[0-9]{1,9}\??")
# What each of the eight fields may hold, and the words for one that holds something else.
_CHECKS: tuple[tuple[str, re.Pattern[str] | tuple[str, ...]], ...] = (
    ("service type", TYPES),
    ("private", _YES_NO),
    ("unprivileged", _YES_NO),
    ("chroot", _YES_NO),
    ("wakeup", _WAKEUP),
    ("process_limit", _NUMBER),
)


@dataclass(frozen=True, slots=True)
class Service:
    """One service of master.cf.

    `private`, `unpriv` and `chroot` are None where the field is `-` and Postfix's default applies; `wakeup` is in
    seconds, 0 for never, `wakeup_if_used` its `?`; `maxproc` is None for `$default_process_limit`, 0 for no limit.
    `args` are the command's arguments without those of `-o`; `overrides` those, in order. `fields` and `argv` are
    the entry as written.
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
    fields: tuple[str, ...]
    argv: tuple[str, ...]

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
    for line in logical_lines(text, str(path), warnings):
        service = parse_service(line.text, f"{path.name}:{line.number}")
        if service.key in found:
            warnings.append(f"{path}: line {line.number}: duplicate master.cf entry for service {service.key}")
        found[service.key] = service
    return tuple(found.values())


def parse_service(text: str, where: str) -> Service:
    """Read one entry. Raises ConfigError naming the field, what was found and what was expected."""
    words = split_list(text.replace(",", "\0"))
    words = [word.replace("\0", ",") for word in words]
    if len(words) < len(FIELDS):
        raise ConfigError(f'bad field count in "{_short(text)}": found {len(words)}, expected 8 or more', where=where)
    fields = tuple(words[: len(FIELDS)])
    for (field, allowed), word in zip(_CHECKS, fields[1:], strict=False):
        _check(field, allowed, word, where, fields[0])
    argv = tuple(unbrace(word, where) for word in words[len(FIELDS) :])
    args, overrides = _split_overrides(argv, where)
    return Service(
        name=fields[0],
        type=fields[1],
        private=_yes_no(fields[2]),
        unpriv=_yes_no(fields[3]),
        chroot=_yes_no(fields[4]),
        wakeup=0 if fields[5] == "-" else int(fields[5].rstrip("?")),
        wakeup_if_used=fields[5].endswith("?"),
        maxproc=None if fields[6] == "-" else int(fields[6]),
        command=fields[7],
        args=args,
        overrides=overrides,
        where=where,
        fields=fields,
        argv=argv,
    )


def unbrace(word: str, where: str) -> str:
    """The inside of `{ ... }`, blanks at its ends taken off; other words as they are. Raises ConfigError."""
    if not word.startswith("{"):
        return word
    if not word.endswith("}") or word.count("{") > word.count("}"):
        problem = "missing '}'" if word.count("{") > word.count("}") else "syntax error after '}'"
        raise ConfigError(f'{problem} in "{_short(word)}"', where=where)
    return word[1:-1].strip()


def _check(field: str, allowed: re.Pattern[str] | tuple[str, ...], word: str, where: str, service: str) -> None:
    good = word in allowed if isinstance(allowed, tuple) else allowed.fullmatch(word)
    if not good:
        if isinstance(allowed, tuple):
            wanted = f"one of {', '.join(allowed)}"
        else:
            wanted = "a number" if field == "process_limit" else 'a number of seconds, a "?" behind it allowed'
        raise ConfigError(f'invalid {field} field: found "{word}", expected {wanted}', where=where, name=service)


def _yes_no(word: str) -> bool | None:
    return None if word == "-" else word == "y"


def _split_overrides(argv: tuple[str, ...], where: str) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Take `-o name=value`, `-oname=value` and `-o { name = value }` off the options before the first argument."""
    args: list[str] = []
    overrides: list[tuple[str, str]] = []
    position = 0
    while position < len(argv) and argv[position].startswith("-") and argv[position] != "--":
        word = argv[position]
        position += 1
        if not word.startswith("-o"):
            args.append(word)
            continue
        if word == "-o":
            if position == len(argv):
                raise ConfigError("option -o without a value, expected name=value", where=where)
            assignment = argv[position]
            position += 1
        else:
            assignment = word[2:]
        try:
            overrides.append(split_assignment(assignment))
        except ValueError as error:
            raise ConfigError(str(error), where=where) from None
    return (*args, *argv[position:]), tuple(overrides)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:57] + "..."
