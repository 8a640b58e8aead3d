"""opendkim.conf: what it says about signing, so that a set-up made for OpenDKIM works as it is (opendkim.conf(5))."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pymta.auth.dkim_sign_header import OMITTED_BY_DEFAULT, SIGNED_BY_DEFAULT
from pymta.auth.opendkim_names import ACTED_ON, NOT_ACTED_ON, OTHERS
from pymta.errors import ConfigError
from pymta.model.frozen import frozen

_MAXIMUM_INCLUDES = 5
_YES = ("yes", "true", "1", "y", "t")
_NO = ("no", "false", "0", "n", "f")


@frozen
class Entry:
    """One line: `where` is `FILE:LINE`."""

    name: str
    value: str
    where: str


@dataclass(slots=True)
class OpenDkimConfig:
    """A file that was read. `warnings` tell of parameters that mean nothing here and would change what is signed."""

    path: Path
    entries: dict[str, Entry] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> OpenDkimConfig:
        """Raises ConfigError naming file and line for what OpenDKIM would refuse too."""
        config = cls(path)
        for entry in _entries(path, 0):
            name = entry.name.lower()
            if name in NOT_ACTED_ON:
                config.warnings.append(f"{entry.where}: {entry.name}: not acted on: {NOT_ACTED_ON[name]}")
            elif name in ACTED_ON:
                config.entries[name] = entry
            elif name not in OTHERS:
                raise ConfigError("there is no parameter of this name", where=entry.where, name=entry.name)
        return config

    def text(self, name: str) -> str:
        """The value of parameter `name`, empty where it is not set."""
        entry = self.entries.get(name.lower())
        return entry.value if entry else ""

    def where(self, name: str) -> str:
        """`FILE:LINE: NAME`, for messages about a value."""
        entry = self.entries[name.lower()]
        return f"{entry.where}: {entry.name}"

    def flag(self, name: str, default: bool) -> bool:
        """A Boolean. Raises ConfigError."""
        text = self.text(name).lower()
        if not text:
            return default
        if text not in (*_YES, *_NO):
            raise ConfigError(f'found "{text}", expected yes or no', name=self.where(name))
        return text in _YES

    def number(self, name: str, default: int) -> int:
        """An integer. Raises ConfigError."""
        text = self.text(name)
        if not text:
            return default
        if not text.isdecimal():
            raise ConfigError(f'found "{text}", expected a number', name=self.where(name))
        return int(text)

    @property
    def base(self) -> Path:
        """Where relative names of files begin: BaseDirectory, else the configuration file's folder."""
        return self.path.parent / self.text("BaseDirectory")

    @property
    def signs(self) -> bool:
        """Whether Mode has `s`. Raises ConfigError for letters that are no mode."""
        mode = self.text("Mode") or "sv"
        if set(mode) - set("sv"):
            raise ConfigError(f'found "{mode}", expected s, v or sv', name=self.where("Mode"))
        return "s" in mode


def _entries(path: Path, depth: int) -> Iterator[Entry]:
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise ConfigError(f"open {path}: {error.strerror}", name="dkim_opendkim_config") from None
    for number, line in enumerate(text.splitlines(), 1):
        content = line.partition("#")[0].strip()
        if not content:
            continue
        where = f"{path}:{number}"
        name, value = [*content.split(None, 1), ""][:2]
        if not value:
            raise ConfigError("the value is missing", where=where, name=name)
        if name.lower() != "include":
            yield Entry(name, value.strip(), where)
        elif depth < _MAXIMUM_INCLUDES:
            yield from _entries(path.parent / value.strip(), depth + 1)
        else:
            raise ConfigError(f"more than {_MAXIMUM_INCLUDES} levels of Include", where=where)


def header_names(text: str, defaults: Sequence[str]) -> tuple[str, ...]:
    """A list of header fields; `*,+NAME,-NAME` is the default list with changes (OmitHeaders)."""
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    if "*" not in names:
        return tuple(name.removeprefix("+") for name in names)
    removed = {name[1:] for name in names if name.startswith("-")}
    added = [name.removeprefix("+") for name in names if name != "*" and not name.startswith("-")]
    return tuple(dict.fromkeys(name for name in (*defaults, *added) if name not in removed))


def omitted_headers(config: OpenDkimConfig) -> tuple[str, ...]:
    return header_names(config.text("OmitHeaders") or "*", OMITTED_BY_DEFAULT)


def signed_headers(config: OpenDkimConfig) -> tuple[str, ...]:
    """SignHeaders, empty where it is not set."""
    text = config.text("SignHeaders")
    return header_names(text, SIGNED_BY_DEFAULT) if text else ()
