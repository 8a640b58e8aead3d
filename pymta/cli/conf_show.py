"""pymta-conf, the half that shows (postconf(1))."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from pymta.cli.conf_request import Request, UsageError, matches_key, split_pattern
from pymta.config import Config
from pymta.config.deprecated import deprecation
from pymta.config.lines import logical_lines, read_text
from pymta.config.maincf import Entry, parse_main
from pymta.config.mastercf import FIELDS, RawService, read_entry, typed
from pymta.config.names import (
    TABLE_SETTINGS,
    broken_tables,
    deprecations,
    late_comments,
    service_parameters,
    survey,
    table_files,
)
from pymta.config.registry import parameters
from pymta.config.show import format_assignment, format_command, format_service
from pymta.errors import ConfigError

_SHOWN_KINDS = ("builtin", "own", "readonly")


class Files:
    """main.cf and master.cf of one directory, as `request` sees them."""

    def __init__(self, request: Request, warn: Callable[[str], None]) -> None:
        self._request = request
        self._warn = warn
        self._main = f"{request.directory}/main.cf"
        self._master = f"{request.directory}/master.cf"
        self._entries = self._read_main()
        self._services = self._read_master()
        self._values = {name: entry.text for name, entry in self._entries.items()}
        self._survey = survey(self._values, self._services)
        self._config = Config(self._entries, directory=Path(request.directory), program="postconf")

    def show(self) -> list[str]:
        self._warn_about_names()
        if self._request.mode == "master":
            lines = self._show_services()
        elif self._request.mode == "fields":
            lines = self._show_fields()
        elif self._request.mode == "overrides":
            lines = self._show_overrides()
        else:
            lines = self._show_parameters()
        if not self._request.defaults and not self._request.quiet:
            self._warn_about_unused()
        return lines

    def _read_main(self) -> dict[str, Entry]:
        if self._request.defaults:
            return {}
        raw = parse_main(read_file(self._main), self._main)
        for text in raw.warnings:
            self._warn(text)
        entries = dict(raw.entries)
        entries.update({name: Entry(name, text, "-o") for name, text in self._request.overrides.items()})
        return entries

    def _read_master(self) -> list[RawService]:
        problems: list[str] = []
        try:
            lines = list(logical_lines(read_file(self._master), self._master, problems))
        except ConfigError as error:
            if self._request.mode != "main":
                raise
            if not self._request.defaults:
                self._warn(str(error))
            return []
        count = len(problems)
        found = []
        for number, line in lines:
            try:
                found.append(read_entry(line, f"{self._master}:{number}", problems))
            except ConfigError as error:
                raise ConfigError(error.message) from None
        for number, text in enumerate(problems):
            self._warn(text if number < count else f"master.cf: {text}")
        return found

    def _path(self, scope: RawService | None) -> str:
        return self._master if scope else self._main

    def _warn_about_names(self) -> None:
        for scope, text in broken_tables(self._values, self._services):
            self._warn(f"{'master.cf' if scope else 'main.cf'}: {text}")
        for scope, _, text in late_comments(self._values, self._services, self._survey):
            self._warn(f"{self._path(scope)}: {text}")
        for scope, name in self._survey.undefined:
            self._warn(f"{self._path(scope)}: undefined parameter: {name}")
        scopes: list[tuple[RawService | None, list[tuple[str, str]]]] = [(None, list(self._values.items()))]
        scopes += [(service, service.overrides) for service in self._services]
        for scope, values in scopes:
            for name, text in values:
                line = parameters().get(name)
                if line and line.kind == "readonly":
                    self._warn(f"{self._path(scope)}: read-only parameter assignment: {name}={text}")

    def _warn_about_unused(self) -> None:
        found = [
            (scope, name, f"unused parameter: {name}={text}")
            for scope, name, text in self._survey.unused
            if not deprecation(name, is_used=False)
        ]
        found += deprecations(self._values, self._services, self._survey)
        for scope, _, text in sorted(found, key=lambda one: one[1]):
            if scope or self._request.mode == "main":
                self._warn(f"{self._path(scope)}: {text}")
        for kind, path in table_files(self._values, self._services):
            self._warn_about_table(kind, path)

    def _warn_about_table(self, kind: str, path: str) -> None:
        """What a client table's own file sets and the table does not read; a file that is not there is not ours."""
        try:
            raw = parse_main(read_file(path), path)
        except ConfigError:
            return
        for name, entry in raw.entries.items():
            if name not in TABLE_SETTINGS[kind]:
                self._warn(f"{kind}:{path}: unused parameter: {name}={entry.text}")

    def _show_parameters(self) -> list[str]:
        classes = self._classes()
        if self._request.names:
            return self._show_named(set().union(*classes.values()))
        wanted = set().union(*(names for kind, names in classes.items() if kind in self._request.classes))
        if self._request.only_set:
            wanted = {name for name in wanted if name in self._entries or name == "config_directory"}
        return [self._parameter_line(name) for name in sorted(wanted)]

    def _classes(self) -> dict[str, set[str]]:
        builtin = {
            name
            for name, line in parameters().items()
            if line.kind in _SHOWN_KINDS or (line.kind in ("legacy", "future") and name in self._entries)
        }
        service: set[str] = set()
        for entry in self._services:
            service.update(service_parameters(entry))
        return {"builtin": builtin, "service": service - builtin, "user": self._survey.user_defined}

    def _show_named(self, known: set[str]) -> list[str]:
        lines = []
        for name in self._request.names:
            if name in known:
                lines.append(self._parameter_line(name))
            else:
                self._warn(f"{name}: unknown parameter")
        return lines

    def _parameter_line(self, name: str) -> str:
        return self._line(name, self._parameter_text(name))

    def _line(self, name: str, text: str) -> str:
        """One line of the answer; with -j one JSON object."""
        if self._request.as_json:
            return json.dumps({"name": name, "value": " ".join(text.split())}, ensure_ascii=False)
        return format_assignment(name, text, self._request.style)

    def _parameter_text(self, name: str) -> str:
        if self._request.expand and name in self._entries | parameters().keys():
            return self._config.text(name)
        entry = self._entries.get(name)
        if entry and not (name in parameters() and parameters()[name].kind == "readonly"):
            return entry.text
        if name in parameters():
            return self._config.written_default(name)
        for service in self._services:
            if (text := service_parameters(service).get(name)) is not None:
                return self._config.expanded(text) if self._request.expand else text
        return ""

    def _selected(self, parts: int) -> list[tuple[str, RawService]]:
        """Services that the names ask for, each with the pattern of what comes behind its type."""
        if not self._request.names:
            return [("*", service) for service in self._services]
        found: list[tuple[str, RawService]] = []
        for name in self._request.names:
            pattern, rest = split_pattern(name, parts)
            matching = [service for service in self._services if matches_key(service.key, pattern)]
            if not matching:
                self._warn(f'unmatched request: "{name}"')
            found.extend((rest, service) for service in matching)
        return found

    def _show_services(self) -> list[str]:
        lines = []
        for _, service in self._selected(2):
            shown = self._expanded(service) if self._request.expand else service
            if self._request.as_json:
                lines.append(self._line(shown.key, format_service(shown, fold=False)))
            elif self._request.style.values:
                lines.append(format_service(shown, self._request.style.fold))
            else:
                lines.append(shown.key)
        return lines

    def _show_fields(self) -> list[str]:
        lines = []
        for rest, service in self._selected(3):
            if rest not in ("*", *FIELDS):
                raise UsageError(f'invalid service attribute name: "{rest}"')
            for field_name, word in zip(FIELDS, service.fields, strict=True):
                if fnmatchcase(field_name, rest):
                    text = format_command(service) if field_name == "command" else word
                    lines.append(self._line(f"{service.key}/{field_name}", text))
        return lines

    def _show_overrides(self) -> list[str]:
        lines = []
        matched: set[str] = set()
        for rest, service in self._selected(3):
            values = dict(service.overrides)
            names = [name for name in sorted(values) if fnmatchcase(name, rest)]
            matched.update([rest] if names or rest == "*" else [])
            for name in names:
                text = self._view(service).text(name) if self._request.expand else values[name]
                lines.append(self._line(f"{service.key}/{name}", text))
        for name in self._request.names:
            rest = split_pattern(name, 3)[1]
            if rest not in matched and rest != "*":
                self._warn(f'unmatched request: "{name}"')
        return lines

    def _view(self, service: RawService) -> Config:
        return self._config.for_service(typed(service))

    def _expanded(self, service: RawService) -> RawService:
        """The entry with every `-o name=value` expanded as the service itself would."""
        view = self._view(service)
        argv = list(service.argv)
        for position, name, text in override_places(argv):
            line = parameters().get(name)
            argv[position] = f"{name}={text if line and line.type == 'raw' else view.expanded(text)}"
        return RawService(service.fields, tuple(argv), service.where)


def override_places(argv: Sequence[str]) -> list[tuple[int, str, str]]:
    service = RawService((), tuple(argv), "")
    remaining = service.overrides
    places = []
    for position, word in enumerate(argv):
        if remaining and position and argv[position - 1] == "-o" and word == "=".join(remaining[0]):
            name, text = remaining.pop(0)
            places.append((position, name, text))
    return places


def read_file(path: str) -> str:
    """The text of a file, named in errors as the user spelled it. Raises ConfigError."""
    return read_text(Path(path), path)
