"""`pymta-map`, `pymta-alias` and their Postfix spellings `postmap`, `postalias`, `newaliases`.

Tables are read from their source text, so nothing has to be built: without `-q`, `-s`, `-d` or `-i` a file is
checked, line by line.
"""

from __future__ import annotations

import getopt
import sys
from collections.abc import Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any

from pymta.cli.places import config_directory
from pymta.config import Config
from pymta.errors import ConfigError, TableError
from pymta.model.frozen import frozen
from pymta.ports import Table
from pymta.tables import TableFactory
from pymta.tables import entries as keyed
from pymta.tables.edit import rewrite, without
from pymta.tables.factory import TYPES
from pymta.tables.indexed import INDEXED_TYPES, IndexedTable
from pymta.tables.text import fold

_NEVER_WAIT = INDEXED_TYPES | {"regexp", "pcre", "cidr", "inline", "static", "environ", "fail"}

_USAGE = """\
usage: {program} [-bfhinNoprsuUvw] [-c config_dir] [-d key] [-q key] [type:]file ...

Without -q, -s, -d or -i: check each file and tell what is wrong, with line numbers.
  -q key   print the value of key in the first table that has it; `-q -` reads keys from standard input
  -s       print all entries
  -i       add the entries on standard input to the file's text; with -r, in place of entries that it has
  -d key   take the entry out of the file's text; `-d -` reads keys from standard input
  -b, -h   with `-q -`: standard input is a message; look up the lines of its body, its headers
  -f       keep the case of keys in what -s prints
  -w       no warnings about duplicate keys
  -c dir   the folder of main.cf
  -v       tell more
There is no index file, so -n -N -o -p -u -U, which are about it, change nothing.
"""


class _Fatal(Exception):
    """Ends the command with exit status 1 and a text."""


@frozen
class _Options:
    program: str
    aliases: bool
    config: Config
    query: str | None = None
    delete: str | None = None
    add: bool = False
    replace: bool = False
    dump: bool = False
    headers: bool = False
    body: bool = False
    keep_case: bool = False
    quiet_duplicates: bool = False
    verbose: int = 0


class _Terminal:
    """The log of a command: standard error, in the form of Postfix's commands."""

    def __init__(self, program: str) -> None:
        self._program = program

    def debug(self, line: str) -> None: ...

    def info(self, line: str) -> None:
        print(f"{self._program}: {line}", file=sys.stderr)

    def warning(self, line: str) -> None:
        self.info(f"warning: {line}")

    def error(self, line: str) -> None:
        self.info(f"error: {line}")


def map_main(argv: Sequence[str] | None = None) -> int:
    """Entry of `pymta-map` and `postmap` (postmap(1)): 0 done or found, 1 not found or failed."""
    return _main(argv, "pymta-map", aliases=False)


def alias_main(argv: Sequence[str] | None = None) -> int:
    """Entry of `pymta-alias` and `postalias` (postalias(1)): like `map_main`, for files in aliases(5) syntax."""
    return _main(argv, "pymta-alias", aliases=True)


def newaliases_main(argv: Sequence[str] | None = None) -> int:
    """Entry of `newaliases`: check every table of `alias_database`. Their edits are live without it."""
    program = "newaliases"
    try:
        flags, rest = getopt.getopt(list(sys.argv[1:] if argv is None else argv), "c:v")
        config = _configuration(dict(flags).get("-c"))
        if rest:
            raise _Fatal("newaliases takes no file names: use pymta-alias")
        options = _Options(program, True, config, verbose=sum(flag == "-v" for flag, _ in flags))
        for spec in config.items("alias_database"):
            _check(options, spec)
    except (getopt.GetoptError, _Fatal, ConfigError) as error:
        return _fatal(program, str(error))
    return 0


def _main(argv: Sequence[str] | None, default: str, *, aliases: bool) -> int:
    called = Path(sys.argv[0]).name
    program = called if called in ("postmap", "postalias") else default
    try:
        options, specs = _parse(program, list(sys.argv[1:] if argv is None else argv), aliases)
    except ConfigError as error:
        return _fatal(program, str(error))
    except (getopt.GetoptError, _Fatal) as error:
        print(_USAGE.format(program=program), file=sys.stderr, end="")
        return _fatal(program, str(error))
    try:
        return _run(options, specs)
    except (TableError, ConfigError, _Fatal) as error:
        return _fatal(program, str(error))
    except BrokenPipeError:
        return 1
    except OSError as error:
        return _fatal(program, f"{error.filename or 'standard input'}: {error.strerror}")


