"""What a header says of the structure below it: parts, or a message inside (RFC 2045, RFC 2046 5.1, 5.2.1)."""

from __future__ import annotations

import re

_BOUNDARY = re.compile(r';\s*boundary\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))', re.IGNORECASE | re.DOTALL)
_LONGEST_BOUNDARY = 2048
_DEEPEST = 100
# More parts than this are an attempt to keep us busy: what follows is text.
_MOST_PARTS = 10_000
_MESSAGES = frozenset({"message/rfc822", "message/global"})


class Entity:
    """What the Content-Type of one header says."""

    def __init__(self, default_type: str = "text/plain") -> None:
        self.type = default_type
        self.boundary = b""

    def note(self, name: str, value: str) -> None:
        """Take a field, its name in lower case."""
        if name != "content-type":
            return
        self.type = value.partition(";")[0].strip().lower()
        match = _BOUNDARY.search(value)
        quoted, plain = match.groups() if match else ("", "")
        text = re.sub(r"\\(.)", r"\1", quoted) if quoted else plain or ""
        self.boundary = text.rstrip().encode("utf-8", "surrogateescape")[:_LONGEST_BOUNDARY]

    @property
    def has_parts(self) -> bool:
        return self.type.startswith("multipart/") and bool(self.boundary)

    @property
    def is_message(self) -> bool:
        """Whether the body is a message, which no encoding may hide (RFC 2046 5.2.1)."""
        return self.type in _MESSAGES

    @property
    def part_type(self) -> str:
        """What a part is that does not say it (RFC 2046 5.1.5)."""
        return "message/rfc822" if self.type == "multipart/digest" else "text/plain"


class Boundaries:
    """The multiparts that are open, outermost first."""

    def __init__(self) -> None:
        self._open: list[Entity] = []
        self._passed = 0
        self._pattern: re.Pattern[bytes] | None = None

    def __bool__(self) -> bool:
        return bool(self._open)

    def open(self, entity: Entity) -> None:
        """Deeper than a hundred levels parts are text."""
        if len(self._open) < _DEEPEST:
            self._open.append(entity)
            self._pattern = None

    def search(self, data: bytes) -> re.Match[bytes] | None:
        """The next line of `data`, which begins at a line's start, that is a boundary."""
        if self._pattern is None:
            # Inner ones first: one boundary may begin like another.
            names = b"|".join(re.escape(one.boundary) for one in reversed(self._open))
            self._pattern = re.compile(rb"^--(?:%b)[^\n]*\n?" % names, re.MULTILINE)
        return self._pattern.search(data)

    def pass_line(self, line: bytes) -> Entity | None:
        """Close what the boundary `line` closes; the multipart of which a new part begins, None at an end."""
        self._passed += 1
        if self._passed > _MOST_PARTS:
            self._open.clear()
        while self._open:
            entity = self._open[-1]
            if line.startswith(b"--" + entity.boundary):
                if not line.startswith(b"--" + entity.boundary + b"--"):
                    return entity
                self._close()
                return None
            self._close()
        return None

    def _close(self) -> None:
        self._open.pop()
        self._pattern = None
