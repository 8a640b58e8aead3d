"""Keyed text files, postmap(1) and aliases(5) syntax: text -> dictionary and complaints."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pymta.model.frozen import frozen
from pymta.tables.text import BLANKS, Line, fold, joined_lines, logical_lines, unquoted_end

# Nearly every line of nearly every table: a key without quotes or backslashes, blanks, a value.
_PLAIN = re.compile(r'([^\s"\\\x00]*[^\s"\\\x00:])\s+([^\x00]*[^\s\x00])\s*', re.ASCII)
_ALIAS = re.compile(r'([^\s"\\\x00:@,()<>;]+)\s*:\s*([^\x00]*[^\s\x00])\s*', re.ASCII)
_COMMON_VALUES = 1024
"""How many different values are shared between their keys: an access map has a million `REJECT`."""

_TRUNCATED_IPV4 = re.compile(r"\d{1,3}(?:\.\d{1,3}){0,2}\.")
_UNDECODED = re.compile("[\udc80-\udcff]")
_ALIAS_KEY_WORDS = re.compile(r'"((?:[^"\\]|\\.)*)"|\\(.)|([^\s"\\]+)|\s+')


@frozen
class Complaint:
    """Something odd about one line of a table. The line is left out where `text` says so."""

    line: int
    text: str


class LineRefused(ValueError):
    """A line that is no entry; the text is postmap's."""


@frozen
class Entries:
    """A file's content: folded keys and their values, in the order of the file; the first of equal keys stands."""

    values: dict[str, str]
    complaints: tuple[Complaint, ...] = ()


def decode(data: bytes) -> str:
    """UTF-8; bytes that are not stay recognizable, so that only their lines are refused."""
    return data.decode("utf-8", "surrogateescape")


def index(text: str, *, aliases: bool = False, folded: bool = True) -> Entries:
    """Read a whole file. A million lines take some three seconds."""
    pattern, parse = (_ALIAS, parse_alias) if aliases else (_PLAIN, parse_entry)
    plain = pattern.fullmatch
    values: dict[str, str] = {}
    known: dict[str, str] = {}
    complaints: list[Complaint] = []
    ascii_only = text.isascii()
    for number, line in joined_lines(text):
        match = plain(line) if ascii_only else None
        if match:
            key, value = match.groups()
        else:
            try:
                key, value = parse(line)
            except LineRefused as refusal:
                complaints.append(Complaint(number, str(refusal)))
                continue
            if key.endswith(":") and not aliases:
                complaints.append(Complaint(number, 'record is in "key: value" format; is this an alias file?'))
        if folded:
            key = fold(key)
        if key in values:
            complaints.append(Complaint(number, f'duplicate entry: "{key}"'))
        else:
            if value not in known and len(known) < _COMMON_VALUES:
                known[value] = value
            values[key] = known.get(value, value)
    return Entries(values, tuple(complaints))


def entries(text: str, *, aliases: bool = False) -> Iterator[tuple[Line, str, str]]:
    """Every entry with its line, keys as written, without complaints: what a dump or an edit walks over."""
    parse = parse_alias if aliases else parse_entry
    for line in logical_lines(text):
        try:
            yield line, *parse(line.text)
        except LineRefused:
            continue


def parse_entry(text: str) -> tuple[str, str]:
    """`key whitespace value` (postmap(1)). Quotes protect blanks in the key and stay part of it."""
    text = _checked(text)
    end = unquoted_end(text, BLANKS)
    if end < 0:
        raise LineRefused(f"unbalanced '\"' in '{text}' -- ignoring this line")
    key, value = text[:end], text[end:].strip(BLANKS)
    if not key or not value:
        raise LineRefused("expected format: key whitespace value -- ignoring this line")
    return key, value


def parse_alias(text: str) -> tuple[str, str]:
    """`name: value, value` (aliases(5)). The key loses its quotes; the value keeps them, it is parsed again."""
    text = _checked(text)
    end = unquoted_end(text, ":")
    key, value = text[: max(end, 0)].strip(BLANKS), text[end + 1 :].strip(BLANKS)
    if end < 0 or end == len(text) or not key or not value or unquoted_end(key, ",") != len(key):
        raise LineRefused("need name:value pair")
    if unquoted_end(key, "@") != len(key):
        raise LineRefused("name must be local")
    return _unquoted_name(key), value


def key_doubts(keys: Iterator[tuple[Line, str, str]]) -> list[Complaint]:
    """Keys that no lookup finds: `192.168.2.`, where access(5) asks for `192.168.2`."""
    return [
        Complaint(line.number, f'key "{key}" matches nothing: a network is written "{key[:-1]}", without the last "."')
        for line, key, _ in keys
        if _TRUNCATED_IPV4.fullmatch(key)
    ]


def _checked(text: str) -> str:
    if not text.isascii() and _UNDECODED.search(text):
        shown = _UNDECODED.sub("?", text)
        raise LineRefused(f'non-UTF-8 input "{shown}" -- ignoring this line')
    # C strings end at a NUL, and so does the line for Postfix.
    return text.partition("\0")[0] if "\0" in text else text


def _unquoted_name(key: str) -> str:
    if '"' not in key and "\\" not in key:
        return " ".join(key.split())
    words = []
    for match in _ALIAS_KEY_WORDS.finditer(key):
        quoted, escaped, plain = match.groups()
        words.append(re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else escaped or plain or " ")
    return "".join(words)
