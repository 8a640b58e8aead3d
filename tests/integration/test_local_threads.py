"""Delivery without root: in threads of this process, as the user it runs as."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from pymta.delivery.mailbox_copy import ContentError
from pymta.delivery.mailbox_jobs import CommandJob, Identity, MaildirJob, MboxJob, ReadJob, Stored
from pymta.delivery.mailbox_threads import ThreadedActions
from tests.support.local_delivery import Bytes, Chunked

ANYBODY = Identity(4711, 4711)
CONTENT = Bytes(b"Subject: x\r\n\r\nbody\r\n")


@pytest.fixture
def actions(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadedActions]:
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 4711)
        running = ThreadedActions(threads=4, commands=4)
    yield running
    running.close()


def command(script: str, **more: object) -> CommandJob:
    given = {"environment": (), "header": b"From x\n", "time_limit": 20.0, **more}
    return CommandJob(("/bin/sh", "-c", script), **given)  # type: ignore[arg-type]


async def test_mailboxes_are_our_own_whoever_they_are_for(actions: ThreadedActions, tmp_path: Path) -> None:
    job = MboxJob(str(tmp_path / "box"), b"From x\n", owner_uid=4712, create_uid=1, create_gid=1)
    assert await actions.store(ANYBODY, job, CONTENT) == Stored()
    assert await actions.store(ANYBODY, job, CONTENT) == Stored()
    assert (tmp_path / "box").stat().st_uid == os.geteuid()


async def test_many_at_once_hold_up_nobody(actions: ThreadedActions, tmp_path: Path) -> None:
    job = MaildirJob(f"{tmp_path}/M/", b"")
    answers = await asyncio.gather(*[actions.store(ANYBODY, job, CONTENT) for _ in range(100)])
    assert set(answers) == {Stored()}
    assert len(os.listdir(tmp_path / "M/new")) == 100


async def test_large_content_is_fetched_piece_by_piece(actions: ThreadedActions, tmp_path: Path) -> None:
    pieces = [b"Subject: x\r\n\r\n", *[b"y" * 998 + b"\r\n"] * 2000]
    assert await actions.store(ANYBODY, MaildirJob(f"{tmp_path}/M/", b""), Chunked(pieces)) == Stored()
    [message] = (tmp_path / "M/new").iterdir()
    assert message.stat().st_size == 12 + 2000 * 999
    ended = await actions.run(ANYBODY, command("wc -c"), Chunked(pieces))
    assert int(ended.output) == 7 + message.stat().st_size


async def test_content_that_cannot_be_read_leaves_nothing(actions: ThreadedActions, tmp_path: Path) -> None:
    class Broken(Chunked):
        async def chunks(self, limit: int = 65536) -> AsyncIterator[bytes]:
            yield b"Subject: x\r\n"
            raise OSError("gone")

    with pytest.raises(ContentError):
        await actions.store(ANYBODY, MaildirJob(f"{tmp_path}/M/", b""), Broken([]))
    assert os.listdir(tmp_path / "M/new") == os.listdir(tmp_path / "M/tmp") == []


async def test_commands_get_input_output_environment_and_limits(actions: ThreadedActions, tmp_path: Path) -> None:
    job = command("cat; echo $A; pwd; exit 3", directory=str(tmp_path), environment=(("A", "b"),))
    ended = await actions.run(ANYBODY, job, CONTENT)
    assert (ended.code, ended.output) == (3, f"From x\nSubject: x\n\nbody\nb\n{tmp_path}\n")
    killed = await actions.run(ANYBODY, command("kill -TERM $$"), CONTENT)
    assert (killed.code, killed.signal, killed.timed_out) == (0, 15, False)
    started = time.monotonic()
    slow = await actions.run(ANYBODY, command("sleep 30", time_limit=0.3), CONTENT)
    assert slow.timed_out and time.monotonic() - started < 5
    closed = await actions.run(ANYBODY, command("exec 0<&- >&- 2>&-; sleep 0.2; exit 7"), Chunked([b"x" * 1000] * 999))
    assert closed.code == 7
    limited = await actions.run(
        ANYBODY, command(f"sleep 0.3; head -c 9999 /dev/zero >{tmp_path}/big", file_size_limit=1000), CONTENT
    )
    assert (limited.code or limited.signal) and (tmp_path / "big").stat().st_size == 1000
    chroot = await actions.run(Identity(1, 1, "/x"), command("true"), CONTENT)
    assert chroot.failure == "cannot change root directory to /x: not running as root"


async def test_files_are_read(actions: ThreadedActions, tmp_path: Path) -> None:
    (tmp_path / ".forward").write_text("x\n")
    assert (await actions.read(ANYBODY, ReadJob((f"{tmp_path}/.forward",)))).text == "x\n"
