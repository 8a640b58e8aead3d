"""The journal and the database as one store, against a dictionary: whatever moves, and wherever it is stopped."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pymta.errors import SpoolError
from pymta.model.queue import EntryUpdate, QueueFilter, QueueName, RecipientState, RecipientUpdate
from pymta.spool import segments, writing
from pymta.spool.failures import RefusedChange
from pymta.spool.fresh import FreshMessages
from pymta.spool.rows import NewMessage
from pymta.spool.segments import Journal
from pymta.spool.sqlite import Reader, Writer
from pymta.spool.view import View
from pymta.spool.writing import SpoolWriter
from pymta.testing import RecordingLog

# By id: queue, and recipients that are not done.
State = dict[str, tuple[str, tuple[int, ...]]]


class PowerCut(BaseException):
    """Nothing that is written catches it."""


@contextmanager
def small(messages: int, segment: int) -> Iterator[None]:
    """Limits at which everything moves all the time."""
    before = writing.FRESH_MESSAGES, segments.SEGMENT_BYTES
    writing.FRESH_MESSAGES, segments.SEGMENT_BYTES = messages, segment
    try:
        yield
    finally:
        writing.FRESH_MESSAGES, segments.SEGMENT_BYTES = before


class Store:
    """A writer on a folder that is stopped at the `cut`-th step from now, if any."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cut = 0
        self.steps: list[str] = []
        self.log = RecordingLog()
        self.last = 0
        self.open()

    @property
    def said(self) -> str:
        return "\n".join(self.log.lines)

    def reach(self, step: str) -> None:
        self.steps.append(step)
        if self.cut:
            self.cut -= 1
            if not self.cut:
                raise PowerCut(step)

    def open(self) -> None:
        self.database = Writer(self.folder / "queue.db", self.reach)
        self.journal = Journal(self.folder / "journal", self.log, self.reach)
        self.fresh = FreshMessages()
        self.writer = SpoolWriter(self.database, self.journal, self.fresh, self.log, self.reach)
        self.found_last = self.writer.load()
        self.view = View(Reader(self.folder / "queue.db"), self.fresh, self.journal)

    def abandon(self) -> None:
        self.cut = 0
        self.view.close()
        self.journal.close()
        self.database.close()

    def close(self) -> None:
        self.cut = 0
        self.writer.finish(self.last)
        self.abandon()

    def reopen(self) -> None:
        self.abandon()
        self.open()

    def apply(self, changes: Sequence[Any]) -> list[Any]:
        self.last += 1
        outcomes = self.writer.apply(changes, self.last)
        self.writer.tidy(self.last)
        return outcomes

    def state(self) -> State:
        rows, _ = self.view.page(QueueFilter(), "", 1000)
        recipients = self.view.recipients([row[0] for row in rows], 100)
        assert set(self.view.contents([row[0] for row in rows])) == {row[0] for row in rows}
        assert {row[0] for row in self.view.due(("incoming", "deferred"), 99.0, 1000, (-1.0, ""))} == {
            row[0] for row in rows if row[1] in ("incoming", "deferred")
        }
        assert sum(self.view.counts().values()) == len(rows)
        for queue_id, content in self.view.contents([row[0] for row in rows]).items():
            assert content == content_of(queue_id)
        return {row[0]: (row[1], tuple(one[1] for one in recipients[row[0]])) for row in rows}


def content_of(queue_id: str) -> bytes:
    return queue_id.encode() * (1 + int(queue_id, 16) % 5 * 100)


def message(number: int) -> NewMessage:
    queue_id = f"{number:013X}"
    content = content_of(queue_id)
    row = (queue_id, "incoming", 0.0, 0, None, 0, 1.0, len(content), "a", "b", "[]")
    return NewMessage(row, [(queue_id, each, "bob", "example.com", "", "") for each in range(3)], content)


def done(number: int, *recipients: int) -> EntryUpdate:
    return EntryUpdate(
        f"{number:013X}", recipients=tuple(RecipientUpdate(each, RecipientState.DONE) for each in recipients)
    )


def expected(state: State, changes: Sequence[Any]) -> State:
    """What the changes make of `state`: additions first, then updates, then removals."""
    state = dict(state)
    for change in changes:
        if isinstance(change, NewMessage):
            state.setdefault(change.message[0], ("incoming", (0, 1, 2)))
    for change in changes:
        if isinstance(change, EntryUpdate) and change.queue_id in state:
            queue, recipients = state[change.queue_id]
            finished = {one.number for one in change.recipients if one.state is RecipientState.DONE}
            left = tuple(each for each in recipients if each not in finished)
            state[change.queue_id] = (change.queue.value if change.queue else queue, left)
            if not left:
                del state[change.queue_id]
    for change in changes:
        if isinstance(change, str):
            state.pop(change, None)
    return state


