"""`postqueue`, `postsuper` and `postcat` as Postfix's manuals have them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from pymta.cli.places import spool_places
from pymta.cli.queue_requests import ask, change, fatal, flush, guarded, listing_progress, print_list, print_message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


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
        return fatal("postqueue", usage, os.EX_UNAVAILABLE)
    config = next((value for letter, value in options if letter == "c"), None)
    modes = [(letter, value) for letter, value in options if letter not in "cv"]
    if len(modes) != 1 or rest:
        return fatal("postqueue", usage, os.EX_UNAVAILABLE)
    letter, value = modes[0]

    def act() -> int:
        where = spool_places(config)
        if letter in "pj":
            return print_list(ask(where, "list", {}), as_json=letter == "j", progress=listing_progress(where))
        return flush(where, "postqueue", queue_id=value if letter == "i" else "", site=value if letter == "s" else None)

    return guarded("postqueue", act, os.EX_UNAVAILABLE)


def postsuper_main(arguments: Sequence[str] | None = None) -> int:
    """postsuper(1): `-d -e -f -h -H -r` with an id, `ALL` or `-`; queue names narrow what `ALL` means."""
    commands = {"d": "delete", "e": "expire", "f": "expire", "h": "hold", "H": "release", "r": "requeue"}
    try:
        options, queues = _postfix_options(sys.argv[1:] if arguments is None else arguments, "psSv", "cdefhHr")
    except _Usage as error:
        return fatal("postsuper", f"{error}; usage: postsuper [-c config_dir] -d|-e|-f|-h|-H|-r queue_id [queue...]", 1)
    config = next((value for letter, value in options if letter == "c"), None)

    def act() -> int:
        where = spool_places(config)
        more: dict[str, Any] = {"queues": queues} if queues else {}
        for letter, value in options:
            if letter in commands:
                change(where, commands[letter], [value], "postsuper", more)
            if letter == "f":
                change(where, "release", [value], "postsuper", more)
            if letter in "psS":
                sys.stderr.write("postsuper: the queue needs no structure check: the database keeps its own\n")
        return os.EX_OK

    return guarded("postsuper", act)


def postcat_main(arguments: Sequence[str] | None = None) -> int:
    """postcat(1): `-q` with ids, `-b -e -h` for parts; without parts, all of them."""
    try:
        options, words = _postfix_options(sys.argv[1:] if arguments is None else arguments, "bdehnoqv", "cs")
    except _Usage as error:
        return fatal(
            "postcat",
            f"{error}; usage: postcat [-b (body text)] [-c config_dir] [-e (envelope records)] "
            "[-h (header text)] [-q (access messages by queue id)] [-v] queue_id...",
            1,
        )
    letters = {letter for letter, _ in options}
    config = next((value for letter, value in options if letter == "c"), None)
    parts = letters & {"b", "e", "h"} or {"b", "e", "h"}

    def act() -> int:
        where = spool_places(config)
        for word in words:
            queue_id = word if "q" in letters else os.path.basename(word)
            print_message(where, queue_id, envelope="e" in parts, header="h" in parts, body="b" in parts)
        return os.EX_OK

    return guarded("postcat", act)
