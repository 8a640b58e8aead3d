"""One value of main.cf for a command that needs no more: without the registry's thousand lines and their types."""

from __future__ import annotations

from pymta.config.lines import logical_lines, read_text, split_assignment
from pymta.errors import ConfigError

REGISTRY = __file__.rpartition("/")[0] + "/parameters.tsv"
"""Every known parameter, a line each: see `pymta.config.registry`."""


def value_of(directory: str, name: str) -> str:
    """The text of the parameter `name`, as `Config.load(directory).text(name)` has it. Raises ConfigError.

    For parameters of plain text. A value with a `$` in it takes the whole configuration.
    """
    written = _written(directory, name)
    text = _default(name) if written is None else written
    if "$" not in text:
        return text
    from pathlib import Path

    from pymta.config.settings import Config

    return Config.load(Path(directory)).text(name)


def _written(directory: str, name: str) -> str | None:
    """What main.cf says last, None where it says nothing; like the whole configuration, it refuses broken lines."""
    path = f"{directory}/main.cf"
    found = None
    for number, line in logical_lines(read_text(path), path, []):
        try:
            own, text = split_assignment(line)
        except ValueError as error:
            raise ConfigError(str(error), where=f"main.cf:{number}") from None
        if own == name:
            found = text
    return found


def _default(name: str) -> str:
    registry = read_text(REGISTRY)
    start = registry.index(f"\n{name}\t") + 1
    return registry[start : registry.index("\n", start)].split("\t")[6]
