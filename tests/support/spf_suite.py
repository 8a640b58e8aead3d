"""The openspf.org test suites (RFC 7208, RFC 4408) as cases and zones; the YAML is looked for outside the project."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

FOLDERS = (
    Path(os.environ.get("PYMTA_SUITES", "")) / "spf",
    Path(__file__).parents[3] / "shared" / "suites" / "spf",
)
ABSENT = "the SPF suite is not here: set PYMTA_SUITES to the folder that has spf/rfc7208-tests.yml"
Zones = dict[str, dict[str, list[str]]]


@dataclass(frozen=True)
class Case:
    name: str
    host: str
    helo: str
    mail_from: str
    results: tuple[str, ...]
    explanation: str | None
    scenario: Scenario

    def __str__(self) -> str:
        return self.name


@dataclass
class Scenario:
    """`zones`: name to type to records, PTR under the reverse name; `failures`: (name, type) that nobody answers."""

    title: str
    zones: Zones = field(default_factory=dict)
    failures: set[tuple[str, str]] = field(default_factory=set)


def suite_file(name: str) -> Path | None:
    return next((folder / name for folder in FOLDERS if (folder / name).is_file()), None)


def load(name: str) -> list[Case]:
    path = suite_file(name)
    if path is None:
        return []
    return [case for document in yaml.safe_load_all(path.read_text("utf-8")) for case in _cases(document)]


def _cases(document: dict[str, Any]) -> Iterator[Case]:
    scenario = Scenario(document["description"])
    for name, records in document["zonedata"].items():
        _read(scenario, str(name).lower().rstrip("."), records)
    for name, case in document["tests"].items():
        result = case["result"]
        yield Case(
            name,
            case["host"],
            str(case["helo"]),
            case["mailfrom"],
            tuple(result) if isinstance(result, list) else (result,),
            case.get("explanation"),
            scenario,
        )


def _read(scenario: Scenario, name: str, records: list[Any]) -> None:
    """Type SPF stands for TXT too, as the suite's head says; a bare TIMEOUT is for every type without records."""
    zone = scenario.zones.setdefault(name, {})
    has_txt = any("TXT" in record for record in records if isinstance(record, dict))
    for record in records:
        if record == "TIMEOUT":
            missing = {"A", "AAAA", "MX", "TXT", "PTR"} - zone.keys()
            scenario.failures.update((name, rdtype) for rdtype in missing)
            continue
        ((rdtype, value),) = record.items()
        if rdtype == "SPF":
            if has_txt:
                continue
            rdtype = "TXT"
        if value == "NONE":
            continue
        if value == "TIMEOUT":
            scenario.failures.add((name, rdtype))
            continue
        zone.setdefault(rdtype, []).append(_text(rdtype, value))


def _text(rdtype: str, value: Any) -> str:
    if rdtype == "MX":
        return f"{value[0]} {value[1] or '.'}"
    if rdtype == "TXT":
        text = "".join(value) if isinstance(value, list) else value
        return text.encode("utf-8").decode("latin-1")
    return str(value)
