"""mbox and maildir on a real disk: format, locks, limits, and the old state after any failure."""

import errno
import fcntl
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pymta.delivery import mbox as mbox_module
from pymta.delivery.mailbox_copy import ContentError
from pymta.delivery.mailbox_errors import mailbox_status
from pymta.delivery.mailbox_jobs import NOT_STORED, Locking, MaildirJob, MboxJob, ReadJob, Stored
from pymta.delivery.mailbox_read import read_file
from pymta.delivery.maildir import deliver_maildir, deliver_maildirs
from pymta.delivery.mbox import append_mbox, append_mboxes

CONTENT = b"Subject: x\r\n\r\nFrom here on\r\nthe end\r\n"
HEADER = b"From a@b  Wed Apr 22 16:13:33 2015\nReturn-Path: <a@b>\n"
WRITTEN = HEADER + b"Subject: x\n\n>From here on\nthe end\n\n"
QUICK = Locking(attempts=2, delay=0.01)


def job(path: Path, **more: object) -> MboxJob:
    return MboxJob(str(path), HEADER, **{"locking": QUICK, **more})  # type: ignore[arg-type]


def test_messages_follow_each_other_with_an_empty_line_between(tmp_path: Path) -> None:
    path = tmp_path / "box"
    assert append_mbox(job(path), [CONTENT]) == Stored()
    assert append_mbox(job(path), [CONTENT[:9], CONTENT[9:]]) == Stored()
    assert path.read_bytes() == WRITTEN * 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["box"]


def test_a_message_without_a_last_line_end_gets_one(tmp_path: Path) -> None:
    append_mbox(job(tmp_path / "box"), [b"A: b\r\n\r\nlast"])
    assert (tmp_path / "box").read_bytes().endswith(b"\nlast\n\n")


def test_a_foreign_dot_lock_defers_and_is_left_alone(tmp_path: Path) -> None:
    lock = tmp_path / "box.lock"
    lock.touch()
    answer = append_mbox(job(tmp_path / "box"), [CONTENT])
    assert answer == Stored("4.2.0", f"unable to create lock file {lock}: File exists")
    assert lock.exists() and not (tmp_path / "box").exists()


def test_a_stale_dot_lock_is_taken_over(tmp_path: Path) -> None:
    lock = tmp_path / "box.lock"
    lock.touch()
    os.utime(lock, (time.time() - 501,) * 2)
    assert append_mbox(job(tmp_path / "box"), [CONTENT]) == Stored()
    assert not lock.exists()


def test_dotlock_alone_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "box.lock").touch()
    without = Locking(dotlock=False, attempts=1)
    assert append_mbox(job(tmp_path / "box", locking=without), [CONTENT]) == Stored()


@pytest.mark.parametrize(
    ("kind", "locking"), [("lockf", Locking(attempts=2, delay=0.01)), ("flock", Locking(True, False, True, 2, 0.01))]
)
def test_a_locked_mailbox_defers(tmp_path: Path, kind: str, locking: Locking) -> None:
    path = tmp_path / "box"
    path.write_bytes(b"old")
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import fcntl,sys; f=open({str(path)!r},'r+'); fcntl.{kind}(f, fcntl.LOCK_EX);"
            "print(1, flush=True); sys.stdin.read()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout and holder.stdin and holder.stdout.readline()
    answer = append_mbox(job(path, locking=locking), [CONTENT])
    holder.stdin.close()
    holder.wait()
    holder.stdout.close()
    assert answer == Stored("4.2.0", "unable to lock for exclusive access: Resource temporarily unavailable")
    assert path.read_bytes() == b"old"


def test_a_mailbox_that_is_full_bounces_and_keeps_its_length(tmp_path: Path) -> None:
    path = tmp_path / "box"
    assert append_mbox(job(path, size_limit=len(WRITTEN)), [CONTENT]) == Stored()
    assert append_mbox(job(path, size_limit=2 * len(WRITTEN) - 1), [CONTENT]) == Stored(
        "5.2.2", "error writing message: File too large"
    )
    assert path.read_bytes() == WRITTEN


