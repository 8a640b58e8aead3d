"""A disk that is full, read-only, damaged or shared: the whole program, every acknowledged message counted."""

import contextlib
import os
import re
import signal
import smtplib
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.load import Sink, message
from tests.support.peers import free_port
from tests.support.system import PymtaSystem, eventually, roles

Start = Callable[..., PymtaSystem]

LARGE = 200_000


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as server, server.running():
        yield server


class SmallDisk:
    """Runs pymta with its queue on a tmpfs of 4 MB, which only its own mount name space sees."""

    def __init__(self, folder: Path) -> None:
        self.system = PymtaSystem(folder)
        self.place = folder / "spool" / "pymta" / "queue"
        self.place.mkdir(parents=True)
        self.options = ""

    def start(self, **parameters: str) -> PymtaSystem:
        mount = f'mount -t tmpfs -o size=4m{self.options} tmpfs "{self.place}" && exec "$@"'
        self.system.wrapper = ("unshare", "--mount", "--propagation", "private", "sh", "-c", mount, "sh")
        self.system.parameters = {
            "minimal_backoff_time": "1s",
            # The postmaster would hear of each session that met the full disk, as soon as there is room.
            "notify_classes": "",
            "maximal_backoff_time": "1s",
            "transport_retry_time": "1s",
            **parameters,
        }
        self.system.prepare()
        self.system.start()
        return self.system

    def run_inside(self, *command: str) -> None:
        assert self.system.process is not None
        subprocess.run(["nsenter", "-t", str(self.system.process.pid), "-m", *command], check=True, timeout=10)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    can = os.geteuid() == 0 and subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0
    if not can:
        pytest.skip("a small disk of its own needs root and the right to make mount name spaces")
    disk = SmallDisk(tmp_path / "pymta")
    yield disk
    disk.system.stop(signal.SIGKILL)


