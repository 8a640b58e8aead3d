"""What probes found out of addresses, in a file that our processes share (verify(8)).

Every finding is a line at the end of the file: whoever writes appends, whoever reads follows. What one write brings
is whole (write(2) with O_APPEND), so no reader sees half a line for long.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import OrderedDict
from pathlib import Path

from pymta.model.frozen import frozen

ENTRY_LIMIT = 100_000
_SIZE_LIMIT = 32 << 20
_READ_SIZE = 1 << 20
_LONGEST_TEXT = 500


@frozen
class Finding:
    """`status` is `ok`, `defer`, `bounce`, or empty where there is none yet; times in seconds since the epoch.

    `probed` is when the last probe was sent, `updated` when one came back, 0 for never.
    """

    status: str = ""
    probed: float = 0.0
    updated: float = 0.0
    text: str = ""


class VerifyCache:
    """Findings by address, the last `ENTRY_LIMIT`. Raises OSError where the file cannot be written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: OrderedDict[str, Finding] = OrderedDict()
        self._file: tuple[int, int] = (0, 0)
        self._offset = 0

    def get(self, address: str) -> Finding | None:
        self._follow()
        return self._found.get(address)

    def put(self, address: str, finding: Finding) -> None:
        self._shrink()
        fields = [address, finding.status, finding.probed, finding.updated, finding.text[:_LONGEST_TEXT]]
        line = json.dumps(fields, separators=(",", ":")).encode() + b"\n"
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)

    def _follow(self) -> None:
        """Read what came since the last time; from the start where it is another file."""
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                known = (status.st_dev, status.st_ino)
                if known != self._file or status.st_size < self._offset:
                    self._file, self._offset = known, 0
                file.seek(self._offset)
                while data := file.read(_READ_SIZE):
                    whole = data.rfind(b"\n") + 1
                    if not whole:
                        break
                    self._take(data[:whole])
                    self._offset += whole
                    file.seek(self._offset)
        except FileNotFoundError:
            self._file, self._offset = (0, 0), 0

    def _take(self, lines: bytes) -> None:
        for line in lines.splitlines():
            with contextlib.suppress(ValueError, TypeError):
                address, status, probed, updated, text = json.loads(line)
                self._found[str(address)] = Finding(str(status), float(probed), float(updated), str(text))
                self._found.move_to_end(str(address))
        while len(self._found) > ENTRY_LIMIT:
            self._found.popitem(last=False)

    def _shrink(self) -> None:
        """Begin a new file with what is known, once the old one is full of what was said before."""
        with contextlib.suppress(FileNotFoundError):
            if self._path.stat().st_size < _SIZE_LIMIT:
                return
            self._follow()
            new = self._path.with_name(f"{self._path.name}.{os.getpid()}")
            with new.open("wb") as file:
                os.fchmod(file.fileno(), 0o600)
                for address, one in list(self._found.items())[-ENTRY_LIMIT // 2 :]:
                    fields = [address, one.status, one.probed, one.updated, one.text]
                    file.write(json.dumps(fields, separators=(",", ":")).encode() + b"\n")
            new.replace(self._path)