def test_a_failing_write_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "box"
    append_mbox(job(path), [CONTENT])
    real = mbox_module.write_all
    calls = iter(range(99))

    def full(descriptor: int, data: bytes) -> None:
        real(descriptor, data[: len(data) // 2])
        if next(calls):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor, data[len(data) // 2 :])

    monkeypatch.setattr(mbox_module, "write_all", full)
    answer = append_mbox(job(path), [CONTENT, CONTENT])
    assert answer == Stored("4.3.0", "error writing message: No space left on device")
    assert path.read_bytes() == WRITTEN


def test_messages_for_one_mailbox_share_its_lock_and_a_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    for name in ("fsync", "unlink"):
        monkeypatch.setattr(os, name, _noted(events, name, getattr(os, name)))
    path = tmp_path / "box"
    path.write_bytes(b"old\n\n")
    headers = [b"From a@b  1\n", b"From a@b  2\n"]
    assert append_mboxes(job(path), headers, [[CONTENT]] * 2) == [Stored()] * 2
    assert events == ["fsync", "unlink"]
    body = WRITTEN.partition(b"Return-Path: <a@b>\n")[2]
    assert path.read_bytes() == b"old\n\n" + headers[0] + body + headers[1] + body


def _noted(events: list[str], name: str, real: Callable[..., None]) -> Callable[..., None]:
    def call(*arguments: object) -> None:
        events.append(name)
        real(*arguments)

    return call


def test_a_message_that_does_not_fit_leaves_room_for_the_next(tmp_path: Path) -> None:
    path = tmp_path / "box"
    contents = [[CONTENT], [b"A: b\r\n\r\n" + b"x\r\n" * 500], [CONTENT]]
    answers = append_mboxes(job(path, size_limit=2 * len(WRITTEN)), [HEADER] * 3, contents)
    assert [answer.status for answer in answers] == ["2.0.0", "5.2.2", "2.0.0"]
    assert path.read_bytes() == WRITTEN * 2


def test_where_a_mailbox_cannot_be_synced_or_locked_none_of_a_group_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "box"
    append_mbox(job(path), [CONTENT])
    (tmp_path / "box.lock").touch()
    answers = append_mboxes(job(path), [HEADER] * 2, [[CONTENT]] * 2)
    assert [answer.status for answer in answers] == ["4.2.0"] * 2
    (tmp_path / "box.lock").unlink()

    def no_sync(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", no_sync)
    limit = len(WRITTEN) * 2
    answers = append_mboxes(job(path, size_limit=limit), [HEADER] * 2, [[CONTENT]] * 2)
    assert [answer.status for answer in answers] == ["4.3.0", "5.2.2"]
    assert path.read_bytes() == WRITTEN


def test_a_device_takes_several_messages(tmp_path: Path) -> None:
    device = job(Path("/dev/null"), allow_special=True, locking=Locking(dotlock=False))
    assert append_mboxes(device, [HEADER] * 2, [[CONTENT]] * 2) == [Stored()] * 2


def test_content_that_breaks_off_is_undone(tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield CONTENT
        raise ConnectionError("gone")

    path = tmp_path / "box"
    append_mbox(job(path), [CONTENT])
    with pytest.raises(ContentError):
        append_mbox(job(path), broken())
    assert path.read_bytes() == WRITTEN
    assert os.listdir(tmp_path) == ["box"]
    with pytest.raises(ContentError):
        deliver_maildir(MaildirJob(str(tmp_path / "M"), b""), broken())
    assert [os.listdir(tmp_path / "M" / part) for part in ("tmp", "new")] == [[], []]


def test_a_failing_sync_is_no_delivery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_sync(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", no_sync)
    path = tmp_path / "box"
    assert append_mbox(job(path), [CONTENT]).reason == "error writing message: Input/output error"
    assert path.read_bytes() == b""
    assert deliver_maildir(MaildirJob(str(tmp_path / "M"), b""), [CONTENT]).status == "4.3.0"
    assert os.listdir(tmp_path / "M/new") == []


def test_links_and_things_that_are_no_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    os.link(tmp_path / "target", tmp_path / "hard")
    (tmp_path / "directory").mkdir()
    (tmp_path / "nowhere").symlink_to(tmp_path / "nothing")
    os.chmod(tmp_path, 0o777)
    assert "symbolic link" in append_mbox(job(tmp_path / "link"), [CONTENT]).reason
    assert "symbolic link" in append_mbox(job(tmp_path / "nowhere"), [CONTENT]).reason
    assert "2 hard links" in append_mbox(job(tmp_path / "hard"), [CONTENT]).reason
    assert append_mbox(job(tmp_path / "directory"), [CONTENT]) == Stored(
        "5.2.0", f"destination {tmp_path}/directory is not a regular file"
    )
    assert (tmp_path / "target").read_bytes() == b""


def test_the_owner_and_the_executable_bit_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "box"
    path.touch()
    other = os.geteuid() + 1
    assert append_mbox(job(path, owner_uid=other), [CONTENT]) == Stored(
        "4.2.0", f"destination {path} is not owned by recipient"
    )
    path.chmod(0o755)
    assert append_mbox(job(path, refuse_executable=True), [CONTENT]) == Stored("5.7.1", "file is executable")


def test_dev_null_is_a_file_name_of_an_alias(tmp_path: Path) -> None:
    locking = Locking(dotlock_may_fail=True, dotlock=False)
    assert append_mbox(MboxJob("/dev/null", HEADER, allow_special=True, locking=locking), [CONTENT]) == Stored()
    assert append_mbox(MboxJob("/dev/null", HEADER, locking=locking), [CONTENT]).status == "5.2.0"


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "box"
    patient = Locking(attempts=2000, delay=0.002)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: append_mbox(job(path, locking=patient), [CONTENT]), range(40)))
    assert set(answers) == {Stored()}
    assert path.read_bytes() == WRITTEN * 40


def test_a_maildir_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    box = tmp_path / "deep" / "Maildir"
    assert deliver_maildir(MaildirJob(f"{box}/", b"Return-Path: <>\n"), [CONTENT]) == Stored()
    [message] = (box / "new").iterdir()
    assert message.read_bytes() == b"Return-Path: <>\nSubject: x\n\nFrom here on\nthe end\n"
    assert stat.S_IMODE(message.stat().st_mode) == 0o600
    assert {part.name: stat.S_IMODE(part.stat().st_mode) for part in box.iterdir()} == dict.fromkeys(
        ("tmp", "new", "cur"), 0o700
    )
    assert stat.S_IMODE(box.stat().st_mode) == 0o700
    assert list((box / "tmp").iterdir()) == []
    assert f"I{message.stat().st_ino:x}M" in message.name and ":" not in message.name


def test_maildir_names_never_meet(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: deliver_maildir(MaildirJob(str(tmp_path / "M"), b""), [CONTENT]), range(200)))
    assert set(answers) == {Stored()}
    assert len(os.listdir(tmp_path / "M/new")) == 200
    assert os.listdir(tmp_path / "M/tmp") == []


def test_a_maildir_without_new_gets_it_again(tmp_path: Path) -> None:
    (tmp_path / "M/tmp").mkdir(parents=True)
    assert deliver_maildir(MaildirJob(str(tmp_path / "M"), b""), [CONTENT]) == Stored()
    assert len(os.listdir(tmp_path / "M/new")) == 1


def test_a_maildir_that_cannot_be_is_a_reason_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "M").touch()
    answer = deliver_maildir(MaildirJob(f"{tmp_path}/M/", b""), [CONTENT])
    assert answer.status == "4.2.0"
    assert answer.reason.startswith(f"maildir delivery failed: create maildir file {tmp_path}/M/tmp/")
    assert answer.reason.endswith("Not a directory")


def test_a_maildir_message_over_the_limit_bounces(tmp_path: Path) -> None:
    answer = deliver_maildir(MaildirJob(str(tmp_path / "M"), b"", size_limit=10), [CONTENT])
    assert answer == Stored("5.2.2", "maildir delivery failed: error writing message: File too large")
    assert os.listdir(tmp_path / "M/new") == os.listdir(tmp_path / "M/tmp") == []


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (errno.EDQUOT, "5.2.2"),
        (errno.EFBIG, "5.2.2"),
        (errno.ENOSPC, "4.3.0"),
        (errno.EACCES, "4.2.0"),
        (errno.EROFS, "4.2.0"),
    ],
)
def test_system_errors_have_a_status(code: int, status: str) -> None:
    assert mailbox_status(OSError(code, "")) == status


