"""pymta-conf, the half that edits (postconf(1) -e, -#, -X)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from pymta.cli.conf_request import Request, UsageError, assignment, matches_key
from pymta.cli.conf_show import override_places, read_file
from pymta.config.edit import Action, edit_main, edit_master, replace_file
from pymta.config.lines import logical_lines
from pymta.config.mastercf import FIELDS, RawService, read_entry
from pymta.config.show import format_service


def edit(request: Request, action: Action, warn: Callable[[str], None]) -> None:
    if not request.names:
        raise UsageError(f"{action.value} requires one or more arguments")
    if request.mode == "main":
        _edit_main(request, action, warn)
    elif request.mode == "master":
        _edit_master(request, action, warn)
    else:
        _edit_service(request, action, warn)


def _edit_main(request: Request, action: Action, warn: Callable[[str], None]) -> None:
    values: dict[str, str] = {}
    for name in request.names:
        if action is Action.SET:
            key, text = assignment(name)
            values[key] = text
        elif "=" in name or not name.split():
            raise UsageError(f'-X or -# requires names without value: "{name}"')
        else:
            values[name] = ""
    path = f"{request.directory}/main.cf"
    warnings: list[str] = []
    text = edit_main(read_file(path) if Path(path).exists() else "", action, values, path, warnings)
    for warning in warnings:
        warn(warning)
    replace_file(Path(path), text)


def _edit_master(request: Request, action: Action, warn: Callable[[str], None]) -> None:
    path = f"{request.directory}/master.cf"
    text = read_file(path)
    for name in request.names:
        pattern, entry = name, ""
        if action is Action.SET:
            pattern, _, entry_text = name.partition("=")
            entry = format_service(_checked_entry(entry_text, name), fold=True)
        if pattern.count("/") != 1:
            raise UsageError("-Me, -MX, or -M# requires service_name/type")
        text, count = edit_master(text, action, partial(matches_key, pattern=pattern), entry)
        if not count and action is not Action.SET:
            warn(f'unmatched service_name/type: "{name}"')
    replace_file(Path(path), text)


def _checked_entry(text: str, name: str) -> RawService:
    if len(text.split()) < len(FIELDS):
        raise UsageError(f'bad field count: "{name}"')
    return read_entry(text, "", [])


def _edit_service(request: Request, action: Action, warn: Callable[[str], None]) -> None:
    """Change one field (-F) or one `-o` (-P) of entries."""
    path = f"{request.directory}/master.cf"
    text = read_file(path)
    for request_name in request.names:
        target, equals, value = request_name.partition("=")
        words = target.strip().split("/")
        if len(words) != 3 or bool(equals) != (action is Action.SET) or action is Action.COMMENT_OUT:
            raise UsageError(f'-{request.mode[0].upper()} edit requires service_name/type/name: "{request_name}"')
        pattern, name = f"{words[0]}/{words[1]}", words[2]
        problems: list[str] = []
        matched = False
        for _, line in list(logical_lines(text, path, problems)):
            entry = read_entry(line, "", problems)
            if matches_key(entry.key, pattern):
                matched = True
                changed = _changed(entry, request.mode, name, value.strip() if equals else None)
                shown = format_service(changed, fold=True)
                text, _ = edit_master(text, Action.SET, partial(str.__eq__, entry.key), shown)
        if not matched:
            warn(f'unmatched service_name/type: "{request_name}"')
    replace_file(Path(path), text)


def _changed(entry: RawService, mode: str, name: str, value: str | None) -> RawService:
    if mode == "overrides":
        return RawService(entry.fields, _with_override(entry, name, value), entry.where)
    if name not in FIELDS or value is None:
        raise UsageError(f'invalid service attribute name: "{name}"')
    fields = list(entry.fields)
    if name == "command":
        return read_entry(" ".join([*fields[:-1], value]), entry.where, [])
    fields[FIELDS.index(name)] = value
    read_entry(" ".join(fields), entry.where, [])
    return RawService(tuple(fields), entry.argv, entry.where)


def _with_override(entry: RawService, name: str, value: str | None) -> tuple[str, ...]:
    argv = list(entry.argv)
    places = [position for position, own, _ in override_places(argv) if own == name]
    if places and value is not None:
        argv[places[-1]] = f"{name}={value}"
        return tuple(argv)
    for position in reversed(places):
        del argv[position - 1 : position + 1]
    if value is not None:
        last = max((position for position, _, _ in override_places(argv)), default=-1)
        argv[last + 1 : last + 1] = ["-o", f"{name}={value}"]
    return tuple(argv)
