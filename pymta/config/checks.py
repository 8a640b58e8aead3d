"""What to tell the administrator about a configuration before mail flows: warnings and errors as values."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import TYPE_CHECKING

from pymta.config.deprecated import deprecation
from pymta.config.macros import MacroError, references
from pymta.config.names import deprecations, late_comments, survey
from pymta.config.registry import Parameter, parameters, transport_suffixes
from pymta.errors import ConfigError
from pymta.model.frozen import frozen

if TYPE_CHECKING:
    from pymta.config.settings import Config

_TEMPLATE = "transport_"
# What the configuration itself reads, and what belongs to a set that is acted on as a whole.
_ALWAYS = frozenset(
    (
        *("compatibility_level", "config_directory", "inet_interfaces", "inet_protocols", "mail_name", "mail_version"),
        *("mydomain", "myhostname", "mynetworks_style", "process_id", "process_name", "service_name"),
    )
)


class Severity(Enum):
    WARNING = "warning"
    ERROR = "error"


@frozen
class Problem:
    """One finding. `where` is `FILE:LINE`, or empty; `name` the parameter, or empty."""

    severity: Severity
    message: str
    where: str = ""
    name: str = ""

    def __str__(self) -> str:
        return ": ".join(part for part in (self.severity.value, self.where, self.name, self.message) if part)


def check(config: Config, acted_on: frozenset[str]) -> list[Problem]:
    """Every finding about `config`, files first, in the order of the files.

    `acted_on` are the parameters that some service reads. One that is known, set and not in it is one warning, or
    an error where skipping it would let mail through that it is there to refuse or to protect.
    """
    problems = [Problem(Severity.WARNING, text) for text in config.warnings]
    problems.extend(_odd_names(config))
    effective = _closure(config, acted_on)
    said: set[tuple[str, Severity]] = set()
    for scope in (config, *(config.for_service(service) for service in config.services)):
        names = config.entries if scope is config else dict(scope.own)
        for name in names:
            problem = _skipped(scope, name, effective)
            if problem and (name, problem.severity) not in said:
                said.add((name, problem.severity))
                problems.append(problem)
            problems.extend(_broken(scope, name, effective))
    return list(dict.fromkeys(problems))


def _odd_names(config: Config) -> Iterator[Problem]:
    values = {name: entry.text for name, entry in config.entries.items()}
    found = survey(values, [service.raw for service in config.services])
    transports = tuple(f"_{suffix}" for suffix in transport_suffixes())
    for scope, name, text in found.unused:
        if deprecation(name, is_used=False):
            continue
        if config.services or not name.endswith(transports):
            where = scope.where if scope else config.where(name)
            yield Problem(Severity.WARNING, f"unused parameter: {name}={text}", where)
    services = [service.raw for service in config.services]
    for scope, name, text in (*late_comments(values, services, found), *deprecations(values, services, found)):
        yield Problem(Severity.WARNING, text, scope.where if scope else config.where(name))
    for scope, name in found.undefined:
        yield Problem(Severity.WARNING, f"undefined parameter: {name}", scope.where if scope else "")
    for name, entry in config.entries.items():
        line = parameters().get(name)
        if line and line.kind == "readonly":
            yield Problem(Severity.WARNING, f"read-only parameter assignment: {name}={entry.text}", entry.where)


def _closure(config: Config, acted_on: frozenset[str]) -> frozenset[str]:
    """`acted_on`, and what those take over by `$` from their values and defaults."""
    found: set[str] = set()
    waiting = [*acted_on, *_ALWAYS]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        line = parameters().get(name)
        texts = [line.default] if line else []
        if config.is_set(name):
            texts.append(config.entries[name].text)
        for service in config.services:
            texts.extend(text for own, text in service.overrides if own == name)
        for text in texts:
            waiting.extend(_references(text))
    return frozenset(found)


def _references(text: str) -> list[str]:
    try:
        return references(text)
    except MacroError:
        return []


def _skipped(config: Config, name: str, acted_on: frozenset[str]) -> Problem | None:
    line = parameters().get(name)
    if line is None or name in acted_on or line.guard == "inert" or line.kind in ("obsolete", "readonly", "template"):
        return None
    if line.kind == "service" and _transport_acted_on(line, acted_on):
        return None
    where = config.where(name)
    if _opens_a_door(config, line, acted_on):
        text = f'this version does not act on it, and to ignore "{_shown(config, name)}" would be unsafe'
        return Problem(Severity.ERROR, text, where, name)
    return Problem(Severity.WARNING, "known, but this version does not act on it", where, name)


def _transport_acted_on(line: Parameter, acted_on: frozenset[str]) -> bool:
    """A `<transport>_...` parameter is acted on where its template, or the default it falls back to, is."""
    for suffix in transport_suffixes():
        if line.name.endswith(f"_{suffix}"):
            template = parameters()[_TEMPLATE + suffix]
            return template.name in acted_on or any(name in acted_on for name in _references(template.default))
    return False


def _opens_a_door(config: Config, line: Parameter, acted_on: frozenset[str]) -> bool:
    """Read the guard: `any` or `not:HARMLESS,...`, `@FEATURE` behind it where the parameter limits a feature."""
    rule, _, feature = line.guard.partition("@")
    if not rule or (feature and feature not in acted_on):
        return False
    try:
        text = config.text(line.name)
        default = config.default(line.name)
    except ConfigError:
        return True
    harmless = rule.removeprefix("not:").split(",") if rule.startswith("not:") else []
    return text.lower() not in ("", default.lower(), *harmless)


def _shown(config: Config, name: str) -> str:
    text = config.entries[name].text
    return text if len(text) <= 60 else text[:57] + "..."


def _broken(config: Config, name: str, acted_on: frozenset[str]) -> Iterator[Problem]:
    """A value that cannot be read: of a parameter that something reads."""
    if name not in acted_on:
        return
    line = parameters().get(name)
    try:
        config.value(name)
        if line and line.type == "raw":
            references(config.text(name))
    except ConfigError as error:
        yield Problem(Severity.ERROR, error.message, error.where or "", error.name or "")
    except MacroError as error:
        yield Problem(Severity.ERROR, str(error), config.where(name), name)
