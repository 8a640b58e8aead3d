"""Postfix's own test data for tables, address searches and network lists, where it is at hand."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest

from pymta.errors import ConfigError, TableError
from pymta.model.address import Address
from pymta.tables import Find, KeyForm, TableFactory
from pymta.testing.log import RecordingLog

SUITE = Path(os.environ.get("POSTFIX_SUITE", Path(__file__).parents[3] / "shared/suites/postfix"))

pytestmark = pytest.mark.skipif(not SUITE.is_dir(), reason="Postfix's test data is not here (POSTFIX_SUITE)")


# PCRE's words for this error carry an offset that `re` does not know.
_OTHER_WORDS = {
    "error in regex at offset 1: missing closing parenthesis": (
        "error in regexp: missing closing parenthesis: skipping this rule"
    )
}


@pytest.mark.parametrize("kind", ["regexp", "pcre", "cidr"])
async def test_rule_files(kind: str) -> None:
    folder = SUITE / "util"
    log = RecordingLog()
    table = TableFactory(folder, log=log).open(f"{kind}:dict_{kind}.map")
    reference = (folder / f"dict_{kind}.ref").read_text()
    for theirs, ours in _OTHER_WORDS.items():
        reference = reference.replace(theirs, ours)
    warnings, _, dialogue = reference.partition("owner=untrusted (uid=USER)\n")
    expected = [line.partition("warning: ")[2] for line in warnings.splitlines()]
    assert [line.replace(f"{folder}/", "") for line in log.lines] == expected
    shown = []
    for line in (folder / f"dict_{kind}.in").read_text().splitlines():
        key = line.removeprefix("get ")
        value = await table.lookup(key)
        shown += [f"> {line}", f"{key}: not found" if value is None else f"{key}={value}"]
    assert shown == dialogue.splitlines()


def test_texthash() -> None:
    folder = SUITE / "util"
    log = RecordingLog()
    table = TableFactory(folder, log=log).open("texthash:dict_thash.in")
    assert dict(table.items()) == {"aaa": "bbb", "xxx:": "yyy"}  # type: ignore[attr-defined]
    expected = [line for line in (folder / "dict_thash.ref").read_text().splitlines() if "warning" in line]
    assert [f"postmap: warning: {line.replace(f'{folder}/', '')}" for line in log.lines] == expected


def _searches() -> list[tuple[str, str]]:
    if not SUITE.is_dir():
        return []
    maps, rows = "", []
    for line in (SUITE / "global/mail_addr_find.in").read_text().splitlines():
        if line.startswith("maps "):
            maps = line.removeprefix("maps ")
        elif line.startswith("test "):
            rows.append((maps, line.removeprefix("test ")))
    return rows


_STRATEGIES = {
    "default": Find.DEFAULT,
    "full": Find.FULL,
    "noext": Find.NOEXT,
    "domain": Find.DOMAIN,
    "pdms": Find.PARENTS,
    "pms": Find.PARENTS,
    "pddms": Find.DOT_PARENTS,
    "localpart_at": Find.LOCALPART_AT,
    "localpart_at_if_local": Find.LOCALPART_AT_IF_LOCAL,
}


async def _is_local(domain: str) -> bool:
    return domain == "localhost.localdomain"


@pytest.mark.parametrize(("maps", "row"), _searches())
async def test_address_searches(tmp_path: Path, maps: str, row: str) -> None:
    form, query, answer_form, strategies, address, *expected = row.split(":")
    value, extension = (*expected, "", "")[:2]
    if form == "external":
        address = re.sub(r'^"(.*)"@', r"\1@", address)
    if answer_form == "internal":
        value = value.replace("dd ee", '"dd ee"')
    strategy = Find(0)
    for name in strategies.split("|"):
        strategy |= _STRATEGIES[name]
    found = (
        await TableFactory(tmp_path)
        .maps(maps)
        .find_address(
            Address.from_internal(address), delimiter="+", is_local=_is_local, strategy=strategy, form=KeyForm(query)
        )
    )
    assert (found.value if found else "", found.extension if found else "") == (value, extension)


def _lists() -> list[tuple[str, str, str, str]]:
    if not SUITE.is_dir():
        return []
    verdicts = re.findall(r": (YES|NO|ERROR)$", (SUITE / "global/namadr_list.ref").read_text(), re.MULTILINE)
    commands = [line for line in (SUITE / "global/namadr_list.in").read_text().splitlines() if "./namadr_list" in line]
    rows = []
    for command, verdict in zip(commands, verdicts, strict=True):
        pattern, name, address = shlex.split(command)[-3:]
        # We refuse a broken address at the start, whatever it is compared with later.
        rows.append((pattern, name, address, "ERROR" if pattern == "[be:be]" else verdict))
    return rows


@pytest.mark.parametrize(("pattern", "name", "address", "verdict"), _lists())
async def test_network_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, name: str, address: str, verdict: str
) -> None:
    monkeypatch.setenv("foo", "x")
    (tmp_path / "junk").write_text("foo !bar baz\n")
    try:
        networks = TableFactory(tmp_path).network_list(pattern.replace("/tmp/junk", f"{tmp_path}/junk"))
        found = "YES" if await networks.matches(address, name) else "NO"
    except (ConfigError, TableError):
        found = "ERROR"
    assert found == verdict