def _parse(program: str, argv: list[str], aliases: bool) -> tuple[_Options, list[str]]:
    flags, specs = getopt.gnu_getopt(argv, "bc:d:fFhimnNopq:rsuUvw", ["help"])
    on = {flag for flag, _ in flags}
    values = dict(flags)
    if "--help" in on:
        raise _Fatal("help was asked for")
    if "-F" in on:
        raise _Fatal("-F (values that are file names) is not supported")
    if "-m" in on:
        raise _Fatal("-m (MIME structure of a message) is not supported")
    if len({flag for flag, _ in flags if flag in ("-q", "-d", "-s")}) > 1:
        raise _Fatal("specify only one of -s -q or -d")
    if on & {"-b", "-h"} and values.get("-q") != "-":
        raise _Fatal('specify -b -h or -m only with "-q -"')
    if not specs:
        raise _Fatal("no table given")
    config = _configuration(values.get("-c"))
    options = _Options(
        program,
        aliases,
        config,
        query=values.get("-q"),
        delete=values.get("-d"),
        add="-i" in on,
        replace="-r" in on,
        dump="-s" in on,
        headers="-h" in on,
        body="-b" in on,
        keep_case="-f" in on,
        quiet_duplicates="-w" in on,
        verbose=sum(flag == "-v" for flag, _ in flags),
    )
    return options, [spec if _typed(spec) else f"{config.text('default_database_type')}:{spec}" for spec in specs]


def _typed(spec: str) -> bool:
    kind, colon, _ = spec.partition(":")
    return bool(colon) and "/" not in kind and not Path(spec).exists()


def _configuration(directory: str | None) -> Config:
    """The configuration, or defaults where there is none: a table can be checked before main.cf is written."""
    found = config_directory(directory)
    if directory is None and not (found / "main.cf").exists():
        return Config.from_values({})
    return Config.load(found)


def _run(options: _Options, specs: list[str]) -> int:
    if options.query is not None:
        return _answer(_query(options, specs), specs)
    if options.delete is not None:
        return _delete(options, specs)
    for spec in specs:
        if options.dump:
            _dump(options, spec)
        elif options.add:
            _add(options, spec)
        else:
            _check(options, spec)
    return 0


def _factory(options: _Options, specs: Iterable[str]) -> TableFactory:
    """Tables as they are spelled; alias syntax for `pymta-alias`, and where main.cf says that a file has it."""
    alias_files = {
        Path(spec.removeprefix("proxy:").partition(":")[2]).resolve()
        for name in ("alias_maps", "alias_database")
        for spec in options.config.items(name)
    }
    alias_tables = frozenset(
        spec for spec in specs if options.aliases or Path(spec.partition(":")[2]).resolve() in alias_files
    )
    # A query says nothing about the lines of a keyed file; that is what the check is for.
    keyed_only = all(spec.partition(":")[0] in INDEXED_TYPES for spec in specs)
    return TableFactory(Path.cwd(), alias_tables=alias_tables, log=None if keyed_only else _Terminal(options.program))


def _answer(query: Coroutine[Any, Any, int], specs: Sequence[str]) -> int:
    """The result of a query. Tables of text never wait, and spare the command the start of an event loop."""
    if any(spec.partition(":")[0] not in _NEVER_WAIT for spec in specs):
        import asyncio

        return asyncio.run(query)
    try:
        query.send(None)
    except StopIteration as end:
        status: int = end.value
        return status
    raise RuntimeError("a table of text waited")


async def _query(options: _Options, specs: list[str]) -> int:
    tables = [_factory(options, specs).open(spec) for spec in specs]
    if options.query == "-":
        return await _query_input(options, tables)
    value = await _first(options, tables, options.query or "")
    if value is None:
        return 1
    print(value)
    return 0


async def _query_input(options: _Options, tables: Sequence[Table]) -> int:
    found = False
    mark = ":" if options.aliases else ""
    for key in _keys(options):
        value = await _first(options, tables, key)
        if value is not None:
            found = True
            print(f"{key}{mark}\t{value}")
    return 0 if found else 1


def _keys(options: _Options) -> Iterable[str]:
    lines = (_text(line) for line in sys.stdin.buffer)
    if options.headers or options.body:
        return _message_keys(lines, options)
    return (line for line in lines if line)


def _text(line: bytes) -> str:
    return keyed.decode(line.rstrip(b"\r\n"))