def send_until_refused(system: PymtaSystem, label: str, sizes: Sequence[int]) -> tuple[list[str], list[bytes]]:
    """Send until there were three refusals; the marks that were acknowledged, and the refusals."""
    acknowledged: list[str] = []
    refusals: list[bytes] = []
    for number in range(500):
        mark = f"{label}-{number}"
        try:
            with system.smtp() as session:
                text = message(mark) + ("y" * 70 + "\r\n") * (sizes[number % len(sizes)] // 72)
                session.sendmail("s@a.example", ["far@sink.example"], text)
            acknowledged.append(mark)
        except (smtplib.SMTPResponseException, smtplib.SMTPSenderRefused) as error:
            assert 400 <= error.smtp_code < 500, error
            refusals.append(error.smtp_error)
            if len(refusals) == 3:
                break
    return acknowledged, refusals


def marks(sink: Sink) -> list[str]:
    return sorted(arrival.mark for arrival in sink.arrivals)


def deliver_to(system: PymtaSystem, sink: Sink) -> None:
    system.write_main({"relayhost": f"[127.0.0.1]:{sink.port}"})
    system.command("pymta", "reload")
    system.command("postqueue", "-f")


@pytest.mark.parametrize(
    ("model", "sizes"),
    [("single", [60_000]), ("single", [10, LARGE]), ("roles", [10, LARGE])],
    ids=["rows", "files", "files by roles"],
)
def test_a_full_disk_in_the_middle_of_a_commit(small_disk: SmallDisk, sink: Sink, model: str, sizes: list[int]) -> None:
    system = small_disk.start(process_model=model, message_size_limit="0", relayhost=f"[127.0.0.1]:{free_port()}")
    acknowledged, refusals = send_until_refused(system, "full", sizes)
    assert acknowledged and all(text.startswith(b"4.3") and b"disk" not in text for text in refusals), refusals
    eventually(lambda: re.search(r"queue file write error: .*(disk is full|No space left)", system.log))
    # Reading goes on; and when somebody makes room, everything does, without a restart.
    assert len(system.queue()) == len(acknowledged)
    small_disk.run_inside("mount", "-o", "remount,size=64m", str(small_disk.place))
    deliver_to(system, sink)
    eventually(lambda: not system.queue(), 30)
    assert marks(sink) == sorted(acknowledged)
    system.send("far@sink.example", message("after"))
    eventually(lambda: "after" in marks(sink))


def test_room_is_kept_for_recording_deliveries(small_disk: SmallDisk, sink: Sink) -> None:
    """With a size limit senders are refused before the disk is full, and the queue drains by its own means."""
    system = small_disk.start(message_size_limit="1500000", relayhost=f"[127.0.0.1]:{free_port()}")
    acknowledged, refusals = send_until_refused(system, "kept", [5000, LARGE])
    assert acknowledged and refusals == [b"4.3.1 Insufficient system storage"] * 3
    eventually(
        lambda: re.search(
            r"warning: not enough free space in mail queue: \d+ bytes < 1.5\*message size limit", system.log
        )
    )
    eventually(
        lambda: re.search(r"NOQUEUE: reject: MAIL from localhost\[127.0.0.1\]: 452 4.3.1 Insufficient", system.log)
    )
    deliver_to(system, sink)
    eventually(lambda: not system.queue(), 30)
    assert marks(sink) == sorted(acknowledged)
    assert "disk is full" not in system.log and "No space left" not in system.log


@pytest.mark.parametrize("model", ["single", "roles"])
def test_a_start_on_a_read_only_spool_names_it(small_disk: SmallDisk, model: str) -> None:
    small_disk.options = ",ro"
    with pytest.raises(AssertionError, match=r"pymta: fatal: .*/queue: cannot make the directory: Read-only file"):
        small_disk.start(process_model=model)


DAMAGES = {
    "row": ("UPDATE messages SET data = '{' WHERE queue_id = ?", "unreadable row"),
    "recipients": ("DELETE FROM recipients WHERE queue_id = ?", "no recipients"),
    "content": ("DELETE FROM content WHERE queue_id = ?", "content is missing"),
    "size": ("UPDATE content SET data = 'x' WHERE queue_id = ?", "content has 1 bytes instead of"),
}


@pytest.mark.parametrize("model", ["single", "roles"])
def test_damaged_messages_go_to_corrupt_and_all_others_flow(pymta_system: Start, sink: Sink, model: str) -> None:
    system = pymta_system({"process_model": model, "relayhost": f"[127.0.0.1]:{free_port()}"})
    ids = {name: system.send("far@sink.example", message(name)) for name in [*DAMAGES, "whole"]}
    large = {name: system.send("far@sink.example", message(name) + "z" * LARGE) for name in ("gone", "short", "big")}
    eventually(lambda: len([row for row in system.queue() if row["queue_name"] == "deferred"]) == 8)
    # All of them are in the database then.
    system.stop()
    spool = system.folder / "spool" / "pymta" / "queue"
    with contextlib.closing(sqlite3.connect(spool / "queue.db")) as database, database:
        for name, (statement, _) in DAMAGES.items():
            database.execute(statement, (ids[name],))
        database.execute("UPDATE messages SET next_attempt = 1")
    [gone], [short] = (list(spool.glob(f"content/*/{large[name]}")) for name in ("gone", "short"))
    gone.unlink()
    os.truncate(short, 10)
    foreign = [spool / "content" / "README", short.parent / "letter.txt", short.parent.parent / "00" / "deep" / "x"]
    for path in foreign:
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text("not ours")
    system.write_main({"relayhost": f"[127.0.0.1]:{sink.port}"})
    system.start()
    eventually(lambda: marks(sink) == ["big", "whole"])
    reasons = {ids[name]: reason for name, (_, reason) in DAMAGES.items()}
    reasons |= {large["gone"]: "content is missing", large["short"]: "content has 10 bytes instead of"}
    for queue_id, reason in reasons.items():
        pattern = rf"warning: corrupt queue entry {queue_id}: {reason}.*; moved to the corrupt queue"
        eventually(lambda pattern=pattern: re.search(pattern, system.log))
    assert {row["queue_id"]: row["queue_name"] for row in system.queue()} == dict.fromkeys(reasons, "corrupt")
    assert all(path.read_text() == "not ours" for path in foreign)
    system.command("postsuper", "-d", "ALL")
    assert system.queue() == []


@pytest.mark.parametrize("model", ["single", "roles"])
def test_a_second_instance_on_a_spool_names_the_first(pymta_system: Start, model: str) -> None:
    first = pymta_system({"process_model": model})
    assert first.process is not None
    second = PymtaSystem(first.folder.parent / "second", {"queue_directory": str(first.folder / "spool")})
    second.prepare()
    holder = roles(first).get("qmgr", first.process.pid)
    with pytest.raises(AssertionError, match=rf"pymta: fatal: .*/queue is in use by process {holder}\n"):
        second.start()
    assert first.send("root@example.com")
