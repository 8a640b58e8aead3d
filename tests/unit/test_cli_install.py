"""Commands under Postfix's names."""

import importlib
from pathlib import Path

import pytest

from pymta.cli.install import COMMANDS, install_commands
from pymta.errors import ConfigError


def test_every_command_has_its_function() -> None:
    for target in COMMANDS.values():
        module, _, function = target.partition(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_commands_are_written_executable_and_isolated(tmp_path: Path) -> None:
    paths = install_commands(tmp_path / "bin", tmp_path / "conf", force=False)
    assert {path.name for path in paths} == set(COMMANDS)
    text = (tmp_path / "bin" / "sendmail").read_text()
    assert text.splitlines()[0].endswith(" -IS")
    assert str(tmp_path / "conf") in text
    assert all(path.stat().st_mode & 0o777 == 0o755 for path in paths)


def test_our_own_are_replaced_and_others_are_not(tmp_path: Path) -> None:
    install_commands(tmp_path, None, force=False)
    install_commands(tmp_path, None, force=False)
    (tmp_path / "mailq").write_text("#!/bin/sh\nanother program\n")
    (tmp_path / "sendmail").unlink()
    with pytest.raises(ConfigError, match="mailq there belong to another program"):
        install_commands(tmp_path, None, force=False)
    assert not (tmp_path / "sendmail").exists()
    install_commands(tmp_path, None, force=True)
    assert "another" not in (tmp_path / "mailq").read_text()
