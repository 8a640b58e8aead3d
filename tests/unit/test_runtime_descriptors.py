"""Limits on open files."""

import resource

import pytest

from pymta.runtime.descriptors import is_scarce, raise_limit


@pytest.mark.parametrize(
    ("soft", "hard", "raised"),
    [(1024, 4096, 4096), (1024, 1 << 20, 131072), (1 << 20, 1 << 20, 1 << 20), (256, -1, 131072), (-1, -1, -1)],
)
def test_the_soft_limit_rises_to_the_hard_one(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, raised: int
) -> None:
    said: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: said.append(limits))
    assert raise_limit() == raised
    assert said == ([] if raised == soft else [(raised, hard)])


@pytest.mark.parametrize(
    ("soft", "descriptor", "scarce"),
    [
        (1024, 767, False),
        (1024, 768, True),
        (64, 47, False),
        (64, 48, True),
        (-1, 1 << 20, False),
        (65536, 65279, False),
    ],
)
def test_the_last_descriptors_are_kept(
    monkeypatch: pytest.MonkeyPatch, soft: int, descriptor: int, scarce: bool
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (soft, soft))
    assert is_scarce(descriptor) is scarce
