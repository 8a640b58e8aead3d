"""Content files without a message: what a crash leaves between the file and its row, or between row and file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Container
from itertools import islice
from pathlib import Path

from pymta.spool.content import file_path
from pymta.spool.ids import is_queue_id
from pymta.spool.view import View

_AT_ONCE = 500


def remove_strays(place: Path, reader: View, live: Container[str]) -> int:
    """Remove files in `place` that no message owns, and count them. Names that are not ours are left alone."""
    removed = 0
    try:
        names = os.scandir(place)
    except OSError:
        return 0
    with names:
        while entries := list(islice(names, _AT_ONCE)):
            # `live` is asked before the tables: a message that leaves it in between has its row by then.
            found = [e.name for e in entries if _is_ours(place, e) and e.name not in live]
            for name in set(found) - reader.existing(found):
                with contextlib.suppress(OSError):
                    (place / name).unlink()
                    removed += 1
    return removed


def _is_ours(place: Path, entry: os.DirEntry[str]) -> bool:
    name = entry.name
    return is_queue_id(name) and file_path(place.parent, name).parent == place and entry.is_file(follow_symlinks=False)
