"""Local submissions become messages: envelopes, recipients from headers, limits, refusals."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pymta.model.address import Address
from pymta.model.envelope import Client, Envelope, Notify, Origin, Trace
from pymta.model.reply import Reply
from pymta.pickup.drop import write_drop
from pymta.pickup.service import DropCollector, Pickup, header_recipients, parse_notify
from pymta.pickup.settings import PickupSettings
from pymta.pickup.submission import Submission
from pymta.tables import TableFactory
from pymta.testing import ManualClock, RecordingLog


class Draft:
    def __init__(self, door: "Door") -> None:
        self.door = door
        self.queue_id = "QID"
        self.data = b""

    def write(self, data: bytes, *, is_tidy: bool = False) -> None:
        self.data += data

    async def commit(self, effects: object = ()) -> Reply:
        if self.door.reply.is_positive:
            trace, _, text = self.data.partition(b"+0000 (UTC)\r\n")
            assert trace.startswith(b"Received: by mx (pymta, from userid "), trace
            self.door.messages.append(text)
        return self.door.reply

    async def abort(self) -> None:
        self.door.aborted += 1


class Door:
    """An Intake that keeps what comes."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.messages: list[bytes] = []
        self.aborted = 0
        self.reply = Reply.of(250, "Ok: queued as QID", "2.0.0")

    def new_queue_id(self) -> str:
        return "QID"

    async def begin(self, envelope: Envelope, client: Client, origin: Origin, queue_id: str | None = None) -> Draft:
        assert origin is Origin.SENDMAIL
        self.envelopes.append(envelope)
        return Draft(self)


class Rewriter:
    def rewrite(self, address: Address) -> Address:
        return address if address.domain or address.is_null else address.with_domain("example.com")

    async def resolve(self, recipient: Address, sender: Address) -> None:
        raise AssertionError

    def known(self, recipient: Address) -> None:
        raise AssertionError


