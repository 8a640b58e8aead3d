"""Replies of one turn of the event loop, sent together at its end."""

from __future__ import annotations

import asyncio


class Outbox:
    """Each write wakes a client, who then takes the processor from us in the middle of the others' commands.

    Gathered, what clients sent meanwhile is read in one go, too.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[asyncio.Transport, bytes, bool]] = []

    def post(self, wire: asyncio.Transport, data: bytes, *, is_last: bool = False) -> None:
        """Write `data` soon, in the order of the posts; what is last closes the connection."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self.flush)
        self._waiting.append((wire, data, is_last))

    def flush(self) -> None:
        """Write what waits now."""
        waiting, self._waiting = self._waiting, []
        for wire, data, is_last in waiting:
            if wire.is_closing():
                continue
            if data:
                wire.write(data)
            if is_last:
                wire.close()
