"""Fixtures that several tiers share."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.system import PymtaSystem

_FOLDER = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """A folder of this run's own: pytest's common one is closed to mail_owner by every other run that starts."""
    if config.option.basetemp is None and not hasattr(config, "workerinput"):
        config.stash[_FOLDER] = config.option.basetemp = tempfile.mkdtemp(prefix="pymta-tests-")
        # Programs that tests start, hundreds of them, would each compile all that they import.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """After a failure the folder stays, to be looked at."""
    folder = session.config.stash.get(_FOLDER, "")
    if folder and exitstatus == pytest.ExitCode.OK:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def pymta_system(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., PymtaSystem]]:
    """Starts `pymta run` with main.cf parameters as given; every instance is stopped at the end.

    As one process, the cheapest to start, where the module has no `PROCESS_MODEL`.
    """
    model = getattr(request.module, "PROCESS_MODEL", "")
    systems: list[PymtaSystem] = []

    def start(parameters: dict[str, str] | None = None, **more: object) -> PymtaSystem:
        folder = tmp_path / f"pymta{len(systems)}"
        given = {"process_model": model, **(parameters or {})} if model else parameters or {}
        system = PymtaSystem(folder, given, **more)  # type: ignore[arg-type]
        systems.append(system)
        system.prepare()
        system.start()
        return system

    yield start
    for system in systems:
        system.stop()
