"""`$name` in forward_path, luser_relay, command_execution_directory and pipe(8) arguments (postconf(5))."""

from __future__ import annotations

from collections.abc import Mapping

from pymta.config import macros
from pymta.model.frozen import frozen


@frozen
class Expansion:
    """An expanded text, the names whose values made it, and whether a name in it had no value."""

    text: str
    used: frozenset[str]
    is_incomplete: bool


class ExpandError(ValueError):
    """The template is malformed; the text shows where."""


def expand(template: str, values: Mapping[str, str], allowed: str | None = None) -> Expansion:
    """Replace the `$` expressions of main.cf's language; an empty value counts as none.

    Characters of values that are not in `allowed` become underscores. Raises ExpandError.
    """
    used: set[str] = set()
    missing: set[str] = set()

    def lookup(name: str) -> str:
        value = values.get(name, "")
        (used if value else missing).add(name)
        return value if allowed is None else censored(value, allowed)

    def is_set(name: str) -> bool:
        if values.get(name):
            used.add(name)
        return bool(values.get(name))

    try:
        text = macros.expand(template, lookup, is_set)
    except macros.MacroError as error:
        raise ExpandError(str(error)) from error
    return Expansion(text, frozenset(used), bool(missing))


def censored(value: str, allowed: str) -> str:
    """`value` with an underscore for every character that is not in `allowed`."""
    return "".join(char if char in allowed else "_" for char in value)
