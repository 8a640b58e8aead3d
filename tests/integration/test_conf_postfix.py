"""pymta-conf against what Postfix's postconf prints: its own test suite, and 16 public configurations."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pymta.cli.conf import main

SHARED = Path(os.environ.get("PYMTA_SHARED", "/work/shared"))
SUITE = SHARED / "suites" / "postfix"
CONFIGS = SHARED / "postfix" / "configs"
ABSENT = "Postfix's test data is not here: set PYMTA_SHARED to the folder that has it"

# Where we differ from the suite on purpose.
DIFFERENT = {
    "test18": "Postfix 3.11 warns that both names will be removed; the suite is older",
    "test59": "braces around an argument with blanks stay, so that what is printed can be read back",
}
# Their result is master.cf itself, not what is printed.
EDITS = ("test53", "test54", "test55", "test56")


def _recipes() -> list[dict[str, object]]:
    path = SUITE / "recipes.json"
    return [one for one in json.loads(path.read_text()) if one["dir"] == "postconf"] if path.exists() else []


def _program(place: Path) -> None:
    root = Path(__file__).parents[2]
    start = f"import sys; sys.path.insert(0, {str(root)!r}); sys.argv[0] = 'postconf'"
    run = "from pymta.cli.conf import main; sys.exit(main())"
    program = place / "postconf"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{start}; {run}" "$@"\n')
    program.chmod(0o755)


def _shell(line: str) -> str:
    for word in ("$(HTABLE_FIX)", "$(SHLIB_ENV)", "$(VALGRIND)", "${VALGRIND}"):
        line = line.replace(word, "")
    return line.lstrip("-").replace("$(PROG)", "postconf").replace("$$", "$").strip()


def _sorted_by_stream(text: str) -> tuple[list[str], list[str]]:
    """What is printed, in order, and the warnings, whose order is that of a hash table in Postfix."""
    lines = text.replace("./postconf:", "postconf:").splitlines()
    return [line for line in lines if "warning:" not in line], sorted(line for line in lines if "warning:" in line)


@pytest.mark.skipif(not _recipes(), reason=ABSENT)
@pytest.mark.parametrize("recipe", _recipes(), ids=lambda recipe: str(recipe["test"]))
def test_postfix_suite(recipe: dict[str, object], tmp_path: Path) -> None:
    name = str(recipe["test"])
    if name in DIFFERENT:
        pytest.skip(DIFFERENT[name])
    _program(tmp_path)
    commands = recipe["cmd"]
    assert isinstance(commands, list)
    for command in map(_shell, commands[1:]):
        if not command.startswith(("diff", "sed", "rm")):
            subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, check=False)
    got = (tmp_path / ("master.cf" if name in EDITS else f"{name}.tmp")).read_text()
    wanted = (SUITE / "postconf" / f"{name}.ref").read_text().replace("PWD", str(tmp_path))
    assert _sorted_by_stream(got) == _sorted_by_stream(wanted)


def _configs() -> list[Path]:
    return sorted(CONFIGS.iterdir()) if CONFIGS.is_dir() else []


@pytest.mark.skipif(not _configs(), reason=ABSENT)
@pytest.mark.parametrize("option", ["-n", "-Mf", "-Pf"])
@pytest.mark.parametrize("directory", _configs(), ids=lambda path: path.name)
def test_public_configuration(directory: Path, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([option, "-c", str(directory)]) == 0
    printed = capsys.readouterr().out.splitlines()
    got = [line for line in printed if not line.startswith("config_directory = ")]
    assert got == (directory / f"postconf{option}.expected").read_text().splitlines()
