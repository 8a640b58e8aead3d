"""Fixtures that several tiers share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.system import PymtaSystem


@pytest.fixture
def pymta_system(tmp_path: Path) -> Iterator[Callable[..., PymtaSystem]]:
    """Starts `pymta run` with main.cf parameters as given; every instance is stopped at the end."""
    systems: list[PymtaSystem] = []

    def start(parameters: dict[str, str] | None = None, **more: object) -> PymtaSystem:
        folder = tmp_path / f"pymta{len(systems)}"
        system = PymtaSystem(folder, parameters or {}, **more)  # type: ignore[arg-type]
        systems.append(system)
        system.prepare()
        system.start()
        return system

    yield start
    for system in systems:
        system.stop()
