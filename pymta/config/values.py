"""Raw text to typed values: numbers with limits, times with units, yes and no, lists (postconf(5))."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pymta.config.macros import balanced

_INTEGER = re.compile(r"\s*[+-]?[0-9]+", re.ASCII)
_TIME = re.compile(r"\s*\+?([0-9]+)([a-zA-Z]?)", re.ASCII)
_DELAY = re.compile(r"\s*\+?([0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})([smhdw]?)", re.ASCII)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_LARGEST_INTEGER = 2**63 - 1
_LARGEST_TIME = 2**31 - 1
_SEPARATORS = ", \t\r\n"
_SEPARATOR = re.compile(r"[,\s]+", re.ASCII)


def parse_bool(text: str) -> bool:
    """`yes` or `no`, in any case. Raises ValueError."""
    word = text.lower()
    if word not in ("yes", "no"):
        raise ValueError(f'found "{text}", expected yes or no')
    return word == "yes"


def parse_int(text: str, minimum: int = 0, maximum: int = 0) -> int:
    """A decimal number without unit. A limit of zero is none, as Postfix has it. Raises ValueError."""
    if not _INTEGER.fullmatch(text) or len(text) > 40:
        raise ValueError(f'found "{text[:60]}", expected a whole number')
    number = int(text)
    if abs(number) > _LARGEST_INTEGER:
        raise ValueError(f'found "{text}", expected a number below {_LARGEST_INTEGER}')
    _check_limits(text, number, minimum, maximum, "")
    return number


def parse_time(text: str, default_unit: str = "s", minimum: int = 0, maximum: int = 0) -> float:
    """Seconds from `10`, `10s`, `5m`, `2h`, `3d` or `1w`. A limit of zero is none. Raises ValueError."""
    match = _TIME.match(text)
    unit = _UNITS.get(match[2] or default_unit) if match else None
    if match is None or unit is None or (not match[2] and match.end() != len(text)) or len(match[1]) > 18:
        raise ValueError(f'found "{text[:60]}", expected a time such as 30s, 5m, 2h, 1d or 1w')
    seconds = int(match[1]) * unit
    if seconds > _LARGEST_TIME:
        raise ValueError(f'found "{text}", expected at most {_LARGEST_TIME} seconds')
    _check_limits(text, seconds, minimum, maximum, " seconds")
    return float(seconds)


def parse_delay(text: str) -> float:
    """Seconds from a time that may have a fraction: `0.25`, `1.5s`, `2m`. Raises ValueError."""
    match = _DELAY.fullmatch(text)
    seconds = float(match[1]) * _UNITS[match[2] or "s"] if match else -1.0
    if not 0 <= seconds <= _LARGEST_TIME:
        raise ValueError(f'found "{text[:60]}", expected a time such as 0.25s, 30s or 5m')
    return seconds


def check_length(text: str, minimum: int, maximum: int) -> str:
    """`text`, where it is as long as it must be. Raises ValueError."""
    if minimum and len(text) < minimum:
        raise ValueError("found an empty value, expected text" if not text else f'found "{text}", which is too short')
    if maximum and len(text) > maximum:
        raise ValueError(f"found {len(text)} characters, expected at most {maximum}")
    return text


def split_list(text: str) -> list[str]:
    """Items separated by blanks and commas; text in balanced `{ }` stays together, braces included.

    An opening brace that is never closed takes the rest of the text, as Postfix does. An item that begins with `#`
    ends the list, as in Postfix since 3.8; `late_comment` finds it for a warning.
    """
    if "{" not in text and "#" not in text:
        return [item for item in _SEPARATOR.split(text) if item]
    items: list[str] = []
    for start, end in _items(text):
        if text[start] == "#":
            break
        items.append(text[start:end])
    return items


def late_comment(text: str) -> str | None:
    """The `#comment` behind other text of a value, as postconf(1) shows it: its first word and 20 more characters."""
    if "#" not in text:
        return None
    for start, end in _items(text):
        if text[start] == "#":
            return f"{text[start:end]} {text[end + 1 : end + 21]}..."
    return None


def _items(text: str) -> Iterator[tuple[int, int]]:
    """Where each item begins and ends."""
    position = 0
    while position < len(text):
        if text[position] in _SEPARATORS:
            position += 1
            continue
        end = _item_end(text, position)
        yield position, end
        position = end


def _item_end(text: str, position: int) -> int:
    while position < len(text) and text[position] not in _SEPARATORS:
        if text[position] == "{":
            closed = balanced(text, position)
            position = closed if closed >= 0 else len(text)
        else:
            position += 1
    return position


def _check_limits(text: str, number: int, minimum: int, maximum: int, unit: str) -> None:
    if minimum and number < minimum:
        raise ValueError(f'found "{text}", expected at least {minimum}{unit}')
    if maximum and number > maximum:
        raise ValueError(f'found "{text}", expected at most {maximum}{unit}')
