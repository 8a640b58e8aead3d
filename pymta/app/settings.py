"""Settings from code: parameter names of main.cf as keywords, no files needed."""

from __future__ import annotations

from collections.abc import Sequence

from pymta.config import Config
from pymta.config.maincf import Entry
from pymta.config.mastercf import parse_service

Value = str | int | float | bool | Sequence[str]

# What an app in its own folder wants, where it does not say otherwise: current defaults, nothing of the system's.
_EMBEDDED = {
    "compatibility_level": "3.11",
    "inet_interfaces": "loopback-only",
    "mynetworks": "127.0.0.0/8 [::1]/128",
    "alias_maps": "",
    "alias_database": "",
    "local_recipient_maps": "unix:passwd.byname",
}


class Settings:
    """Keyword arguments are main.cf parameters; `listen` are places for smtpd such as `127.0.0.1:2525`.

    Values are text as in main.cf, numbers, times in seconds, booleans or lists. `queue_directory` is where the
    queue lives. Raises ConfigError for a value that its parameter cannot take, when the `MTA` is made.
    """

    def __init__(self, *, listen: Sequence[str] = (), **parameters: Value) -> None:
        self.listen = tuple(listen)
        self.parameters = {**_EMBEDDED, **{name: as_text(value) for name, value in parameters.items()}}

    def config(self) -> Config:
        """The configuration as services read it."""
        entries = {name: Entry(name, text, "settings") for name, text in self.parameters.items()}
        services = tuple(parse_service(f"{place} inet n - n - - smtpd", "settings") for place in self.listen)
        return Config(entries, services)


def as_text(value: Value) -> str:
    """A value in main.cf's spelling."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}s"
    if isinstance(value, str | int):
        return str(value)
    return ", ".join(value)
