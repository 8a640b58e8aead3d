"""main.cf and master.cf entries as postconf(1) prints them."""

from __future__ import annotations

from collections.abc import Sequence

from pymta.config.mastercf import RawService
from pymta.model.frozen import frozen

_LINE_LIMIT = 80
_INDENT = " " * 4
# Where each field of a service begins, if those before it leave room.
_COLUMNS = (0, 11, 17, 25, 33, 41, 49, 57)
_NEEDS_BRACES = frozenset(" \t\r\n")


@frozen
class Style:
    """`fold` wraps long lines (-f), `names` and `values` tell which half of `name = value` is shown (-H, -h)."""

    fold: bool = False
    names: bool = True
    values: bool = True


def format_assignment(name: str, text: str, style: Style) -> str:
    """`name = value`, runs of blanks in the value shown as one; wrapped at blanks before column 80."""
    if not style.values:
        return name
    words = text.split()
    head = [name, "="] if style.names else []
    if not style.fold:
        return " ".join([*head, *words])
    lines = [" ".join(head)] if head else []
    for word in words:
        if lines and (len(lines[-1]) + 1 + len(word) <= _LINE_LIMIT):
            lines[-1] += f" {word}"
        else:
            lines.append(_INDENT + word if lines else word)
    return "\n".join(lines)


def format_service(service: RawService, fold: bool) -> str:
    """One entry in columns; with `fold`, each `-o` on its own line and the other arguments wrapped."""
    line = ""
    for column, word in zip(_COLUMNS, service.fields, strict=True):
        line = f"{line} ".ljust(column) + word if line else word
    lines = [line]
    room = True
    for item, breaks, alone in _arguments(service.argv):
        if not fold or (room and not breaks and len(lines[-1]) + 1 + len(item) < _LINE_LIMIT):
            lines[-1] += f" {item}"
        else:
            lines.append(_INDENT + item)
        room = not alone
    return "\n".join(lines)


def format_command(service: RawService) -> str:
    """The last field with all its arguments, on one line."""
    return " ".join([service.fields[7], *(item for item, _, _ in _arguments(service.argv))])


def _arguments(argv: Sequence[str]) -> list[tuple[str, bool, bool]]:
    """Each argument as shown, whether it starts a new line, and whether nothing may follow it there."""
    items: list[tuple[str, bool, bool]] = []
    position = 0
    in_options = True
    while position < len(argv):
        word = argv[position]
        position += 1
        if in_options and word == "-o" and position < len(argv):
            items.append((f"-o {_braced(argv[position])}", True, True))
            position += 1
        elif in_options and (not word.startswith("-") or word == "--"):
            has_options = bool(items)
            in_options = False
            items.append((_braced(word), has_options, False))
        else:
            items.append((_braced(word), False, False))
    return items


def _braced(word: str) -> str:
    return f"{{{word}}}" if not word or _NEEDS_BRACES & set(word) else word
