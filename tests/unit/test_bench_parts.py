"""bench/parts.py: the budget's rows."""

from pathlib import Path

import pytest

import pymta
from bench.parts import EVENT_LOOP, REST, WRITES, Stack, above_loop, part

_LOOP = [("asyncio.runners", "Runner.run", 118), ("pymta.runtime.loop", "run", 41), ("__main__", "<module>", 1)]
_NOT_PARTS = {"cli", "model", "runtime", "testing"}


@pytest.mark.parametrize(
    ("stack", "expected"),
    [
        ([*_LOOP], EVENT_LOOP),
        ([("pymta.qmgr.jobs", "f", 1), ("pymta.qmgr.service", "g", 1), *_LOOP], "scheduler"),
        ([("pymta.qmgr.service", "g", 1), *_LOOP], "queue manager"),
        ([("json.encoder", "f", 1), ("pymta.app.remote_values", "g", 1), *_LOOP], "between processes"),
        ([("pymta.model.address", "Address.__str__", 1), ("pymta.rewrite.canonical", "g", 1), *_LOOP], "rewrite"),
        ([("asyncio.tasks", "create_task", 1), *_LOOP], EVENT_LOOP),
        ([("runpy", "f", 1)], REST),
        ([], REST),
    ],
)
def test_a_stack_belongs_to_its_innermost_part(stack: Stack, expected: str) -> None:
    assert part(stack) == expected


def test_a_line_that_hands_data_to_a_transport_is_a_system_call() -> None:
    lines = (Path(pymta.__file__).parent / "smtpd/connection.py").read_text().splitlines()
    number = next(number for number, line in enumerate(lines, 1) if "wire.write(" in line)
    assert part([("pymta.smtpd.connection", "Connection._flush", number), *_LOOP]) == WRITES


def test_what_the_loop_called_is_told_from_the_loop() -> None:
    calls = [("pymta.smtpd.connection", "f", 1), ("pymta.smtpd.connection", "g", 1)]
    assert above_loop([*calls, *_LOOP]) == calls


def test_every_package_has_its_row() -> None:
    packages = {path.parent.name for path in Path(pymta.__file__).parent.glob("*/__init__.py")} - _NOT_PARTS
    assert {name for name in packages if part([(f"pymta.{name}.x", "f", 1), *_LOOP]) in (REST, EVENT_LOOP)} == set()
