"""`pymta-dkim rotate`: a new key, its record, the wait for DNS, the switch, and when the old record may go."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pymta.auth.dkim_sign_keys import read_key_file
from pymta.auth.dkim_sign_record import compare, record_name, record_text
from pymta.auth.dkim_sign_rules import PATH_STARTS, SignatureRule, is_domain
from pymta.auth.keys import SigningKey, generate_private_key, parse_private_key
from pymta.cli import client
from pymta.cli.dkim import Configured, record_help, write_key
from pymta.cli.queue_requests import ask
from pymta.config import Config
from pymta.config.edit import Action, edit_main, replace_file
from pymta.config.lines import read_text
from pymta.errors import ConfigError
from pymta.ports import Resolver
from pymta.runtime.places import SpoolPlaces

_POLL_SECONDS = 30.0
_TABLE_LINE = re.compile(r"(\s*[^#\s]\S*\s+)([^#\s][^#\n]*?)(\s*(?:#.*)?\n?)")
_NUMBER_AT_END = re.compile(r"([0-9]*)$")


def next_selector(selector: str) -> str:
    """`mail` -> `mail2`, `mail2` -> `mail3`, `s09` -> `s10`."""
    match = _NUMBER_AT_END.search(selector)
    digits = match[1] if match else ""
    return selector[: len(selector) - len(digits)] + (str(int(digits) + 1).zfill(len(digits)) if digits else "2")


class Rotation:
    """One change of keys. What was done before is not done again, so that an interrupted one can be taken up."""

    def __init__(self, configured: Configured, rule: SignatureRule, new: str | None, wait: float) -> None:
        """Raises ConfigError where the key is not in a file of its own, or a name cannot be a selector."""
        self._configured = configured
        self._rule = rule
        self._selector = new or next_selector(rule.selector)
        self._wait = wait
        if not rule.key.startswith(PATH_STARTS):
            raise ConfigError("the key is in the KeyTable itself; put it into a file first", name=rule.domain)
        if not is_domain(self._selector.lower()) or self._selector == rule.selector:
            raise ConfigError(f'found "{self._selector}", expected a new selector', name="-n")
        self._old_path = configured.base / rule.key
        name = self._selector if self._old_path.stem == rule.selector else f"{rule.domain}.{self._selector}"
        self._path = self._old_path.with_name(f"{name}.private")

    async def run(self, resolver: Resolver) -> int:
        """Exit status 1 where DNS did not have the record in time; nothing was switched then."""
        key = self._new_key()
        name = record_name(self._selector, self._rule.domain)
        print(f"The new private key is in {self._path}. Publish its record:")
        print(record_help(name, record_text(key)))
        if not await self._visible(resolver, key, name):
            print(
                f"{name} is not in DNS yet; still signing with {self._rule.selector}. Run the same command again later."
            )
            return 1
        changed = switch(self._configured, self._rule, self._selector, self._path)
        print(f"{changed}: mail from {self._rule.domain} is signed with {self._selector} from now on.")
        self._reload()
        self._note_old()
        return 0

    def _new_key(self) -> SigningKey:
        """Of the old one's kind, size, mode and owner; one that an earlier run made is taken up."""
        if self._path.exists():
            return parse_private_key(read_key_file(self._path, safe=True))
        old = parse_private_key(read_key_file(self._old_path, safe=False))
        key = write_key(self._path, generate_private_key(old.kind, max(2048, old.bits)))
        if os.geteuid() == 0:
            before = self._old_path.stat()
            os.chown(self._path, before.st_uid, before.st_gid)
            self._path.chmod(before.st_mode & 0o640)
        return key

    async def _visible(self, resolver: Resolver, key: SigningKey, name: str) -> bool:
        deadline = time.monotonic() + self._wait
        while True:
            found = compare(key, await resolver.query(name, "TXT"), name)
            if not found.problems:
                return True
            left = deadline - time.monotonic()
            print(f"Waiting for DNS: {found.problems[0]}")
            if left <= 0:
                return False
            await asyncio.sleep(min(_POLL_SECONDS, left))

    def _reload(self) -> None:
        where = SpoolPlaces.below(self._configured.config.text("queue_directory"))
        try:
            client.run(where.control_socket, "reload", {})
        except client.DaemonDown:
            print("pymta is not running here; it will take the new key when it starts.")
        except client.CommandFailed as error:
            print(f"Say `pymta reload`: {error}")

    def _note_old(self) -> None:
        name = record_name(self._rule.selector, self._rule.domain)
        note = {"name": name, "key": str(self._old_path.resolve()), "retired": time.time()}
        self._old_path.with_name(f"{name}.retired").write_text(json.dumps(note) + "\n")
        print(f"Keep {name} published until the mail signed with it has left: `pymta-dkim retired` tells when.")


def switch(configured: Configured, rule: SignatureRule, selector: str, path: Path) -> str:
    """Let the configuration name the new selector and key, in one atomic replacement; returns the file changed."""
    if configured.settings.dkim_keys:
        file = configured.directory / "main.cf"
        text = edit_main(
            read_text(file), Action.SET, {"dkim_keys": _keys(configured, rule, selector, path)}, str(file), []
        )
    elif configured.table and (shared := _shared_row(read_text(configured.table), rule)):
        return give_own_row(configured, rule, selector, path, shared)
    else:
        file = configured.table or configured.directory / configured.settings.dkim_opendkim_config
        change = _table_line if configured.table else _opendkim_line
        lines = read_text(file).splitlines(keepends=True)
        text = "".join(change(line, rule, selector, path) for line in lines)
    if text == read_text(file):
        raise ConfigError(f"the line that names {rule.selector} and {rule.key} was not found", name=str(file))
    replace_file(file, text)
    return str(file)


