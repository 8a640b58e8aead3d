"""Edit main.cf and master.cf as text, comments and order kept (postconf(1) -e, -#, -X)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from enum import Enum
from pathlib import Path

from pymta.errors import ConfigError

_BLANKS = " \t\r\n\f\v"


class Action(Enum):
    SET = "-e"
    COMMENT_OUT = "-#"
    EXCLUDE = "-X"


def edit_main(text: str, action: Action, values: Mapping[str, str], path: str, warnings: list[str]) -> str:
    """Set, comment out or remove the assignments of the names in `values`; new names go to the end."""
    seen: set[str] = set()
    parts: list[str] = []
    for block, is_entry in _blocks(text):
        name = block.partition("=")[0].strip(_BLANKS) if is_entry else ""
        if name not in values:
            parts.append(block)
            continue
        if name in seen:
            warnings.append(f'{path}: multiple entries for "{name}"')
        seen.add(name)
        parts.append(_edited(block, action, f"{name} = {values[name]}\n"))
    if action is Action.SET:
        parts.append(_line_end(parts))
        parts.extend(f"{name} = {value}\n" for name, value in values.items() if name not in seen)
    return "".join(parts)


def edit_master(text: str, action: Action, matches: Callable[[str], bool], entry: str = "") -> tuple[str, int]:
    """Set, comment out or remove the entries whose `NAME/TYPE` matches; also tells how many there were.

    With `Action.SET` the first becomes `entry`, others are removed, and without one `entry` goes to the end.
    """
    count = 0
    parts: list[str] = []
    for block, is_entry in _blocks(text):
        words = block.split(maxsplit=2)
        if not is_entry or len(words) < 2 or not matches(f"{words[0]}/{words[1]}"):
            parts.append(block)
            continue
        count += 1
        if action is not Action.SET or count == 1:
            parts.append(_edited(block, action, f"{entry}\n"))
    if action is Action.SET and not count and entry:
        parts.append(_line_end(parts))
        parts.append(f"{entry}\n")
    return "".join(parts), count


def replace_file(path: Path, text: str) -> None:
    """Write `text` beside `path`, sync it and put it in its place, mode and owner kept. Raises ConfigError."""
    from tempfile import mkstemp  # postconf imports this module, and seldom edits

    try:
        path = path.resolve()
        state = path.stat() if path.exists() else None
        handle, name = mkstemp(prefix=f"{path.name}.", suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(text.encode("utf-8", "surrogateescape"))
                file.flush()
                os.fchmod(file.fileno(), state.st_mode & 0o7777 if state else 0o644)
                if state and (state.st_uid, state.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(file.fileno(), state.st_uid, state.st_gid)
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as error:
        raise ConfigError(f"cannot replace {path}: {error.strerror}") from error


def _blocks(text: str) -> Iterator[tuple[str, bool]]:
    """The text in pieces: entries with their continuation lines, and every other line by itself.

    Comments and blank lines between an entry and its continuation stay in the entry.
    """
    block: list[str] = []
    pending: list[str] = []
    for line in text.splitlines(keepends=True):
        stripped = line.strip(_BLANKS)
        if not stripped or stripped.startswith("#"):
            pending.append(line)
        elif line[0] in _BLANKS and block:
            block += [*pending, line]
            pending = []
        else:
            if block:
                yield "".join(block), True
            yield from ((other, False) for other in pending)
            block, pending = [line], []
    if block:
        yield "".join(block), True
    yield from ((other, False) for other in pending)


def _edited(block: str, action: Action, replacement: str) -> str:
    if action is Action.SET:
        return replacement
    if action is Action.EXCLUDE:
        return ""
    return "".join(line if line.lstrip().startswith("#") else f"#{line}" for line in block.splitlines(keepends=True))


def _line_end(parts: list[str]) -> str:
    last = next((part for part in reversed(parts) if part), "\n")
    return "" if last.endswith("\n") else "\n"
