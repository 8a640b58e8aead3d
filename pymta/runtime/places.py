"""What pymta keeps in `queue_directory`, and where."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pymta.runtime.layout import CONTROL_SOCKET, FOLDER, MAILDROP


class SpoolPlaces(NamedTuple):
    """Everything that pymta keeps in `queue_directory` lies in its `pymta` folder, beside what Postfix keeps there."""

    root: Path

    @classmethod
    def below(cls, queue_directory: str | Path) -> SpoolPlaces:
        return cls(Path(queue_directory) / FOLDER)

    @property
    def queue(self) -> Path:
        """The spool proper; only its owner may enter."""
        return self.root / "queue"

    @property
    def public(self) -> Path:
        return self.root / "public"

    @property
    def control_socket(self) -> Path:
        return self.root / CONTROL_SOCKET

    @property
    def maildrop(self) -> Path:
        return self.root / MAILDROP

    @property
    def pid_file(self) -> Path:
        return self.public / "master.pid"

    @property
    def passwords_socket(self) -> Path:
        """Where the process that keeps root answers for passwords of the system's accounts."""
        return self.root / "passwords"

    @property
    def roles_socket(self) -> Path:
        """Where our own processes meet (docs/processes.md); only the owner gets there."""
        return self.queue / "roles"