def test_reading_takes_the_first_file_there_is(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("bob\n")
    found = read_file(ReadJob((f"{tmp_path}/a", f"{tmp_path}/b")))
    assert (found.path, found.text, found.uid) == (f"{tmp_path}/b", "bob\n", os.geteuid())
    assert not read_file(ReadJob((f"{tmp_path}/a",))).found
    assert read_file(ReadJob((str(tmp_path),))).error == "not a regular file"
    assert read_file(ReadJob((f"{tmp_path}/b",), size_limit=3)).error == "larger than 3 bytes"
    (tmp_path / "link").symlink_to(tmp_path / "b")
    assert read_file(ReadJob((f"{tmp_path}/link",))).error == "not a regular file"
    assert read_file(ReadJob((f"{tmp_path}/link",), follow_links=True)).text == "bob\n"


def test_fcntl_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "box"
    append_mbox(job(path), [CONTENT])
    with path.open("r+") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_maildir_delivery_syncs_the_file_and_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    real = os.fsync

    def note(descriptor: int) -> None:
        synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    assert deliver_maildir(MaildirJob(str(tmp_path / "M"), b""), [CONTENT]) == Stored()
    assert synced == [False, True]


def test_messages_for_one_maildir_share_the_sync_of_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    real_sync, real_rename = os.fsync, os.rename

    def sync(descriptor: int) -> None:
        events.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        real_sync(descriptor)

    def rename(source: str, target: str) -> None:
        events.append("rename")
        real_rename(source, target)

    monkeypatch.setattr(os, "posix_fadvise", lambda *arguments: events.append("begin"))
    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "rename", rename)
    jobs = [MaildirJob(str(tmp_path / "M"), b"%d\n" % number) for number in range(3)]
    assert deliver_maildirs(jobs, [[CONTENT]] * 3) == [Stored()] * 3
    # All are on their way to the disk before the first is waited for.
    assert events == ["begin"] * 3 + ["file"] * 3 + ["rename"] * 3 + ["directory"]
    assert sorted(path.read_bytes()[:1] for path in (tmp_path / "M/new").iterdir()) == [b"0", b"1", b"2"]
    assert os.listdir(tmp_path / "M/tmp") == []


