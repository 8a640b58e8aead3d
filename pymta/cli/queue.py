"""`pymta-queue`, and Postfix's `postqueue`, `postsuper` and `postcat` spellings of it."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pymta.cli import offline
from pymta.cli.client import CommandFailed, DaemonDown, call
from pymta.cli.progress import Progress
from pymta.cli.queue_format import listing, plural
from pymta.cli.sendmail import places
from pymta.errors import PymtaError
from pymta.protocol.smtp.grammar import valid_domain
from pymta.runtime.places import SpoolPlaces

_IDS_PER_REQUEST = 1000
_QUEUE_ID = re.compile(r"[A-Za-z0-9]{1,60}")
_AGE = re.compile(r"([0-9]+)([smhdw]?)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

# command -> what postsuper says of one message, and of all of them at the end
_DONE = {
    "delete": ("removed", "Deleted"),
    "hold": ("placed on hold", "Placed on hold"),
    "release": ("released from hold", "Released from hold"),
    "requeue": ("requeued", "Requeued"),
    "expire": ("expired", "Force-expired"),
}


def ask(where: SpoolPlaces, command: str, arguments: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A queue command's rows from the running program, or straight from the spool where none runs."""
    try:
        yield from call(where.control_socket, command, arguments)
    except DaemonDown as down:
        if where.control_socket.exists() and isinstance(down.__cause__, PermissionError):
            raise
        yield from offline.run(where, command, arguments)


def flush(where: SpoolPlaces, program: str, *, queue_id: str = "", site: str | None = None) -> int:
    """Schedule delivery of one message, of one site's mail, or of all; only a running program can."""
    if site is not None and not valid_domain(site):
        return _fatal(program, f'Cannot flush mail queue - invalid destination: "{site[:100]}"', os.EX_UNAVAILABLE)
    command, arguments = "flush", dict[str, Any]({"queue_ids": [queue_id]} if queue_id else {})
    if site is not None:
        command, arguments = "flush_site", {"site": site}
    try:
        list(call(where.control_socket, command, arguments))
    except DaemonDown:
        return _fatal(program, "Cannot flush mail queue - mail system is down", os.EX_UNAVAILABLE)
    except CommandFailed as refused:
        return _fatal(program, str(refused), os.EX_UNAVAILABLE)
    return os.EX_OK


def _fatal(program: str, text: str, status: int) -> int:
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
    one, all_of_them = _DONE[command]
    count = 0
    for arguments in _batches(words, program, more or {}):
        for row in ask(where, command, arguments):
            count += 1
            sys.stderr.write(f"{program}: {row['queue_id']}: {one}\n")
    sys.stderr.write(f"{program}: {all_of_them}: {plural(count)}\n")
    return os.EX_OK


def _batches(words: Sequence[str], program: str, more: dict[str, Any]) -> Iterator[dict[str, Any]]:
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
    lines = (json.dumps(row, ensure_ascii=False) for row in watched) if as_json else listing(watched)
    shares_terminal = progress is not None and sys.stdout.isatty()
    is_first = True
    try:
        for line in lines:
            if progress and shares_terminal:
                progress.clear()
            sys.stdout.write(line + "\n")
            if is_first:
                is_first = False
                sys.stdout.flush()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return os.EX_OK


def listing_progress(where: SpoolPlaces, *, whole: bool = True) -> Progress:
    """A bar for a listing of the whole queue; how much a filter lets through is known at its end only."""

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


def _guarded(program: str, action: Callable[[], int], unavailable: int = 1) -> int:
    try:
        return action()
    except DaemonDown as error:
        return _fatal(program, f"the mail system is down and its spool cannot be used: {error}", os.EX_UNAVAILABLE)
    except (CommandFailed, PymtaError) as error:
        return _fatal(program, str(error), unavailable)
    except KeyboardInterrupt:
        return 130


class _Usage(Exception):
    pass


