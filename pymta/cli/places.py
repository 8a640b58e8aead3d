"""Where a command finds its configuration and the running program."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_CANDIDATES = ("/etc/pymta", "/etc/postfix")


@dataclass(frozen=True, slots=True)
class SpoolPlaces:
    """Everything that pymta keeps in `queue_directory` lies in its `pymta` folder, beside what Postfix keeps there."""

    root: Path

    @classmethod
    def below(cls, queue_directory: str | Path) -> SpoolPlaces:
        return cls(Path(queue_directory) / "pymta")

    @property
    def queue(self) -> Path:
        """The spool proper; only its owner may enter."""
        return self.root / "queue"

    @property
    def public(self) -> Path:
        return self.root / "public"

    @property
    def control_socket(self) -> Path:
        return self.public / "control"

    @property
    def maildrop(self) -> Path:
        return self.root / "maildrop"

    @property
    def pid_file(self) -> Path:
        return self.public / "master.pid"


def config_directory(given: str | None) -> Path:
    """`-c DIR`, else MAIL_CONFIG, else /etc/pymta where it has a main.cf, else /etc/postfix."""
    named = given or os.environ.get("MAIL_CONFIG")
    if named:
        return Path(named)
    for candidate in _CANDIDATES:
        if Path(candidate, "main.cf").exists():
            return Path(candidate)
    return Path(_CANDIDATES[0])
