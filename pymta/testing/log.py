"""A log that remembers."""

from __future__ import annotations


class RecordingLog:
    """Keeps `(level, line)` in `records`; `lines` are the texts alone."""

    def __init__(self) -> None:
        self.records: list[tuple[str, str]] = []

    @property
    def lines(self) -> list[str]:
        return [line for _, line in self.records]

    def debug(self, line: str) -> None:
        self.records.append(("debug", line))

    def info(self, line: str) -> None:
        self.records.append(("info", line))

    def warning(self, line: str) -> None:
        self.records.append(("warning", line))

    def error(self, line: str) -> None:
        self.records.append(("error", line))
