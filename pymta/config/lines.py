"""The lines of main.cf and master.cf (postconf(5), "syntax").

Imports next to nothing: `sendmail` reads main.cf for every message (docs/commands.md, "What a command costs").
"""

from __future__ import annotations

import os

from pymta.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike
    from typing import BinaryIO

_BLANKS = " \t\r\n\f\v"
_SHOWN = 30


def read_text(path: str | PathLike[str], shown: str = "") -> str:
    """A configuration file's text; bytes that are not UTF-8 survive as surrogates. Raises ConfigError.

    `shown` is the path as the user spelled it.
    """
    try:
        with _open(path) as file:
            return file.read().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise ConfigError(f"open {shown or path}: {error.strerror}") from error


def _open(path: str | PathLike[str]) -> BinaryIO:
    try:
        return open(path, "rb")
    except PermissionError:
        # A process that gave up root asks one that did not; commands never do, and need not load this.
        from pymta.runtime.root_files import open_file

        return open_file(os.fspath(path))


def logical_lines(text: str, path: str, warnings: list[str]) -> Iterator[tuple[int, str]]:
    """Join continuation lines; drop comments and blank lines, also between a line and its continuation.

    Gives each line's first number and its text, without the last line's end. A continuation line with nothing
    before it is skipped with a warning.
    """
    parts: list[str] = []
    first = 0
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip(_BLANKS)
        if not stripped or stripped.startswith("#"):
            continue
        if line[0] not in _BLANKS:
            if parts:
                yield first, "".join(parts)
            parts, first = [line], number
        elif parts:
            parts.append(line)
        else:
            dots = "..." if len(line) > _SHOWN else ""
            warnings.append(f'{path}: logical line must not start with whitespace: "{line[:_SHOWN]}{dots}"')
    if parts:
        yield first, "".join(parts)


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
