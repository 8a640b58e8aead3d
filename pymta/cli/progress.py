"""How far a long listing is: a bar on standard error while a person watches."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO

_QUIET_SECONDS = 0.5
_REDRAW_SECONDS = 0.1
_WIDTH = 30
_CLEAR = "\r\033[K"

Row = dict[str, Any]


class Progress:
    """Drawn where `stream` is a terminal and the work takes longer than half a second.

    `total` is asked once, when there is something to draw; 0 where it is not known. `clear` makes room for a line
    on the same terminal.
    """

    def __init__(
        self,
        total: Callable[[], int],
        stream: TextIO | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total = total
        self._stream = stream or sys.stderr
        self._monotonic = monotonic
        self._next = monotonic() + _QUIET_SECONDS
        self._known: int | None = None
        self._is_drawn = False

    def watch(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Pass rows on and count them."""
        if not self._stream.isatty():
            yield from rows
            return
        count = 0
        try:
            for row in rows:
                count += "queue_id" in row
                yield row
                if (now := self._monotonic()) >= self._next:
                    self._next = now + _REDRAW_SECONDS
                    self._draw(count)
        finally:
            self.clear()

    def clear(self) -> None:
        if self._is_drawn:
            self._is_drawn = False
            self._stream.write(_CLEAR)
            self._stream.flush()

    def _draw(self, count: int) -> None:
        if self._known is None:
            self._known = self._total()
        total = max(self._known, count)
        done = count * _WIDTH // total
        bar = "#" * done + "." * (_WIDTH - done)
        known = f"[{bar}] {count * 100 // total:3d}% {count} of {total}" if self._known else f"{count} messages"
        self._stream.write(f"{_CLEAR}{known}")
        self._stream.flush()
        self._is_drawn = True