def _message_keys(lines: Iterable[str], options: _Options) -> Iterable[str]:
    """Header fields, folded as they are, and body lines, as header_checks(5) sees them."""
    field: list[str] = []
    in_header = True
    for line in lines:
        if in_header and line[:1] in (" ", "\t") and field:
            field.append(line)
            continue
        if field and options.headers:
            yield "\n".join(field)
        field = []
        if in_header and line:
            field = [line]
        elif not in_header and options.body:
            yield line
        in_header = in_header and bool(line)
    if field and options.headers:
        yield "\n".join(field)


async def _first(options: _Options, tables: Sequence[Table], key: str) -> str | None:
    for table in tables if key else ():
        value = await table.lookup(key)
        if value is None:
            continue
        if not value:
            log = _Terminal(options.program)
            log.warning(f"table {table.name}: key {key}: empty string result is not allowed")
        return value
    return None


def _dump(options: _Options, spec: str) -> None:
    table = _factory(options, [spec]).open(spec)
    mark = ":" if options.aliases else ""
    if options.keep_case and isinstance(table, IndexedTable):
        _, text = _source(spec)
        pairs = keyed.index(text, aliases=options.aliases, folded=False).values.items()
    elif (items := getattr(table, "items", None)) is not None:
        pairs = items()
    else:
        raise _Fatal(f"table {spec}: sequence operation is not supported")
    sys.stdout.writelines(f"{key}{mark}\t{value}\n" for key, value in pairs)


def _check(options: _Options, spec: str) -> None:
    kind = spec.partition(":")[0]
    if kind not in INDEXED_TYPES:
        _factory(options, [spec]).open(spec)
        if kind not in TYPES:
            raise _Fatal(f"unsupported table type: {kind}")
        _say(options, f"{spec}: ok")
        return
    path, text = _source(spec)
    log = _Terminal(options.program)
    found = keyed.index(text, aliases=options.aliases)
    doubts = [] if options.aliases else keyed.key_doubts(keyed.entries(text))
    for complaint in sorted([*found.complaints, *doubts], key=lambda one: one.line):
        if not (options.quiet_duplicates and complaint.text.startswith("duplicate entry")):
            log.warning(f"{path}, line {complaint.line}: {complaint.text}")
    if options.replace:
        log.warning("-r without -i changes nothing: of equal keys the first one is in force")
    count = len(found.values)
    _say(options, f"{spec}: {count} {'entry' if count == 1 else 'entries'}")


def _say(options: _Options, text: str) -> None:
    """The result of a check. Postfix's commands say nothing when all is well, and scripts rely on it."""
    if options.program.startswith("pymta") or options.verbose:
        print(text)


def _source(spec: str) -> tuple[Path, str]:
    path = Path(spec.partition(":")[2])
    try:
        return path, keyed.decode(path.read_bytes())
    except OSError as error:
        raise _Fatal(f"open {path}: {error.strerror}") from error


def _editable(spec: str, operation: str) -> Path:
    kind, _, name = spec.partition(":")
    if kind not in INDEXED_TYPES:
        raise _Fatal(f"table {spec}: {operation} is not supported")
    return Path(name)


def _add(options: _Options, spec: str) -> None:
    path = _editable(spec, "update")
    new = _text_of_input()
    log = _Terminal(options.program)
    found = keyed.index(new, aliases=options.aliases)
    for complaint in found.complaints:
        log.warning(f"stdin, line {complaint.line}: {complaint.text}")
    if not path.exists():
        path.touch()

    def change(text: str) -> str:
        known = keyed.index(text, aliases=options.aliases).values
        if options.replace:
            text, _ = without(text, found.values, aliases=options.aliases)
            known = {}
        lines = []
        for line, key, _ in keyed.entries(new, aliases=options.aliases):
            if fold(key) in known:
                if not options.quiet_duplicates:
                    log.warning(f'{path}: duplicate entry: "{fold(key)}"')
                continue
            known[fold(key)] = key
            lines.append(line.text)
        if text and not text.endswith("\n"):
            text += "\n"
        return text + "".join(f"{line}\n" for line in lines)

    rewrite(path, change)


def _text_of_input() -> str:
    return keyed.decode(sys.stdin.buffer.read())


def _delete(options: _Options, specs: list[str]) -> int:
    keys = [options.delete or ""] if options.delete != "-" else [line for line in _text_of_input().split("\n") if line]
    deleted = False
    for spec in specs:
        found: set[str] = set()

        def change(text: str, found: set[str] = found) -> str:
            text, removed = without(text, keys, aliases=options.aliases)
            found |= removed
            return text

        rewrite(_editable(spec, "delete"), change)
        deleted = deleted or bool(found)
    return 0 if deleted else 1


def _fatal(program: str, text: str) -> int:
    print(f"{program}: fatal: {text}", file=sys.stderr)
    return 1
