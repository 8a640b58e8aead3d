"""`Config`: main.cf, one service's `-o` and the registry's defaults as one set of values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from pymta.config import defaults
from pymta.config.checks import Problem, check
from pymta.config.host import Host
from pymta.config.lines import read_text
from pymta.config.macros import MacroError, expand
from pymta.config.maincf import Entry, parse_main
from pymta.config.mastercf import Service, parse_master
from pymta.config.registry import Parameter, Value, parameters, transport_parameter
from pymta.config.values import split_list
from pymta.errors import ConfigError

_READ_ONLY = frozenset(name for name, line in parameters().items() if line.kind == "readonly")


class Config:
    """An immutable configuration. Everything is expanded and checked when it is asked for, once.

    Values come, first match first, from a service's `-o`, from `overrides`, from main.cf, from the machine and from
    the registry. Names that the registry does not have are user-defined parameters: text, empty by default.
    """

    def __init__(
        self,
        entries: Mapping[str, Entry],
        services: tuple[Service, ...] = (),
        *,
        directory: Path | None = None,
        host: Host | None = None,
        service: Service | None = None,
        program: str = "pymta",
        warnings: tuple[str, ...] = (),
    ) -> None:
        self._entries = MappingProxyType(dict(entries))
        self._services = services
        self._host = host or Host()
        self._directory = directory
        self._service = service
        self._program = program
        self._warnings = warnings
        self._expanded: dict[str, str] = {}
        self._under_way: list[str] = []

    @classmethod
    def from_values(cls, values: Mapping[str, str], *, host: Host | None = None, where: str = "settings") -> Config:
        """A configuration without files: `values` has the text that main.cf would have."""
        return cls({name: Entry(name, text, where) for name, text in values.items()}, host=host)

    @classmethod
    def load(cls, directory: Path, overrides: Mapping[str, str] | None = None, *, host: Host | None = None) -> Config:
        """Read `directory`/main.cf and, where there is one, `directory`/master.cf. Raises ConfigError."""
        raw = parse_main(read_text(directory / "main.cf"), str(directory / "main.cf"))
        entries = dict(raw.entries)
        entries.update({name: Entry(name, text, "override") for name, text in (overrides or {}).items()})
        services: tuple[Service, ...] = ()
        if (directory / "master.cf").exists():
            services = parse_master(read_text(directory / "master.cf"), directory / "master.cf", raw.warnings)
        return cls(entries, services, directory=directory, host=host, warnings=tuple(raw.warnings))

    @property
    def entries(self) -> Mapping[str, Entry]:
        """What is set, as written, in the order of the files."""
        return self._entries

    @property
    def services(self) -> tuple[Service, ...]:
        """The services of master.cf, in its order."""
        return self._services

    @property
    def directory(self) -> Path | None:
        """Where main.cf was read; None for a configuration from code."""
        return self._directory

    @property
    def own(self) -> Mapping[str, str]:
        """The `-o` of the service whose view this is, the last of each name; empty for the whole."""
        return dict(self._service.overrides) if self._service else {}

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was odd about the files while they were read, in Postfix's words."""
        return self._warnings

    def for_service(self, service: Service) -> Config:
        """This configuration as `service` sees it: its `-o` on top, the last of a name counts."""
        entries = dict(self._entries)
        entries.update({name: Entry(name, text, service.where) for name, text in service.overrides})
        return self._with(entries, service)

    def with_values(self, values: Mapping[str, str], where: str = "settings") -> Config:
        """The same with `values` on top."""
        entries = dict(self._entries)
        entries.update({name: Entry(name, text, where) for name, text in values.items()})
        return self._with(entries, self._service)

    def is_set(self, name: str) -> bool:
        """Whether main.cf, `-o` or code sets `name`."""
        return name in self._entries

    def where(self, name: str) -> str:
        """`main.cf:12`, `master.cf:40`, what else set `name`, or `default`."""
        entry = self._entries.get(name)
        return entry.where if entry else "default"

    def text(self, name: str) -> str:
        """The value with every `$` replaced; `raw` parameters keep theirs. Raises ConfigError."""
        known = self._expanded.get(name)
        if known is None:
            known = self._expanded[name] = self._resolve(name)
        return known

    def value(self, name: str) -> Value:
        """The value by the registry's type, times in seconds; user-defined names are text. Raises ConfigError."""
        line = parameters().get(name)
        return self.parse(line, name) if line else self.text(name)

    def expanded(self, text: str) -> str:
        """`text` with its `$` replaced as in a value of main.cf. Raises ConfigError."""
        try:
            return expand(text, self._lookup, self._is_set)
        except MacroError as error:
            raise ConfigError(str(error)) from None

    def written_default(self, name: str) -> str:
        """The default of `name` with its `$` left in. Raises ConfigError."""
        line = parameters().get(name)
        return self._default(line) if line else ""

    def default(self, name: str) -> str:
        """What `name` would be if nothing set it. Raises ConfigError."""
        line = parameters().get(name)
        if line is None:
            return ""
        try:
            text = self._default(line)
            return text if line.type == "raw" else expand(text, self._lookup, self._is_set)
        except MacroError as error:
            raise ConfigError(str(error), name=name) from None

    def items(self, name: str) -> list[str]:
        """The value split at blanks and commas, `{ ... }` kept together. Raises ConfigError."""
        return split_list(self.text(name))

    def parse(self, line: Parameter, name: str) -> Value:
        """The value of `name` as `line` describes it. Raises ConfigError."""
        text = self.text(name)
        try:
            return line.parse(text)
        except ValueError as error:
            raise self.error(name, str(error)) from None

    def transport_value(self, transport: str, suffix: str) -> str:
        """`<transport>_<suffix>`, falling back to what all transports have (`default_...`). Raises ConfigError."""
        return self.text(self._transport_name(transport, suffix))

    def transport_typed(self, transport: str, suffix: str) -> Value:
        """The same, typed."""
        return self.parse(transport_parameter(transport, suffix), self._transport_name(transport, suffix))

    def check(self, acted_on: frozenset[str]) -> list[Problem]:
        """Warnings and errors about names and values; see `pymta.config.checks`."""
        return check(self, acted_on)

    def error(self, name: str, message: str) -> ConfigError:
        """A ConfigError about the value of `name`, with its place."""
        entry = self._entries.get(name)
        return ConfigError(message, where=entry.where if entry else None, name=name)

    def _with(self, entries: Mapping[str, Entry], service: Service | None) -> Config:
        return Config(
            entries,
            self._services,
            directory=self._directory,
            host=self._host,
            service=service,
            program=self._program,
            warnings=self._warnings,
        )

    def _transport_name(self, transport: str, suffix: str) -> str:
        name = f"{transport}_{suffix}"
        if name in self._entries or name in parameters():
            return name
        return transport_parameter(transport, suffix).name

    def _resolve(self, name: str) -> str:
        if name in self._under_way:
            path = " -> ".join([*self._under_way[self._under_way.index(name) :], name])
            raise self.error(name, f'unreasonable macro call nesting: "{name}" ({path})')
        self._under_way.append(name)
        try:
            return self._expand(name)
        except MacroError as error:
            raise self.error(name, str(error)) from None
        except RecursionError:
            raise self.error(name, f'unreasonable macro call nesting: "{name}"') from None
        finally:
            self._under_way.pop()

    def _expand(self, name: str) -> str:
        line = parameters().get(name)
        text = self._written(name)
        if line is None:
            return expand(text or "", self._lookup, self._is_set)
        if text is None:
            text = self._default(line)
        if line.type != "raw":
            text = expand(text, self._lookup, self._is_set)
        return defaults.finish(self, name, text) if name in self._entries else text

    def _written(self, name: str) -> str | None:
        entry = None if name in _READ_ONLY else self._entries.get(name)
        return entry.text if entry else None

    def _default(self, line: Parameter) -> str:
        if line.name == "config_directory" and self._directory:
            return str(self._directory)
        if line.name == "service_name":
            return self._service.name if self._service else ""
        if line.name == "process_name":
            return self._service.command if self._service else self._program
        if line.name == "process_id":
            return str(os.getpid())
        return defaults.of(self, self._host, line)

    def _lookup(self, name: str) -> str | None:
        return self.text(name) if name in self._entries or name in parameters() else None

    def _is_set(self, name: str) -> bool:
        """`${name?...}` looks at what is written, not at what that expands to, as Postfix does."""
        text = self._written(name)
        return bool(text) if text is not None else bool(self._lookup(name))
