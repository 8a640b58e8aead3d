"""The maildrop directory: nobody reads, replaces or floods what others dropped; files are untrusted."""

import json
import os
import stat
from pathlib import Path

import pytest

from pymta.pickup.drop import DIRECTORY_MODE, Dropped, DropRejected, read_drop, scan, write_drop
from pymta.pickup.submission import Submission


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "maildrop"
    path.mkdir()
    path.chmod(DIRECTORY_MODE)
    return path


def test_what_is_dropped_is_found_whole(directory: Path) -> None:
    submission = Submission(sender="me@example.com", recipients=("a@example.com", "b"), notify="never", ret="hdrs")
    write_drop(directory, submission.to_record(), [b"Subject: x\n", b"\nbody\n"])
    (dropped,), strange = scan(directory, 10)
    found, chunks = read_drop(dropped, 1000)
    assert (found, b"".join(chunks), dropped.uid, strange) == (submission, b"Subject: x\n\nbody\n", os.getuid(), [])


def test_the_directory_cannot_be_listed_by_others() -> None:
    assert DIRECTORY_MODE & stat.S_ISVTX
    assert not DIRECTORY_MODE & (stat.S_IRGRP | stat.S_IROTH)


def test_names_cannot_be_guessed(directory: Path) -> None:
    names = {write_drop(directory, {}, []).name for _ in range(5)}
    assert all(len(name) == 32 for name in names)
    assert len(names) == 5


def test_a_message_that_is_being_written_is_left_alone(directory: Path) -> None:
    (directory / "half").write_bytes(b"{}\n")
    assert scan(directory, 10) == ([], [])


def test_nothing_stays_when_writing_fails(directory: Path) -> None:
    def broken() -> object:
        yield b"some"
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_drop(directory, {}, broken())  # type: ignore[arg-type]
    assert list(directory.iterdir()) == []


def test_links_and_pipes_are_named_and_never_opened(directory: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"{}\nsecret")
    secret.chmod(0o744)
    (directory / "symbolic").symlink_to(secret)
    (directory / "hard").hardlink_to(secret)
    os.mkfifo(directory / "pipe")
    found, strange = scan(directory, 10)
    assert found == []
    assert sorted(path.name for path in strange) == ["hard", "pipe", "symbolic"]


def test_a_file_swapped_for_a_link_after_the_scan_is_not_followed(directory: Path, tmp_path: Path) -> None:
    path = write_drop(directory, {}, [b"x"])
    (dropped,), _ = scan(directory, 10)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        read_drop(dropped, 1000)


@pytest.mark.parametrize(
    "envelope",
    [
        b"",
        b"not json\n",
        b"[]\n",
        b"[" * 100_000 + b"\n",
        b'{"recipients": 5}\n',
        b'{"recipients": [5]}\n',
        b'{"sender": "a\\nb"}\n',
        json.dumps({"sender": "x" * 5000}).encode() + b"\n",
        json.dumps({"recipients": ["x"] * 50_001}).encode() + b"\n",
    ],
)
def test_a_broken_envelope_is_refused(directory: Path, envelope: bytes) -> None:
    path = directory / "bad"
    path.write_bytes(envelope)
    path.chmod(0o744)
    (dropped,), _ = scan(directory, 10)
    with pytest.raises(DropRejected):
        read_drop(dropped, 1000)


def test_an_oversized_file_is_refused_unread(directory: Path) -> None:
    path = directory / "big"
    with path.open("wb") as file:
        file.truncate(100 << 20)
    path.chmod(0o744)
    (dropped,), _ = scan(directory, 10)
    with pytest.raises(DropRejected, match="over the limit"):
        read_drop(dropped, 1 << 20)


def test_users_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    from pymta.pickup.drop import _take_turns

    flood = [Dropped(Path(f"flood{n}"), 1000, 1, float(n)) for n in range(50)]
    single = [Dropped(Path("single"), 1001, 1, 99.0)]
    turns = _take_turns({1000: flood, 1001: single}, 10)
    assert [one.path.name for one in turns[:3]] == ["flood0", "single", "flood1"]
    assert len(turns) == 10
