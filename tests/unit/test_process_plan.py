"""Whether there are several processes, how long one may hang, and what a container's quota is worth."""

from pathlib import Path

import pytest

from pymta.app.process_plan import cores, is_shared, watchdog_seconds
from pymta.config import Config
from pymta.errors import ConfigError


def config(folder: Path, text: str = "") -> Config:
    (folder / "main.cf").write_text(f"myhostname = mx.example.com\n{text}")
    return Config.load(folder)


def test_several_processes_are_the_default(tmp_path: Path) -> None:
    assert is_shared(config(tmp_path))
    assert not is_shared(config(tmp_path, "process_model = single\n"))
    with pytest.raises(ConfigError, match="neither single nor roles"):
        is_shared(config(tmp_path, "process_model = many\n"))
    assert watchdog_seconds(config(tmp_path)) == 60.0


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("50000 100000", 1), ("100000 100000", 1), ("max 100000", None), ("9900000 100000", None), ("rubbish", None)],
)
def test_cores_are_those_of_the_container(tmp_path: Path, quota: str, expected: int | None) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(quota + "\n")
    assert cores(file) == (expected or cores(tmp_path / "none"))
