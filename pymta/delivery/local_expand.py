"""`$name` in forward_path, luser_relay, command_execution_directory and pipe(8) arguments (postconf(5))."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_NAME = re.compile(r"[A-Za-z0-9_]+")
_CLOSING = {"{": "}", "(": ")"}


@dataclass(slots=True)
class Expansion:
    """An expanded text, the names it used, and those that have no value."""

    text: str = ""
    used: set[str] = field(default_factory=set)
    undefined: set[str] = field(default_factory=set)


class ExpandError(ValueError):
    """The template is malformed; the text names what is wrong."""


def expand(template: str, values: Mapping[str, str], allowed: str | None = None) -> Expansion:
    """Replace `$name`, `${name}`, `$(name)`, `${name?text}`, `${name:text}` and `${name?{text}:{text}}`.

    A name without a value, or with an empty one, counts as undefined: it expands to nothing. Characters of values
    that are not in `allowed` become underscores. Raises ExpandError.
    """
    result = Expansion()
    result.text = _expand(template, values, allowed, result)
    return result


def _expand(template: str, values: Mapping[str, str], allowed: str | None, result: Expansion) -> str:
    parts = []
    position = 0
    while (dollar := template.find("$", position)) >= 0:
        parts.append(template[position:dollar])
        after = template[dollar + 1 : dollar + 2]
        if after == "$":
            parts.append("$")
            position = dollar + 2
        elif after in _CLOSING:
            end = _matching(template, dollar + 1)
            parts.append(_expand_braced(template[dollar + 2 : end], values, allowed, result))
            position = end + 1
        elif name := _NAME.match(template, dollar + 1):
            parts.append(_value(name[0], values, allowed, result))
            position = name.end()
        else:
            raise ExpandError(f"no name after $ in {template!r}")
    parts.append(template[position:])
    return "".join(parts)


def _expand_braced(inside: str, values: Mapping[str, str], allowed: str | None, result: Expansion) -> str:
    name = _NAME.match(inside)
    if not name:
        raise ExpandError(f"no name in ${{{inside}}}")
    rest = inside[name.end() :].lstrip()
    if not rest:
        return _value(name[0], values, allowed, result)
    operator, rest = rest[0], rest[1:]
    if operator not in "?:":
        raise ExpandError(f"expected ? or : after the name in ${{{inside}}}")
    is_set = bool(values.get(name[0]))
    if is_set:
        result.used.add(name[0])
    chosen = _choose(rest, operator, is_set)
    return _expand(chosen, values, allowed, result) if chosen is not None else ""


def _choose(rest: str, operator: str, is_set: bool) -> str | None:
    """The branch to expand: the first where `?` and a value, or `:` and none, come together; else the second."""
    first, second = rest, None
    if operator == "?" and rest.lstrip().startswith("{"):
        rest = rest.lstrip()
        end = _matching(rest, 0)
        first, remainder = rest[1:end], rest[end + 1 :].strip()
        if remainder.startswith(":"):
            second = _unbraced(remainder[1:].strip())
        elif remainder:
            raise ExpandError(f"unexpected text {remainder!r}")
    elif operator == ":":
        first = _unbraced(rest)
    return first if is_set == (operator == "?") else second


def _unbraced(text: str) -> str:
    return text[1:-1] if text.startswith("{") and text.endswith("}") else text


def _matching(text: str, position: int) -> int:
    """Where the bracket that opens at `position` closes."""
    opening, closing = text[position], _CLOSING[text[position]]
    depth = 0
    for index in range(position, len(text)):
        depth += (text[index] == opening) - (text[index] == closing)
        if depth == 0:
            return index
    raise ExpandError(f"missing {closing} in {text!r}")


def _value(name: str, values: Mapping[str, str], allowed: str | None, result: Expansion) -> str:
    value = values.get(name, "")
    if not value:
        result.undefined.add(name)
        return ""
    result.used.add(name)
    return value if allowed is None else censored(value, allowed)


def censored(value: str, allowed: str) -> str:
    """`value` with an underscore for every character that is not in `allowed`."""
    return "".join(char if char in allowed else "_" for char in value)
