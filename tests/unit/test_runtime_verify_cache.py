"""Findings of probes in a file that several processes read and write."""

from pathlib import Path

import pytest

from pymta.runtime import verify_cache
from pymta.runtime.verify_cache import Finding, VerifyCache


def test_what_one_writes_the_other_reads(tmp_path: Path) -> None:
    one, other = VerifyCache(tmp_path / "cache"), VerifyCache(tmp_path / "cache")
    assert one.get("a@b") is None
    other.put("a@b", Finding("ok", 1.0, 2.0, "fine"))
    assert one.get("a@b") == Finding("ok", 1.0, 2.0, "fine")
    one.put("a@b", Finding("bounce", 3.0, 4.0, 'no "such" user \u00e9'))
    assert other.get("a@b") == Finding("bounce", 3.0, 4.0, 'no "such" user \u00e9')


def test_what_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    cache = VerifyCache(tmp_path / "cache")
    (tmp_path / "cache").write_bytes(b'garbage\n[1]\n\xff\n["a@b","ok",1,2,""]\n["half')
    assert cache.get("a@b") == Finding("ok", 1.0, 2.0, "")
    assert cache.get("half") is None


def test_another_file_is_read_from_its_start(tmp_path: Path) -> None:
    cache = VerifyCache(tmp_path / "cache")
    cache.put("a@b", Finding("ok"))
    assert cache.get("a@b")
    VerifyCache(tmp_path / "other").put("c@d", Finding("ok"))
    (tmp_path / "other").replace(tmp_path / "cache")
    assert cache.get("c@d") == Finding("ok")


def test_file_and_memory_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_cache, "ENTRY_LIMIT", 20)
    monkeypatch.setattr(verify_cache, "_SIZE_LIMIT", 2000)
    cache = VerifyCache(tmp_path / "cache")
    for number in range(500):
        cache.put(f"u{number}@example.com", Finding("ok", 0.0, 1.0, "x" * 5000))
    assert (tmp_path / "cache").stat().st_size < 2000 + 12 * 600
    assert cache.get("u499@example.com") is not None
    assert cache.get("u0@example.com") is None
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o600
