"""What postconf(1) is asked, and the patterns that name services."""

from __future__ import annotations

import getopt
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from pymta.config.edit import Action
from pymta.config.lines import split_assignment
from pymta.config.show import Style

DEFAULT_DIRECTORY = "/etc/postfix"

_OPTIONS = "aAbc:C:deFfhHjlmMno:pPqtT:vxX#"
# One of these says what is shown; those that list something take no other option but -c, -C and -v.
_LISTINGS = "aAblmtT"
_EXCLUSIVE = "aAbFlmMpPtT"
_FREE = {"-c", "-C", "-v", "-q"}
_CLASSES = ("builtin", "service", "user", "all")
_MODES = {"-p": "main", "-M": "master", "-F": "fields", "-P": "overrides"}
_USAGE = (
    "usage: {} [-a (server SASL types)] [-A (client SASL types)] [-b (bounce templates)] [-c config_dir] "
    "[-C param_class] [-d (parameter defaults)] [-e (edit configuration)] [-f (fold lines)] [-F (master.cf fields)] "
    "[-h (no names)] [-H (no values)] [-j (JSON)] [-l (lock types)] [-m (map types)] [-M (master.cf)] "
    "[-n (non-default parameters)] [-o name=value (override parameter value)] [-p (main.cf, default)] "
    "[-P (master.cf parameters)] [-q (no warnings)] [-t (bounce templates)] "
    "[-T compile-version|run-version|public-key-algorithms] [-v (verbose)] [-x (expand parameter values)] "
    "[-X (exclude)] [-# (comment-out)] [name...]"
)


class UsageError(Exception):
    """The command line makes no sense; the text says why."""


@dataclass(slots=True)
class Request:
    """What the command line asks for."""

    directory: str
    names: list[str]
    mode: str = "main"
    action: Action | None = None
    only_set: bool = False
    defaults: bool = False
    expand: bool = False
    style: Style = field(default_factory=Style)
    classes: frozenset[str] = frozenset(("builtin", "service", "user"))
    overrides: dict[str, str] = field(default_factory=dict)
    listing: str = ""
    tls_mode: str = ""
    as_json: bool = False
    quiet: bool = False


def parse_arguments(arguments: Sequence[str], program: str = "postconf") -> Request:
    """Read the command line. Raises UsageError."""
    try:
        options, names = getopt.gnu_getopt(list(arguments), _OPTIONS)
    except getopt.GetoptError as error:
        raise UsageError(f"{error.msg}; {_USAGE.format(program)}") from None
    request = Request(directory=os.environ.get("MAIL_CONFIG", DEFAULT_DIRECTORY), names=names)
    given = {option for option, _ in options}
    for option, value in options:
        _take_value(request, option, value)
    modes = [f"-{letter}" for letter in _EXCLUSIVE if f"-{letter}" in given]
    if len(modes) > 1:
        raise UsageError(f"specify one of {' '.join(modes)}")
    mode = modes[0] if modes else "-p"
    if mode[1] in _LISTINGS:
        return _listing(request, mode, given)
    actions = [action for action in Action if action.value in given]
    if len(actions) > 1:
        raise UsageError(f"specify one of {' '.join(action.value for action in actions)}")
    if {"-d", "-n"} <= given:
        raise UsageError("specify one of -d -n")
    request.mode = _MODES[mode]
    request.action = actions[0] if actions else _implied_edit(request)
    request.only_set, request.defaults, request.expand = "-n" in given, "-d" in given, "-x" in given
    request.style = Style("-f" in given, "-h" not in given, "-H" not in given)
    request.as_json, request.quiet = "-j" in given, "-q" in given
    if request.as_json and (request.action or given & {"-f", "-h", "-H"}):
        raise UsageError("with option -j, do not specify -e, -f, -h, -H, -X or -#")
    return request


def _listing(request: Request, mode: str, given: set[str]) -> Request:
    for option in sorted(given - _FREE - {mode}):
        raise UsageError(f"with option {mode}, do not specify {option}")
    request.listing = mode[1]
    return request


def _take_value(request: Request, option: str, value: str) -> None:
    if option == "-c":
        request.directory = value
    elif option == "-C":
        words = value.replace(",", " ").split()
        if unknown := [word for word in words if word not in _CLASSES]:
            raise UsageError(f'unknown -C option value "{unknown[0]}" in "{value}"')
        request.classes = frozenset(_CLASSES if "all" in words else words)
    elif option == "-o":
        name, text = assignment(value)
        request.overrides[name] = text
    elif option == "-T":
        request.tls_mode = value


def _implied_edit(request: Request) -> Action | None:
    """`name=value` among the names is an edit, also without -e."""
    return Action.SET if any("=" in name for name in request.names) else None


def assignment(text: str) -> tuple[str, str]:
    try:
        return split_assignment(text)
    except ValueError as error:
        raise UsageError(str(error)) from None


def split_pattern(name: str, parts: int) -> tuple[str, str]:
    """`service[/type[/rest]]` as the pattern of a service and that of the rest."""
    words = name.split("/")
    if len(words) > parts:
        option = "-M" if parts == 2 else "-P"
        shape = "service_name[/type]" if parts == 2 else "service_name[/type[/parameter]]"
        raise UsageError(f"{option} option requires {shape}")
    words += ["*"] * (3 - len(words))
    return f"{words[0]}/{words[1]}", words[2]


def matches_key(key: str, pattern: str) -> bool:
    """Whether `NAME/TYPE` matches, each part literally or by `*`."""
    return all(wanted in ("*", found) for wanted, found in zip(pattern.rsplit("/", 1), key.rsplit("/", 1), strict=True))
