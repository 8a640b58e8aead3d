"""What the queue commands ask, and how they print the answers.

Imported for every `mailq`: what only a spool at rest or a person at a terminal needs is loaded where it is used.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from pymta.cli.client import CommandFailed, DaemonDown, call
from pymta.cli.queue_format import json_lines, listing, plural
from pymta.errors import PymtaError, SpoolLockedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pymta.cli.progress import Progress
    from pymta.runtime.places import SpoolPlaces

_IDS_PER_REQUEST = 1000
_START_SECONDS = 5.0
_RETRY_SECONDS = 0.1
_QUEUE_ID = re.compile(r"[A-Za-z0-9]{1,60}")

# command -> what postsuper says of one message, and of all of them at the end
DONE = {
    "delete": ("removed", "Deleted"),
    "hold": ("placed on hold", "Placed on hold"),
    "release": ("released from hold", "Released from hold"),
    "requeue": ("requeued", "Requeued"),
    "expire": ("expired", "Force-expired"),
}


def ask(where: SpoolPlaces, command: str, arguments: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A queue command's rows from the running program, or straight from the spool where none runs.

    One that starts, or whose queue manager does, holds the spool before it answers: it gets a few seconds.
    """
    deadline = time.monotonic() + _START_SECONDS
    while True:
        rows = _ask_once(where, command, arguments)
        try:
            first = next(rows, None)
            break
        except SpoolLockedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_SECONDS)
    if first is not None:
        yield first
        yield from rows


def _ask_once(where: SpoolPlaces, command: str, arguments: dict[str, Any]) -> Iterator[dict[str, Any]]:
    has_begun = False
    try:
        for row in call(where.control_socket, command, arguments):
            has_begun = True
            yield row
    except DaemonDown as down:
        # What it has answered must not come once more.
        if has_begun or (where.control_socket.exists() and isinstance(down.__cause__, PermissionError)):
            raise
        from pymta.cli import offline

        yield from offline.run(where, command, arguments)


def flush(where: SpoolPlaces, program: str, *, queue_id: str = "", site: str | None = None) -> int:
    """Schedule delivery of one message, of one site's mail, or of all; only a running program can."""
    if site is not None and not _is_domain(site):
        return fatal(program, f'Cannot flush mail queue - invalid destination: "{site[:100]}"', os.EX_UNAVAILABLE)
    command: str = "flush"
    arguments: dict[str, Any] = {"queue_ids": [queue_id]} if queue_id else {}
    if site is not None:
        command, arguments = "flush_site", {"site": site}
    try:
        list(call(where.control_socket, command, arguments))
    except DaemonDown:
        return fatal(program, "Cannot flush mail queue - mail system is down", os.EX_UNAVAILABLE)
    except CommandFailed as refused:
        return fatal(program, str(refused), os.EX_UNAVAILABLE)
    return os.EX_OK


def _is_domain(text: str) -> bool:
    from pymta.protocol.smtp.grammar import valid_domain

    return valid_domain(text)


def fatal(program: str, text: str, status: int) -> int:
    sys.stderr.write(f"{program}: fatal: {text}\n")
    return status


def read_ids(words: Iterable[str], program: str) -> Iterator[str]:
    """Queue ids from arguments, `-` standing for standard input's lines; a bad one gets a warning."""
    for word in words:
        lines = (line.strip() for line in sys.stdin) if word == "-" else iter([word])
        for line in lines:
            if _QUEUE_ID.fullmatch(line):
                yield line
            elif line:
                sys.stderr.write(f"{program}: warning: invalid mail queue id: {line}\n")


def change(
    where: SpoolPlaces, command: str, words: Sequence[str], program: str, more: dict[str, Any] | None = None
) -> int:
    """Apply `delete`, `hold`, ... to ids, to `ALL`, or to what a filter selects; says what became of each message."""
    one, all_of_them = DONE[command]
    count = 0
    for arguments in batches(words, program, more or {}):
        for row in ask(where, command, arguments):
            count += 1
            sys.stderr.write(f"{program}: {row['queue_id']}: {one}\n")
    sys.stderr.write(f"{program}: {all_of_them}: {plural(count)}\n")
    return os.EX_OK


def batches(words: Sequence[str], program: str, more: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "ALL" in words or not words:
        yield more
        return
    batch: list[str] = []
    for queue_id in read_ids(words, program):
        batch.append(queue_id)
        if len(batch) == _IDS_PER_REQUEST:
            yield {**more, "queue_ids": batch}
            batch = []
    if batch:
        yield {**more, "queue_ids": batch}


def print_list(rows: Iterable[dict[str, Any]], *, as_json: bool, progress: Progress | None = None) -> int:
    """Print rows as they come; a reader that went away ends it quietly."""
    watched = progress.watch(rows) if progress else rows
    pieces = json_lines(watched) if as_json else (f"{line}\n" for line in listing(watched))
    shares_terminal = progress is not None and sys.stdout.isatty()
    is_first = True
    try:
        for piece in pieces:
            if progress and shares_terminal:
                progress.clear()
            sys.stdout.write(piece)
            if is_first:
                is_first = False
                sys.stdout.flush()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return os.EX_OK


def listing_progress(where: SpoolPlaces, *, whole: bool = True) -> Progress:
    """A bar for a listing of the whole queue; how much a filter lets through is known at its end only."""
    from pymta.cli.progress import Progress

    def total() -> int:
        if not whole:
            return 0
        try:
            return sum(next(call(where.control_socket, "count", {}), {}).values())
        except (DaemonDown, CommandFailed):
            return 0

    return Progress(total)


def print_message(where: SpoolPlaces, queue_id: str, *, envelope: bool, header: bool, body: bool) -> int:
    """One message as postcat(1) shows it: envelope records, header, body, each on request."""
    rows = ask(where, "show", {"queue_ids": [queue_id]})
    head = next(rows, None)
    if head is None:
        raise CommandFailed(f"open queue file {queue_id}: No such file or directory", temporary=False)
    output = sys.stdout.buffer
    place = f"{head['queue_name']}/{queue_id}"
    whole = envelope and header and body
    if envelope:
        output.write(f"*** ENVELOPE RECORDS {place} ***\n".encode())
        output.writelines(f"{name}: {value}\n".encode() for name, value in head["records"])
    contents = f"*** MESSAGE CONTENTS {place} ***\n".encode() if whole else b""
    for row in rows:
        if "records" in row:
            if envelope:
                output.writelines(f"{name}: {value}\n".encode() for name, value in row["records"])
            continue
        output.write(contents)
        contents = b""
        for part, wanted in (("header", header), ("body", body)):
            if wanted and part in row:
                output.write(row[part].encode("latin-1"))
    if envelope:
        output.write(f"*** MESSAGE FILE END {place} ***\n".encode())
    output.flush()
    return os.EX_OK


def guarded(program: str, action: Callable[[], int], unavailable: int = 1) -> int:
    try:
        return action()
    except DaemonDown as error:
        return fatal(program, f"the mail system is down and its spool cannot be used: {error}", os.EX_UNAVAILABLE)
    except (CommandFailed, PymtaError) as error:
        return fatal(program, str(error), unavailable)
    except KeyboardInterrupt:
        return 130