def _postfix_options(arguments: Sequence[str], flags: str, valued: str) -> tuple[list[tuple[str, str]], list[str]]:
    """getopt(3): letters in `flags` stand alone, those in `valued` take the rest of the word or the next one."""
    options: list[tuple[str, str]] = []
    words = list(arguments)
    rest: list[str] = []
    while words:
        word = words.pop(0)
        if word == "--":
            rest += words
            break
        if not word.startswith("-") or word == "-":
            rest.append(word)
            continue
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in valued:
                if not letters and not words:
                    raise _Usage(f"option requires an argument -- '{letter}'")
                options.append((letter, letters or words.pop(0)))
                break
            if letter not in flags:
                raise _Usage(f"invalid option -- '{letter}'")
            options.append((letter, ""))
    return options, rest


def postqueue_main(arguments: Sequence[str] | None = None) -> int:
    """postqueue(1): `-p -j -f -i id -s site`."""
    usage = "usage: postqueue -f | postqueue -i queueid | postqueue -j | postqueue -p | postqueue -s site"
    try:
        options, rest = _postfix_options(sys.argv[1:] if arguments is None else arguments, "fjpv", "cis")
    except _Usage as error:
        sys.stderr.write(f"postqueue: {error}\n")
        return _fatal("postqueue", usage, os.EX_UNAVAILABLE)
    config = next((value for letter, value in options if letter == "c"), None)
    modes = [(letter, value) for letter, value in options if letter not in "cv"]
    if len(modes) != 1 or rest:
        return _fatal("postqueue", usage, os.EX_UNAVAILABLE)
    letter, value = modes[0]

    def act() -> int:
        where = places(config)
        if letter in "pj":
            return print_list(ask(where, "list", {}), as_json=letter == "j", progress=listing_progress(where))
        return flush(where, "postqueue", queue_id=value if letter == "i" else "", site=value if letter == "s" else None)

    return _guarded("postqueue", act, os.EX_UNAVAILABLE)


def postsuper_main(arguments: Sequence[str] | None = None) -> int:
    """postsuper(1): `-d -e -f -h -H -r` with an id, `ALL` or `-`; queue names narrow what `ALL` means."""
    commands = {"d": "delete", "e": "expire", "f": "expire", "h": "hold", "H": "release", "r": "requeue"}
    try:
        options, queues = _postfix_options(sys.argv[1:] if arguments is None else arguments, "psSv", "cdefhHr")
    except _Usage as error:
        return _fatal(
            "postsuper", f"{error}; usage: postsuper [-c config_dir] -d|-e|-f|-h|-H|-r queue_id [queue...]", 1
        )
    config = next((value for letter, value in options if letter == "c"), None)

    def act() -> int:
        where = places(config)
        more: dict[str, Any] = {"queues": queues} if queues else {}
        for letter, value in options:
            if letter in commands:
                change(where, commands[letter], [value], "postsuper", more)
            if letter == "f":
                change(where, "release", [value], "postsuper", more)
            if letter in "psS":
                sys.stderr.write("postsuper: the queue needs no structure check: the database keeps its own\n")
        return os.EX_OK

    return _guarded("postsuper", act)


def postcat_main(arguments: Sequence[str] | None = None) -> int:
    """postcat(1): `-q` with ids, `-b -e -h` for parts; without parts, all of them."""
    try:
        options, words = _postfix_options(sys.argv[1:] if arguments is None else arguments, "bdehnoqv", "cs")
    except _Usage as error:
        return _fatal(
            "postcat",
            f"{error}; usage: postcat [-b (body text)] [-c config_dir] [-e (envelope records)] "
            "[-h (header text)] [-q (access messages by queue id)] [-v] queue_id...",
            1,
        )
    letters = {letter for letter, _ in options}
    config = next((value for letter, value in options if letter == "c"), None)
    parts = letters & {"b", "e", "h"} or {"b", "e", "h"}

    def act() -> int:
        where = places(config)
        for word in words:
            queue_id = word if "q" in letters else Path(word).name
            print_message(where, queue_id, envelope="e" in parts, header="h" in parts, body="b" in parts)
        return os.EX_OK

    return _guarded("postcat", act)