NUMBERS = st.integers(1, 12)
CHANGES = st.one_of(
    NUMBERS.map(message),
    st.builds(lambda number, numbers: done(number, *numbers), NUMBERS, st.sets(st.integers(0, 2), min_size=1)),
    st.builds(
        lambda number, queue: EntryUpdate(f"{number:013X}", queue, 5.0),
        NUMBERS,
        st.sampled_from([QueueName.DEFERRED, QueueName.HOLD]),
    ),
    NUMBERS.map(lambda number: f"{number:013X}"),
)
BATCHES = st.lists(CHANGES, min_size=1, max_size=6, unique_by=lambda change: str(kind_and_id(change))).map(
    # Nobody changes what he has not added yet.
    lambda batch: sorted(batch, key=lambda change: kind_and_id(change)[0])
)
STEPS = st.lists(st.one_of(BATCHES, st.sampled_from(["reopen", "close"]), st.integers(1, 12)), max_size=25)


def kind_and_id(change: Any) -> tuple[str, str]:
    if isinstance(change, NewMessage):
        return "add", change.message[0]
    return ("gone", change) if isinstance(change, str) else ("update", change.queue_id)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS, st.sampled_from([(0, 1 << 20), (1, 1 << 16), (2, 1 << 14), (1000, 1 << 15)]), st.data())
def test_nothing_is_lost_and_nothing_comes_back(steps: list[Any], limits: tuple[int, int], data: st.DataObject) -> None:
    """A number: the power is cut at that step of what follows."""
    with tempfile.TemporaryDirectory() as folder, small(*limits):
        store = Store(Path(folder))
        state: State = {}
        for step in steps:
            if isinstance(step, int):
                store.cut = step
                continue
            try:
                if step == "close":
                    store.writer.finish(store.last)
                    store.reopen()
                elif step == "reopen":
                    store.reopen()
                else:
                    store.apply(step)
                    state = expected(state, step)
            except PowerCut as cut_at:
                lose_unsynced(store, str(cut_at), data)
                store.reopen()
                seen, after = store.state(), expected(state, step if isinstance(step, list) else ())
                for queue_id in {*state, *after, *seen}:
                    assert seen.get(queue_id) in (state.get(queue_id), after.get(queue_id)), queue_id
                state = seen
            assert store.state() == state
            assert store.found_last <= store.last
        store.close()


def lose_unsynced(store: Store, step: str, data: st.DataObject) -> None:
    """Where a group was not synced any part of it may be missing."""
    if step == "journal written":
        number = store.journal.label.generation % 2
        path = store.folder / "journal" / str(number)
        start = store.journal._position
        if path.stat().st_size > start:
            os.truncate(path, data.draw(st.integers(start, path.stat().st_size)))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.abandon()


def test_what_is_delivered_at_once_never_touches_the_database(store: Store) -> None:
    store.steps.clear()
    for number in range(100):
        store.apply([message(number)])
        store.apply([done(number, 0, 2)])
        assert store.apply([message(number).message[0]]) == [{message(number).message[0]: message(number).message[7]}]
    assert set(store.steps) == {"journal written", "journal synced"}
    assert store.state() == {}


def test_an_id_that_exists_is_refused_wherever_it_is_and_no_other_change_is(store: Store) -> None:
    stored, fresh = message(1), message(2)
    store.apply([stored])
    store.close()
    store.open()
    store.apply([fresh])
    outcomes = store.apply([stored, message(3), fresh, message(3), done(1, 0), done(2, 0)])
    assert [isinstance(outcome, RefusedChange) for outcome in outcomes] == [True, False, True, True, False, False]
    assert {number: len(left) for number, (_, left) in store.state().items()} == {
        "0000000000001": 2,
        "0000000000002": 2,
        "0000000000003": 3,
    }


def test_a_change_that_cannot_be_written_is_refused_alone(store: Store) -> None:
    bad = message(2)
    bad.message = (*bad.message[:6], object(), *bad.message[7:])  # type: ignore[misc, assignment]
    outcomes = store.apply([message(1), bad, message(3)])
    assert [isinstance(outcome, SpoolError) for outcome in outcomes] == [False, True, False]
    assert len(store.state()) == 2


def test_what_the_database_does_not_take_goes_to_corrupt_and_the_rest_moves(store: Store) -> None:
    bad = message(2)
    bad.message = (*bad.message[:3], 1 << 70, *bad.message[4:])  # type: ignore[misc]
    store.apply([message(1), bad, message(3)])
    store.close()
    store.open()
    assert store.view.counts() == {"incoming": 2, "corrupt": 1}
    assert "corrupt queue entry 0000000000002" in store.said


@pytest.mark.parametrize("notes", ["nothing", "an addition", "nothing, and it was moved before the crash before"])
def test_what_moved_and_is_gone_stays_gone(store: Store, notes: str) -> None:
    """It is in the journal as new, and in the database not at all."""
    with small(0, 1 << 20):
        store.apply([message(1)])
    assert store.view.existing(["0000000000001"]) and not store.fresh
    if notes == "an addition":
        store.apply([message(2)])
    elif notes != "nothing":
        store.reopen()
    assert store.apply(["0000000000001"]) == [{"0000000000001": message(1).message[7]}]
    store.reopen()
    assert "0000000000001" not in store.state()