async def _text(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def _pickup(door: Door, log: RecordingLog, tmp_path: Path, users: str = "static:anyone", limit: int = 1000) -> Pickup:
    settings = PickupSettings(
        authorized_submit_users=users, message_size_limit=limit, myhostname="mx", mail_name="pymta"
    )
    return Pickup(settings, door, Rewriter(), TableFactory(tmp_path), ManualClock(), log)


async def test_a_message_gets_its_envelope_and_its_log_line(tmp_path: Path) -> None:
    door, log = Door(), RecordingLog()
    submission = Submission(
        sender="me", recipients=("a@b.example", "c, d"), notify="success,delay", ret="hdrs", envid="x"
    )
    reply = await _pickup(door, log, tmp_path).submit(submission, 0, _text(b"Subject: x\n\nbo", b"dy\n"))
    assert reply.code == 250
    (envelope,) = door.envelopes
    assert str(envelope.sender) == "me@example.com"
    assert [str(one.address) for one in envelope.recipients] == ["a@b.example", "c@example.com", "d@example.com"]
    assert envelope.recipients[0].notify == Notify.SUCCESS | Notify.DELAY
    assert (envelope.ret and envelope.ret.value, envelope.envid) == ("HDRS", "x")
    assert door.messages == [b"Subject: x\r\n\r\nbody\r\n"]
    assert "QID: uid=0 from=<me@example.com>" in log.lines


async def test_without_a_sender_it_is_the_login_name(tmp_path: Path) -> None:
    door = Door()
    await _pickup(door, RecordingLog(), tmp_path).submit(Submission(recipients=("a",)), 0, _text())
    assert str(door.envelopes[0].sender) == "root@example.com"


@pytest.mark.parametrize("sender", ["<>", ""])
async def test_the_null_sender(tmp_path: Path, sender: str) -> None:
    door = Door()
    await _pickup(door, RecordingLog(), tmp_path).submit(Submission(sender=sender, recipients=("a",)), 0, _text())
    assert door.envelopes[0].sender.is_null


async def test_recipients_from_the_header_are_added(tmp_path: Path) -> None:
    door = Door()
    text = b"To: One <one@x>,\n two@x\nCC: three@x\nBcc: four@x\nSubject: to: five@x\n\nTo: six@x\n"
    await _pickup(door, RecordingLog(), tmp_path).submit(
        Submission(recipients=("zero@x",), extract=True), 0, _text(text)
    )
    assert [one.address.local_part for one in door.envelopes[0].recipients] == ["zero", "one", "two", "three", "four"]
    assert door.messages == [text.replace(b"\n", b"\r\n")]


def test_resent_fields_stand_for_the_others() -> None:
    assert [str(one) for one in header_recipients(b"To: a@x\r\nResent-To: b@x\r\n")] == ["b@x"]


async def test_no_recipients_at_all_is_an_error(tmp_path: Path) -> None:
    reply = await _pickup(Door(), RecordingLog(), tmp_path).submit(Submission(extract=True), 0, _text(b"\n"))
    assert (reply.code, reply.status) == (554, "5.1.3")


async def test_a_user_who_may_not_submit_is_refused(tmp_path: Path) -> None:
    pickup = _pickup(Door(), RecordingLog(), tmp_path, users="!nobody, static:anyone")
    reply = await pickup.submit(Submission(recipients=("a",)), 65534, _text(b"x"))
    assert reply.code == 550
    assert "nobody(65534)" in reply.text


async def test_too_large_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    door = Door()
    reply = await _pickup(door, RecordingLog(), tmp_path, limit=10).submit(
        Submission(recipients=("a",)), 0, _text(b"x" * 20)
    )
    assert (reply.code, door.messages, door.aborted) == (552, [], 1)


@pytest.mark.parametrize("text", ["what", "never,success"])
def test_bad_notify_words(text: str) -> None:
    with pytest.raises(ValueError, match=text.partition(",")[0]):
        parse_notify(text)


async def test_dropped_mail_is_collected_with_its_owner(tmp_path: Path) -> None:
    door, log, directory = Door(), RecordingLog(), tmp_path / "maildrop"
    directory.mkdir()
    write_drop(directory, {"recipients": ["a"]}, [b"Subject: y\n\n"])
    collector = DropCollector(directory, _pickup(door, log, tmp_path), log)
    await collector.collect()
    assert door.messages == [b"Subject: y\r\n\r\n"]
    assert list(directory.iterdir()) == []


async def test_what_cannot_be_queued_now_stays(tmp_path: Path) -> None:
    door, log, directory = Door(), RecordingLog(), tmp_path / "maildrop"
    directory.mkdir()
    door.reply = Reply.of(451, "Error: queue file write error", "4.3.0")
    path = write_drop(directory, {"recipients": ["a"]}, [b"x"])
    await DropCollector(directory, _pickup(door, log, tmp_path), log).collect()
    assert path.exists()
    assert any("will try again" in line for line in log.lines)


async def test_what_can_never_be_queued_is_set_aside_and_named(tmp_path: Path) -> None:
    log, directory = RecordingLog(), tmp_path / "maildrop"
    directory.mkdir()
    broken = directory / "broken"
    broken.write_bytes(b"no envelope\n")
    broken.chmod(0o744)
    collector = DropCollector(directory, _pickup(Door(), log, tmp_path), log)
    await collector.collect()
    assert [path.name for path in directory.iterdir()] == ["broken.rejected"]
    assert any("maildrop/broken: uid=" in line and "set aside" in line for line in log.lines)
    log.records.clear()
    await collector.collect()
    assert log.lines == []


@pytest.mark.parametrize("trace", [Trace.NONE, Trace.REPORT, Trace.VERIFY])
async def test_the_report_that_sendmail_asks_for(tmp_path: Path, trace: Trace) -> None:
    door = Door()
    record = Submission(recipients=("a@b.example",), trace=trace.value).to_record()
    await _pickup(door, RecordingLog(), tmp_path).submit(Submission.from_record(record), 0, _text(b"x\n"))
    assert door.envelopes[0].trace is trace


async def test_an_unknown_report_is_refused(tmp_path: Path) -> None:
    submission = Submission(recipients=("a@b.example",), trace="everything")
    with pytest.raises(ValueError, match="everything"):
        await _pickup(Door(), RecordingLog(), tmp_path).submit(submission, 0, _text(b"x\n"))
