"""`pymta-queue`: look at the queue and change it, with filters and JSON."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

from pymta.cli.client import CommandFailed
from pymta.cli.places import spool_places
from pymta.cli.queue_format import plural
from pymta.cli.queue_requests import (
    DONE,
    ask,
    batches,
    change,
    guarded,
    listing_progress,
    print_list,
    print_message,
    read_ids,
)
from pymta.runtime.places import SpoolPlaces

_AGE = re.compile(r"([0-9]+)([smhdw]?)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


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
    if options.command in DONE:
        if not options.ids and not selected:
            raise CommandFailed(f"{options.command} what? Name ids, ALL, or a filter such as --sender", temporary=False)
        if options.json:
            rows = (
                row
                for batch in batches(options.ids, "pymta-queue", selected)
                for row in ask(where, options.command, batch)
            )
            return print_list(rows, as_json=True)
        return change(where, options.command, options.ids, "pymta-queue", selected)
    rows = (
        row for batch in batches(options.ids, "pymta-queue", selected) for row in ask(where, options.command, batch)
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
            print_list(ask(where, "list", {"queue_ids": [queue_id]}), as_json=True)
        else:
            print_message(where, queue_id, envelope=True, header=True, body=True)
    return os.EX_OK


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of `pymta-queue`."""
    options = _parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    return guarded("pymta-queue", lambda: _run(options, spool_places(options.config)))