def parse_age(text: str) -> float:
    """`90`, `30m`, `2h`, `5d`, `1w` in seconds; raises argparse's error."""
    match = _AGE.fullmatch(text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not an age such as 90, 30m, 2h or 5d")
    return float(int(match[1]) * _UNITS[match[2]])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pymta-queue", description="Look at the mail queue and change it.")
    parser.add_argument("-c", dest="config", metavar="DIR", help="configuration directory")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    filters = argparse.ArgumentParser(add_help=False)
    filters.add_argument("ids", nargs="*", metavar="ID", help="queue ids, ALL, or - to read ids from standard input")
    filters.add_argument("--sender", help="an envelope sender, or @domain")
    filters.add_argument("--recipient", help="a recipient, or @domain")
    filters.add_argument("--site", help="a recipient domain")
    filters.add_argument("--queue", action="append", dest="queues", help="incoming, active, deferred, hold or corrupt")
    filters.add_argument("--older-than", type=parse_age, metavar="AGE", help="such as 30m, 2h, 5d")
    filters.add_argument("--younger-than", type=parse_age, metavar="AGE")
    filters.add_argument("--json", action="store_true", help="one JSON object a line")
    commands.add_parser("list", parents=[filters], help="what waits, and why")
    commands.add_parser("flush", parents=[filters], help="try now: all, some messages, or one site's mail")
    commands.add_parser("delete", parents=[filters], help="remove messages")
    commands.add_parser("hold", parents=[filters], help="keep messages from being delivered")
    commands.add_parser("release", parents=[filters], help="let held messages go on")
    commands.add_parser("requeue", parents=[filters], help="route messages anew")
    commands.add_parser("expire", parents=[filters], help="return messages to their senders at the next attempt")
    show = commands.add_parser("show", help="one message: envelope, header, body")
    show.add_argument("ids", nargs="+", metavar="ID")
    show.add_argument("--json", action="store_true", help="the envelope as one JSON object")
    return parser


def _filter(options: argparse.Namespace) -> dict[str, Any]:
    names = ("sender", "recipient", "site", "queues", "older_than", "younger_than")
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def _run(options: argparse.Namespace, where: SpoolPlaces) -> int:
    if options.command == "show":
        return _show(options, where)
    selected = _filter(options)
    if options.command in _DONE:
        if not options.ids and not selected:
            raise CommandFailed(f"{options.command} what? Name ids, ALL, or a filter such as --sender", temporary=False)
        if options.json:
            rows = (
                row
                for batch in _batches(options.ids, "pymta-queue", selected)
                for row in ask(where, options.command, batch)
            )
            return print_list(rows, as_json=True)
        return change(where, options.command, options.ids, "pymta-queue", selected)
    rows = (
        row for batch in _batches(options.ids, "pymta-queue", selected) for row in ask(where, options.command, batch)
    )
    if options.command == "flush":
        count = sum(row.get("count", 0) for row in rows)
        print(json.dumps({"count": count}) if options.json else f"Scheduled: {plural(count)}")
        return os.EX_OK
    whole = not selected and not options.ids
    return print_list(rows, as_json=options.json, progress=listing_progress(where, whole=whole))


def _show(options: argparse.Namespace, where: SpoolPlaces) -> int:
    for queue_id in read_ids(options.ids, "pymta-queue"):
        if options.json:
            for row in ask(where, "list", {"queue_ids": [queue_id]}):
                print(json.dumps(row, ensure_ascii=False))
        else:
            print_message(where, queue_id, envelope=True, header=True, body=True)
    return os.EX_OK


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of `pymta-queue`."""
    options = _parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    return _guarded("pymta-queue", lambda: _run(options, places(options.config)))
