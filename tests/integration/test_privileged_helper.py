"""The root helper for real: files and processes have the recipient's ids, and nobody is root."""

import asyncio
import os
import pwd
import signal
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pymta.config import Config, build
from pymta.delivery.local import LocalAgent
from pymta.delivery.local_settings import LocalSettings, LocalTables
from pymta.delivery.mailbox_helper import HelperActions
from pymta.delivery.mailbox_jobs import CommandJob, Identity, Locking, MaildirJob, MboxJob, ReadJob, Stored
from pymta.delivery.mailbox_threads import ThreadedActions
from pymta.delivery.mailbox_worker import JobServer, KeeperRules
from pymta.errors import ConfigError, DeliveryError, PymtaError
from pymta.model.address import Address
from pymta.model.delivery import DeliveryRequest, Outcome
from pymta.model.queue import QueuedRecipient
from pymta.runtime.privileged import PrivilegedHelper
from pymta.tables import Maps
from pymta.testing import ManualClock, RecordingLog
from tests.support.local_delivery import HERE, Bytes, Chunked, FakeAddresses, FakeIntake, FakeTable, FakeUsers, User

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become other users"),
]

NOBODY = pwd.getpwnam("nobody")
GAMES = pwd.getpwnam("games")
AS_GAMES = Identity(GAMES.pw_uid, GAMES.pw_gid)
AS_NOBODY = Identity(NOBODY.pw_uid, NOBODY.pw_gid)
CONTENT = Bytes(b"Subject: x\r\n\r\nFrom here\r\n")
QUICK = Locking(attempts=2, delay=0.01)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that other users can reach, with homes of their own."""
    root = Path(f"/tmp/pymta-test-{os.getpid()}-{time.monotonic_ns()}")
    root.mkdir(mode=0o755)
    for user in (NOBODY, GAMES):
        home = root / user.pw_name
        home.mkdir(mode=0o700)
        os.chown(home, user.pw_uid, user.pw_gid)
    spool = root / "mail"
    spool.mkdir(mode=0o755)
    yield root
    subprocess.run(["rm", "-rf", str(root)], check=True)


@pytest.fixture
async def actions(place: Path) -> AsyncIterator[HelperActions]:
    rules = KeeperRules(str(place / "mail"), str(place / "root"), f"{place}/root/Maildir/")
    helper = PrivilegedHelper.start(JobServer(rules), chroots=(str(place),))
    running = HelperActions(helper, per_user=4, idle_time=5.0)
    yield running
    running.close()
    await asyncio.sleep(0)
    helper.close()


def mbox(path: Path, **more: object) -> MboxJob:
    return MboxJob(str(path), b"From a  b\n", **{"locking": QUICK, **more})  # type: ignore[arg-type]


def command(*argv: str, **more: object) -> CommandJob:
    return CommandJob(argv, (("PATH", "/usr/bin:/bin"),), **{"header": b"", "time_limit": 20.0, **more})  # type: ignore[arg-type]


async def test_a_maildir_belongs_to_its_user(actions: HelperActions, place: Path) -> None:
    box = place / "games" / "Maildir"
    assert await actions.store(AS_GAMES, MaildirJob(f"{box}/", b"Return-Path: <>\n"), CONTENT) == Stored()
    [message] = (box / "new").iterdir()
    for path in (box, box / "tmp", box / "new", box / "cur", message):
        found = path.stat()
        assert (found.st_uid, found.st_gid) == (GAMES.pw_uid, GAMES.pw_gid)
    assert stat.S_IMODE((box / "new").stat().st_mode) == 0o700
    assert stat.S_IMODE(message.stat().st_mode) == 0o600
    assert message.read_bytes() == b"Return-Path: <>\nSubject: x\n\nFrom here\n"


async def test_another_users_home_is_closed(actions: HelperActions, place: Path) -> None:
    answer = await actions.store(AS_NOBODY, MaildirJob(f"{place}/games/Maildir/", b""), CONTENT)
    assert answer.status == "4.2.0"
    assert answer.reason.endswith("Permission denied")
    (place / "games" / ".forward").write_text("x")
    read = await actions.read(AS_NOBODY, ReadJob((f"{place}/games/.forward",)))
    assert (read.found, read.denied, read.error) == (False, True, "Permission denied")


async def test_a_command_has_its_users_ids_and_only_those(actions: HelperActions) -> None:
    ended = await actions.run(AS_GAMES, command("/bin/sh", "-c", "id -u; id -g; id -G; cat >/dev/null"), CONTENT)
    assert ended.output.split() == [str(GAMES.pw_uid), str(GAMES.pw_gid), str(GAMES.pw_gid)]
    assert (ended.code, ended.signal, ended.failure) == (0, 0, "")
    again = await actions.run(AS_GAMES, command("/bin/grep", "^Cap.*:.0000000000000000", "/proc/self/status"), CONTENT)
    assert again.output.count("CapEff") == 1


async def test_nobody_becomes_root(actions: HelperActions) -> None:
    for identity in (Identity(0, 0), Identity(0, 5), Identity(5, 0)):
        with pytest.raises(DeliveryError, match="refuses to act as uid"):
            await actions.run(identity, command("/bin/true"), CONTENT)
    with pytest.raises(DeliveryError, match="not a configured chroot"):
        await actions.run(replace(AS_GAMES, chroot="/etc"), command("/bin/true"), CONTENT)


async def test_a_keeper_runs_no_command_and_reads_nothing_else(actions: HelperActions, place: Path) -> None:
    keeper = Identity(0, 0, is_keeper=True)
    with pytest.raises(DeliveryError):
        await actions.run(keeper, command("/bin/true"), CONTENT)
    with pytest.raises(DeliveryError):
        await actions.read(keeper, ReadJob(("/etc/shadow",)))
    with pytest.raises(DeliveryError):
        await actions.store(keeper, mbox(place / "games" / "box", create_uid=0, create_gid=0), CONTENT)
    assert (await actions.read(keeper, ReadJob((f"{place}/root/.forward",)))).found is False


async def test_the_keeper_makes_a_mailbox_where_only_root_may(actions: HelperActions, place: Path) -> None:
    box = place / "mail" / "games"
    keeper = replace(AS_GAMES, is_keeper=True)
    job = mbox(box, owner_uid=GAMES.pw_uid, create_uid=GAMES.pw_uid, create_gid=GAMES.pw_gid)
    assert await actions.store(keeper, job, CONTENT) == Stored()
    assert await actions.store(keeper, job, CONTENT) == Stored()
    assert box.read_bytes() == b"From a  b\nSubject: x\n\n>From here\n\n" * 2
    assert (box.stat().st_uid, stat.S_IMODE(box.stat().st_mode)) == (GAMES.pw_uid, 0o600)
    assert os.listdir(place / "mail") == ["games"]
    answer = await actions.store(AS_GAMES, mbox(box), CONTENT)
    assert answer == Stored("4.2.0", f"unable to create lock file {box}.lock: Permission denied")


async def test_deliveries_to_one_mailbox_do_not_wait_for_each_others_locks(actions: HelperActions, place: Path) -> None:
    box = place / "games" / "box"
    jobs = [MboxJob(str(box), b"From a  %d\n" % number, locking=Locking(delay=60.0)) for number in range(100)]
    async with asyncio.timeout(10):
        assert await asyncio.gather(*[actions.store(AS_GAMES, job, CONTENT) for job in jobs]) == [Stored()] * 100
    assert [line for line in box.read_bytes().split(b"\n") if line.startswith(b"From ")] == [
        job.header.rstrip() for job in jobs
    ]
    keeper = replace(AS_GAMES, is_keeper=True)
    spool = mbox(place / "mail" / "games", create_uid=GAMES.pw_uid, create_gid=GAMES.pw_gid)
    assert await asyncio.gather(*[actions.store(keeper, spool, CONTENT) for _ in range(5)]) == [Stored()] * 5
    assert (place / "mail" / "games").read_bytes().count(b"\nSubject: x\n") == 5


async def test_a_large_message_is_streamed_and_comes_out_whole(actions: HelperActions, place: Path) -> None:
    pieces = [b"Subject: big\r\n\r\n", *[(b"x" * 62 + b"\r\n") * 1000] * 200]
    box = place / "games" / "box"
    assert await actions.store(AS_GAMES, mbox(box), Chunked(pieces)) == Stored()
    assert box.stat().st_size == sum(map(len, pieces)) - sum(piece.count(b"\r\n") for piece in pieces) + 11
    ended = await actions.run(AS_GAMES, command("/usr/bin/wc", "-l"), Chunked(pieces))
    assert ended.output.strip() == "200002"
    early = await actions.run(AS_GAMES, command("/bin/true"), Chunked(pieces))
    assert (early.code, early.output) == (0, "")
    full = await actions.store(AS_GAMES, mbox(box, size_limit=1000), Chunked(pieces))
    assert full.status == "5.2.2"
    assert await actions.store(AS_GAMES, mbox(box), CONTENT) == Stored()


async def test_content_that_breaks_off_leaves_nothing(actions: HelperActions, place: Path) -> None:
    class Broken(Chunked):
        async def chunks(self, limit: int = 65536) -> AsyncIterator[bytes]:
            yield b"Subject: x\r\n" * 10000
            raise OSError("the spool is gone")

    box = place / "games" / "box"
    assert await actions.store(AS_GAMES, mbox(box), CONTENT) == Stored()
    size = box.stat().st_size
    with pytest.raises(DeliveryError):
        await actions.store(AS_GAMES, mbox(box), Broken([]))
    assert await actions.store(AS_GAMES, mbox(box), CONTENT) == Stored()
    assert box.stat().st_size == 2 * size


async def test_a_time_limit_kills_the_whole_process_group(actions: HelperActions, place: Path) -> None:
    pid_file = place / "games" / "pid"
    job = command("/bin/sh", "-c", f"sleep 60 & echo $! >{pid_file}; echo started; wait", time_limit=0.5)
    ended = await actions.run(AS_GAMES, job, CONTENT)
    assert (ended.timed_out, ended.output) == (True, "started\n")
    await _gone(int(pid_file.read_text()))


async def test_a_command_ends_when_nobody_waits_for_it(actions: HelperActions, place: Path) -> None:
    pid_file = place / "games" / "pid"
    job = command("/bin/sh", "-c", f"cat >/dev/null; echo $$ >{pid_file}; sleep 60")
    task = asyncio.create_task(actions.run(AS_GAMES, job, CONTENT))
    while not (pid_file.exists() and pid_file.read_text()):
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _gone(int(pid_file.read_text()))


async def test_background_children_are_not_waited_for_and_output_is_bounded(actions: HelperActions) -> None:
    started = time.monotonic()
    job = command("/bin/sh", "-c", "sleep 3 & head -c 1000000 /dev/zero | tr '\\0' x; exit 75")
    ended = await actions.run(AS_GAMES, job, CONTENT)
    assert (ended.code, len(ended.output)) == (75, 4096)
    assert time.monotonic() - started < 2.5


async def test_a_command_that_cannot_start_says_why(actions: HelperActions) -> None:
    missing = await actions.run(AS_GAMES, command("/nonexistent/cmd"), CONTENT)
    assert missing.failure == "cannot run /nonexistent/cmd: No such file or directory"
    directory = await actions.run(AS_GAMES, command("/bin/true", directory="/root"), CONTENT)
    assert directory.failure == "cannot change directory to /root: Permission denied"


async def test_workers_are_bounded_and_end_with_the_helper(place: Path) -> None:
    helper = PrivilegedHelper.start(JobServer())
    actions = HelperActions(helper, limit=3, per_user=2)
    job = command("/bin/sh", "-c", "cat >/dev/null; echo $PPID; sleep 0.1")
    ends = await asyncio.gather(
        *[actions.run(who, job, CONTENT) for who in (AS_GAMES, AS_NOBODY, Identity(12345, 12345)) for _ in range(4)]
    )
    workers = {end.output.strip() for end in ends}
    assert 3 <= len(workers) <= 6
    actions.close()
    await asyncio.sleep(0)
    helper.close()
    for pid in workers:
        await _gone(int(pid))


async def test_a_worker_that_was_killed_while_it_had_nothing_to_do_is_replaced(
    actions: HelperActions, place: Path
) -> None:
    job = command("/bin/sh", "-c", "echo $PPID")
    pid = int((await actions.run(AS_GAMES, job, CONTENT)).output)
    os.kill(pid, signal.SIGKILL)
    await _gone(pid)
    await asyncio.sleep(0.05)
    assert int((await actions.run(AS_GAMES, job, CONTENT)).output) != pid


async def test_a_worker_that_is_killed_at_work_is_a_failure_for_each_message_of_its_group(
    actions: HelperActions, place: Path
) -> None:
    pid = int((await actions.run(AS_GAMES, command("/bin/sh", "-c", "echo $PPID"), CONTENT)).output)
    os.kill(pid, signal.SIGSTOP)
    box = MaildirJob(f"{place}/games/Maildir/", b"")
    tasks = [asyncio.create_task(actions.store(AS_GAMES, box, CONTENT)) for _ in range(3)]
    await asyncio.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [DeliveryError] * 3
    assert await actions.store(AS_GAMES, box, CONTENT) == Stored()


async def test_a_dead_helper_is_a_failure_with_a_name() -> None:
    helper = PrivilegedHelper.start(JobServer())
    os.kill(helper.pid, signal.SIGKILL)
    with pytest.raises(PymtaError, match="the privileged helper"):
        helper.open_worker(65534, 65534)
    helper.close()


def test_the_helper_dies_with_its_parent() -> None:
    script = (
        "import os,signal,sys;"
        "from pymta.runtime.privileged import PrivilegedHelper;"
        "from pymta.delivery.mailbox_worker import JobServer;"
        "h = PrivilegedHelper.start(JobServer()); w = h.open_worker(65534, 65534);"
        "print(h.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, timeout=20)
    pid = int(done.stdout)
    for _ in range(100):
        if not _runs(pid):
            return
        time.sleep(0.05)
    raise AssertionError(f"helper {pid} still runs")


async def test_threads_refuse_to_work_for_root() -> None:
    with pytest.raises(ConfigError, match="privileged helper"):
        ThreadedActions()


async def test_a_local_agent_delivers_to_users_lists_and_roots_mailbox(actions: HelperActions, place: Path) -> None:
    games = User("games", GAMES.pw_uid, GAMES.pw_gid, str(place / "games"), "/bin/sh")
    root = User("root", 0, 0, str(place / "root"))
    forward = place / "games" / ".forward"
    forward.write_text('\\games, "|id -un >$HOME/who; cat >>$HOME/piped"\n')
    os.chown(forward, GAMES.pw_uid, GAMES.pw_gid)
    settings = Config.from_values({"myhostname": HERE, "mail_spool_directory": str(place / "mail")})
    intake = FakeIntake()
    agent = LocalAgent(
        build(LocalSettings, settings),
        LocalTables(Maps([FakeTable({"all": "games, root, out@outside.example"})])),
        FakeAddresses(),
        intake,
        actions,
        ManualClock(),
        RecordingLog(),
        users=FakeUsers(games, root),
    )
    rcpt = QueuedRecipient(0, Address("all", "example.com"), Address("all", "example.com"))
    request = DeliveryRequest("4ABC", "local", HERE, Address("s", "x.example"), (rcpt,), 10, 0.0)
    [result] = await agent.deliver(request, CONTENT)
    assert (result.outcome, [part.reason for part in result.parts]) == (
        Outcome.SENT,
        [
            "delivered to mailbox",
            "delivered to command: id -un >$HOME/who; cat >>$HOME/piped",
            "delivered to mailbox",
            "forwarded as NEW1",
        ],
    )
    for name, uid in (("games", GAMES.pw_uid), ("root", 0)):
        box = place / "mail" / name
        assert (box.stat().st_uid, box.read_bytes().count(b"\n>From here\n")) == (uid, 1)
    assert (place / "games" / "who").read_text() == "games\n"
    assert b"Delivered-To: all@example.com\n" in (place / "games" / "piped").read_bytes()


async def test_a_forward_file_counts_from_the_next_message_on(actions: HelperActions, place: Path) -> None:
    home = place / "games"
    settings = Config.from_values({"myhostname": HERE, "home_mailbox": "Maildir/"})
    intake = FakeIntake()
    agent = LocalAgent(
        build(LocalSettings, settings),
        LocalTables(Maps([])),
        FakeAddresses(),
        intake,
        actions,
        ManualClock(),
        RecordingLog(),
        users=FakeUsers(User("games", GAMES.pw_uid, GAMES.pw_gid, str(home), "/bin/sh")),
    )
    rcpt = QueuedRecipient(0, Address("games", "example.com"), Address("games", "example.com"))
    request = DeliveryRequest("4ABC", "local", HERE, Address("s", "x.example"), (rcpt,), 10, 0.0)
    reasons = []
    for text in (None, "out@outside.example\n", None):
        (home / ".forward").unlink(missing_ok=True)
        if text:
            (home / ".forward").write_text(text)
        [result] = await agent.deliver(request, CONTENT)
        reasons.append([result.reason, *(part.reason for part in result.parts)])
    assert reasons == [["delivered to maildir"], ["forwarded as NEW1"] * 2, ["delivered to maildir"]]
    assert len(os.listdir(home / "Maildir" / "new")) == 2


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def _gone(pid: int) -> None:
    for _ in range(100):
        if not _runs(pid):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"process {pid} still runs")


async def test_each_caller_gets_the_worker_he_asked_for(place: Path) -> None:
    """Also while others give up waiting for theirs."""
    helper = PrivilegedHelper.start(JobServer())
    actions = HelperActions(helper)

    async def uid(number: int) -> str:
        return (await actions.run(Identity(number, number), command("/usr/bin/id", "-u"), CONTENT)).output.strip()

    tasks = [asyncio.create_task(uid(20000 + number)) for number in range(30)]
    await asyncio.sleep(0.01)
    for task in tasks[::3]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    for number, answer in enumerate(answers):
        assert answer == str(20000 + number) or isinstance(answer, asyncio.CancelledError)
    actions.close()


async def test_a_worker_keeps_nothing_of_the_daemons(place: Path) -> None:
    """Neither open files nor groups."""
    secret = place / "secret"
    secret.write_text("x")
    groups = os.getgroups()
    with secret.open():
        os.setgroups([*groups, 4242])
        try:
            helper = PrivilegedHelper.start(JobServer())
        finally:
            os.setgroups(groups)
        actions = HelperActions(helper)
        ended = await actions.run(AS_GAMES, command("/bin/sh", "-c", "echo $PPID; id -G"), CONTENT)
        worker, *worker_groups = ended.output.split()
        files = {os.readlink(link) for link in Path(f"/proc/{worker}/fd").iterdir() if link.is_symlink()}
        actions.close()
    assert str(secret) not in files
    assert worker_groups == [str(GAMES.pw_gid)]
