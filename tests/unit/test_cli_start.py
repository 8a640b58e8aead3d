"""What the commands that scripts call in loops import before they do their work."""

import subprocess
import sys
from pathlib import Path

import pytest

from pymta.cli.client import CommandFailed, DaemonDown
from pymta.cli.handover import _json_object
from pymta.config import Config
from pymta.config.one import value_of
from pymta.errors import ConfigError
from pymta.pickup.submission import Submission
from pymta.protocol.control import format_record

ROOT = Path(__file__).parents[2]
SLOW = {"asyncio", "dataclasses", "argparse", "sqlite3", "concurrent.futures", "logging", "inspect"}
SMALL = SLOW | {"enum", "re", "json", "socket", "pathlib", "typing", "tempfile"}


def _imported(statement: str) -> set[str]:
    code = f"import sys; sys.path.append({str(ROOT)!r}); {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-IS", "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("pymta.cli.sendmail", SMALL),
        ("pymta.cli.postqueue", SLOW),
    ],
)
def test_a_command_starts_light(module: str, unwanted: set[str]) -> None:
    assert _imported(f"import {module}") & unwanted == set()


def test_reading_one_value_takes_no_registry() -> None:
    found = _imported("from pymta.config.one import value_of; value_of('conf', 'setgid_group')")
    assert found & SMALL == set()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", "/var/spool/postfix"),
        ("queue_directory = /a\n", "/a"),
        ("queue_directory = /a\nqueue_directory=/b\n", "/b"),
        ("queue_directory =\n  /a\n # no\n\n", "/a"),
        ("x = /a\nqueue_directory = ${x}/b\n", "/a/b"),
        ("#queue_directory = /a\n", "/var/spool/postfix"),
    ],
)
def test_one_value_is_what_the_whole_configuration_has(tmp_path: Path, text: str, value: str) -> None:
    (tmp_path / "main.cf").write_text(text)
    assert value_of(str(tmp_path), "queue_directory") == value
    assert Config.load(tmp_path).text("queue_directory") == value


def test_a_broken_line_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "main.cf").write_text("a = b\nnonsense\n")
    with pytest.raises(ConfigError, match=r"main\.cf:2: missing '=' after attribute name"):
        value_of(str(tmp_path), "queue_directory")
    with pytest.raises(ConfigError, match=r"open .*main\.cf: No such file"):
        value_of(str(tmp_path / "none"), "queue_directory")


@pytest.mark.parametrize(
    "submission",
    [
        Submission(),
        Submission(sender="", recipients=("a", 'b"\\\n\t\x00\x7f@c'), extract=True, envid="\u2028\xe9"),
        Submission(full_name="\udcff", notify="never"),
    ],
)
def test_the_record_is_the_json_that_the_library_writes(submission: Submission) -> None:
    record = submission.to_record()
    assert (_json_object(record) + "\n").encode() == format_record(record)


def test_failures_are_the_same_for_all_commands() -> None:
    from pymta.cli import errors

    assert (errors.DaemonDown, errors.CommandFailed) == (DaemonDown, CommandFailed)