def test_what_fails_for_one_message_is_no_matter_to_the_others(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    jobs = [
        MaildirJob(str(tmp_path / "A"), b""),
        MaildirJob(str(tmp_path / "file"), b""),
        MaildirJob(str(tmp_path / "A"), b"", size_limit=3),
        MaildirJob(str(tmp_path / "B"), b""),
    ]
    answers = deliver_maildirs(jobs, iter([[CONTENT]] * 4))
    assert [answer.status for answer in answers] == ["2.0.0", "4.2.0", "5.2.2", "2.0.0"]
    assert [len(os.listdir(tmp_path / name)) for name in ("A/new", "A/tmp", "B/new", "B/tmp")] == [1, 0, 1, 0]


def test_a_message_is_not_stored_where_another_file_comes_first(tmp_path: Path) -> None:
    forward = tmp_path / ".forward"
    jobs = [
        MaildirJob(str(tmp_path / "A"), b"", unless=(f"{forward}+x", str(forward))),
        MaildirJob(str(tmp_path / "A"), b""),
    ]
    assert deliver_maildirs(jobs, [[CONTENT]] * 2) == [Stored()] * 2
    forward.symlink_to("nowhere")
    assert deliver_maildirs(jobs, [[CONTENT]] * 2) == [NOT_STORED, Stored()]
    assert [len(os.listdir(tmp_path / "A" / part)) for part in ("new", "tmp")] == [3, 0]


def test_a_directory_that_cannot_be_synced_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def sync(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}") == str(tmp_path / "A/new"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    jobs = [MaildirJob(str(tmp_path / name), b"") for name in ("A", "B", "A")]
    assert [answer.status for answer in deliver_maildirs(jobs, [[CONTENT]] * 3)] == ["4.3.0", "2.0.0", "4.3.0"]
    assert [len(os.listdir(tmp_path / name)) for name in ("A/new", "B/new")] == [0, 1]


def test_one_content_that_breaks_off_undoes_the_group(tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield CONTENT
        raise ConnectionError("gone")

    with pytest.raises(ContentError):
        deliver_maildirs([MaildirJob(str(tmp_path / "M"), b"")] * 2, [[CONTENT], broken()])
    assert [os.listdir(tmp_path / "M" / part) for part in ("tmp", "new")] == [[], []]
