"""Where a command finds its configuration, and by that the running program."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from pymta.runtime.places import SpoolPlaces

_CANDIDATES = ("/etc/pymta", "/etc/postfix")


def config_folder(given: str | None) -> str:
    """`-c DIR`, else MAIL_CONFIG, else /etc/pymta where it has a main.cf, else /etc/postfix."""
    named = given or os.environ.get("MAIL_CONFIG")
    if named:
        return os.path.abspath(named)
    for candidate in _CANDIDATES:
        if os.path.exists(f"{candidate}/main.cf"):
            return candidate
    return _CANDIDATES[0]


def config_directory(given: str | None) -> Path:
    """The same as a path."""
    from pathlib import Path

    return Path(config_folder(given))


def queue_directory(given: str | None) -> str:
    """`queue_directory` of that configuration. Raises ConfigError."""
    from pymta.config.one import value_of

    return value_of(config_folder(given), "queue_directory")


def spool_places(given: str | None) -> SpoolPlaces:
    """The running program's places, by `queue_directory`. Raises ConfigError."""
    from pymta.runtime.places import SpoolPlaces

    return SpoolPlaces.below(queue_directory(given))