def give_own_row(configured: Configured, rule: SignatureRule, selector: str, path: Path, shared: str) -> str:
    """Take a domain out of the KeyTable's row `shared`, whose `%` stands for every domain; returns the file changed.

    The KeyTable comes first: a key that nothing names changes nothing yet.
    """
    keys, senders = configured.table, configured.signing_table
    if keys is None or senders is None or configured.is_multiple:
        why = "MultipleSignatures would sign with both" if configured.is_multiple else "the SigningTable is no file"
        raise ConfigError(f'the row "{shared}" stands for every domain, and {why}: give {rule.domain} rows of its own')
    name = record_name(selector, rule.domain)
    lines = read_text(senders).splitlines(keepends=True)
    at = next((number for number, line in enumerate(lines) if _names(line, shared)), None)
    if at is None:
        raise ConfigError(f'no line names the key "{shared}"', name=str(senders))
    pattern = f"*@{rule.domain}" if "*" in lines[at].split()[0] else rule.domain
    replace_file(keys, f"{name} {rule.domain}:{selector}:{path}\n{read_text(keys)}")
    replace_file(senders, "".join([*lines[:at], f"{pattern} {name}\n", *lines[at:]]))
    return str(senders)


def _shared_row(text: str, rule: SignatureRule) -> str:
    """The name of the KeyTable's row from which `rule` comes by way of a `%`; empty where it is written out."""
    for line in text.splitlines():
        match = _TABLE_LINE.fullmatch(line)
        parts = [part.strip() for part in match[2].split(":", 2)] if match else []
        if match and len(parts) == 3 and "%" in parts[0] + parts[2]:
            domain, selector, key = parts
            if (domain in ("%", rule.domain), selector, key.replace("%", rule.domain)) == (
                True,
                rule.selector,
                rule.key,
            ):
                return match[1].strip()
    return ""


def _names(line: str, key: str) -> bool:
    """Whether a line of the SigningTable names this key."""
    match = _TABLE_LINE.fullmatch(line)
    return match is not None and match[2].partition(":")[0].strip().lower() == key.lower()


def _keys(configured: Configured, rule: SignatureRule, selector: str, path: Path) -> str:
    """The new value of dkim_keys, as it is written where nothing but the one entry has to change."""
    written = configured.config.entries["dkim_keys"].text
    for item in configured.settings.dkim_keys:
        domain, old, _ = item.split(":", 2)
        if (domain.lower(), old) == (rule.domain, rule.selector):
            text = written if item in written else ", ".join(configured.settings.dkim_keys)
            return text.replace(item, f"{domain}:{selector}:{path}")
    raise ConfigError(f"there is no entry for {rule.domain}:{rule.selector}", name="dkim_keys")


def _table_line(line: str, rule: SignatureRule, selector: str, path: Path) -> str:
    """`NAME DOMAIN:SELECTOR:KEY`, where it is the one; name and blanks stay."""
    match = _TABLE_LINE.fullmatch(line)
    if not match:
        return line
    domain, old, key = [*(part.strip() for part in match[2].split(":", 2)), "", ""][:3]
    if (domain.lower(), old, key) != (rule.domain, rule.selector, rule.key):
        return line
    return f"{match[1]}{domain}:{selector}:{path}{match[3]}"


def _opendkim_line(line: str, rule: SignatureRule, selector: str, path: Path) -> str:
    """`Selector` and `KeyFile` of opendkim.conf."""
    match = _TABLE_LINE.fullmatch(line)
    values = {"selector": selector, "keyfile": str(path)}
    if not match or match[1].strip().lower() not in values:
        return line
    return f"{match[1]}{values[match[1].strip().lower()]}{match[3]}"


def report_retired(config: Config, folders: Sequence[Path], in_use: Collection[Path]) -> int:
    """Say of every old key whether mail that was signed with it is still queued; 1 where there is such mail."""
    notes = sorted({path for folder in folders for path in folder.glob("*.retired")})
    if not notes:
        print("No key was replaced here.")
        return 0
    rows = list(ask(SpoolPlaces.below(config.text("queue_directory")), "list", {}))
    return max([_report_note(path, rows, in_use) for path in notes])


def _report_note(path: Path, rows: Sequence[Mapping[str, Any]], in_use: Collection[Path]) -> int:
    note = json.loads(path.read_text())
    name, key = note["name"], Path(note["key"])
    waiting = sum(float(row["arrival_time"]) <= note["retired"] for row in rows)
    if waiting:
        print(
            f"{name}: keep it published, {waiting} older message{'s are' if waiting > 1 else ' is'} still in the queue."
        )
        return 1
    day = time.strftime("%Y-%m-%d", time.localtime(note["retired"]))
    # Other domains may sign with the same file.
    files = [path] if key in in_use or not key.exists() else [key, path]
    print(
        f"{name}: no mail signed with it is in the queue. Some days after {day}, when receivers have fetched theirs, "
        f"remove the record and {' and '.join(map(str, files))}."
    )
    return 0