def test_what_is_gone_with_its_last_recipient_in_the_database_stays_gone(store: Store) -> None:
    with small(0, 1 << 20):
        store.apply([message(1)])
    store.apply([done(1, 0, 1), done(1, 2)])
    store.reopen()
    assert store.state() == {}


def test_ids_go_on_after_a_crash(store: Store) -> None:
    store.last = 41
    store.apply([message(1)])
    store.reopen()
    assert store.found_last == 42
    store.close()
    store.open()
    assert store.found_last == 42


def test_segments_take_turns_and_what_stays_behind_moves(store: Store) -> None:
    with small(1000, 1 << 16):
        store.apply([message(1)])
        number = 2
        while store.journal.label.generation < 6:
            store.apply([message(number), message(number - 1).message[0] if number > 2 else "none"])
            number += 1
    assert store.state() == {message(each).message[0]: ("incoming", (0, 1, 2)) for each in (1, number - 1)}
    assert "0000000000001" not in store.fresh
    store.reopen()
    assert len(store.state()) == 2
    assert max(path.stat().st_size for path in (store.folder / "journal").iterdir()) < (1 << 16) + 16384


def test_many_recipients_move_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "FRESH_RECIPIENTS", 8)
    for number in range(1, 5):
        store.apply([message(number)])
    assert store.fresh.recipients <= 8
    assert len(store.state()) == 4


def test_a_full_disk_takes_nothing_of_a_batch_and_the_next_one_is_tried(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.apply([message(1)])
    write = os.pwritev

    def full(file: int, pieces: list[bytes], offset: int) -> int:
        write(file, [b"".join(pieces)[:5000]], offset)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(segments.os, "pwritev", full)  # type: ignore[attr-defined]
    outcomes = store.apply([message(number) for number in range(2, 9)])
    assert {str(outcome) for outcome in outcomes} == {"journal: No space left on device"}
    monkeypatch.undo()
    assert store.apply([message(9)]) == [{}]
    store.reopen()
    assert list(store.state()) == [message(1).message[0], message(9).message[0]]


@pytest.mark.parametrize("error", [5, 28])
def test_after_a_failed_sync_nothing_is_written(store: Store, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    def fail(file: int) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(segments.os, "fdatasync", fail)  # type: ignore[attr-defined]
    assert isinstance(store.apply([message(1)])[0], SpoolError)
    monkeypatch.undo()
    assert isinstance(store.apply([message(2)])[0], SpoolError)
    store.reopen()
    assert store.apply([message(3)]) == [{}]
    assert list(store.state()) == [message(3).message[0]]


def test_damage_is_told_and_harms_no_other_message(store: Store) -> None:
    for number in range(1, 5):
        store.apply([message(number)])
    path = store.folder / "journal" / "1"
    store.abandon()
    data = bytearray(path.read_bytes())
    data[data.index(content_of(message(3).message[0])) + 3] ^= 4
    path.write_bytes(data)
    store.open()
    assert "journal/1 is damaged: content of 0000000000003 at offset 16384" in store.said
    assert "0000000000003" not in store.view.contents([message(number).message[0] for number in range(1, 5)])
    assert len(store.view.contents([message(number).message[0] for number in range(1, 5)])) == 3
    store.close()
    store.open()
    assert store.view.content_sizes(["0000000000003"]) == {} and store.view.existing(["0000000000003"])


def test_a_segment_without_a_label_is_kept_aside(store: Store) -> None:
    store.apply([message(1)])
    store.abandon()
    path = store.folder / "journal" / "1"
    data = path.read_bytes()
    path.write_bytes(b"?" * 8192 + data[8192:])
    store.open()
    assert "journal/1 cannot be read, messages may be lost; it is kept as 1.damaged" in store.said
    assert (store.folder / "journal" / "1.damaged").read_bytes()[8192:] == data[8192:]
    assert store.apply([message(2)]) == [{}]


def test_a_journal_of_another_version_stops_the_start(store: Store) -> None:
    store.abandon()
    path = store.folder / "journal" / "1"
    data = bytearray(path.read_bytes())
    data[8] = data[4096 + 8] = 2
    path.write_bytes(data)
    with pytest.raises(SpoolError, match="journal/1: journal of format version 2 found, this program reads version 1"):
        store.open()
    data[8] = data[4096 + 8] = 1
    path.write_bytes(data)
    store.open()


def test_segments_that_changed_places_stop_the_start(store: Store) -> None:
    store.abandon()
    folder = store.folder / "journal"
    (folder / "0").write_bytes((folder / "1").read_bytes())
    with pytest.raises(SpoolError, match="journal/0: this is the other segment"):
        store.open()
    (folder / "0").write_bytes(b"")
    store.open()
