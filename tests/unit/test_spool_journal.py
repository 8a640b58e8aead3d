"""The journal's format: what is read back, and what is not believed."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymta.spool.journal import (
    LABEL_BYTES,
    PAGE,
    Group,
    Label,
    OtherVersion,
    ReadGroup,
    SegmentReader,
    decode_label,
    encode_group,
    encode_label,
)
from pymta.spool.rows import NewMessage

KEY = bytes(range(16))
LABEL = Label(7, 6, 123456, KEY)


def message(number: int, content: bytes | None = b"content\r\n") -> NewMessage:
    queue_id = f"{number:013X}"
    row = (queue_id, "incoming", 0.0, 0, None, 0, 1.0, len(content or b""), "alice", "example.org", "[]")
    return NewMessage(row, [(queue_id, 0, "bob", "example.com", "", "")], content)


def segment(groups: Sequence[Group], key: bytes = KEY) -> bytes:
    data = encode_label(replace(LABEL, key=key))
    for sequence, group in enumerate(groups):
        data += b"".join(encode_group(group, key, sequence, sequence * 10)[0])
    return data


def read(data: bytes, key: bytes = KEY) -> tuple[list[ReadGroup], SegmentReader]:
    reader = SegmentReader(lambda offset, length: data[offset : offset + length], len(data), key)
    return list(reader.groups()), reader


def facts(data: bytes, group: ReadGroup) -> tuple[Any, ...]:
    """A group that was read as what was written; the content where the segment has it."""
    additions = [
        NewMessage(
            one.message,
            one.recipients,
            None if one.length is None else data[one.offset : one.offset + one.length],
        )
        for one in group.additions
    ]
    return additions, group.changes, group.gone, group.moved


CHANGE = ("0000000000001", ("deferred", 5.0, 1, None, None), [(0, "[]"), (1, None)])
BATCHES = [
    Group([message(1), message(2, None)]),
    Group([], [CHANGE]),  # type: ignore[list-item]
    Group([message(3, b"x" * 9000), message(4, b"")], gone=["0000000000001"]),
    Group([], moved=["0000000000002"]),
]


def told(group: Group) -> tuple[Any, ...]:
    return list(group.additions), list(group.changes), list(group.gone), list(group.moved)


def test_groups_come_back_as_they_were_written() -> None:
    data = segment(BATCHES)
    groups, reader = read(data)
    assert [facts(data, group) for group in groups] == [told(group) for group in BATCHES]
    assert [group.last_id_time for group in groups] == [0, 10, 20, 30]
    assert (reader.end, reader.sequence, reader.damages) == (len(data), 4, [])
    assert len(data) % PAGE == 0


def test_every_prefix_of_a_segment_is_read_as_a_prefix_of_its_groups() -> None:
    data = segment(BATCHES)
    ends = [group.end for group in read(data)[0]]
    interesting = {cut for end in [LABEL_BYTES, *ends] for cut in range(end - 5, end + 70)}
    for cut in sorted({*interesting, *range(LABEL_BYTES, len(data), 37)}):
        part = data[:cut]
        groups, reader = read(part)
        # The zeros that fill a group's last page are not missed.
        whole = [end for end, group in zip(ends, read(data)[0], strict=True) if _needed(data, group) <= cut]
        assert [group.end for group in groups] == whole, cut
        assert reader.damages == [] and reader.end == (whole or [LABEL_BYTES])[-1]


def _needed(data: bytes, group: ReadGroup) -> int:
    """Up to where a group says something."""
    return len(data[: group.end].rstrip(b"\0"))


def test_what_follows_a_shorter_group_in_the_place_of_a_failed_one_does_not_count() -> None:
    failed = b"".join(encode_group(Group([message(8, b"y" * 20_000), message(9)]), KEY, 1, 0)[0])
    short = b"".join(encode_group(Group([message(5)]), KEY, 1, 0)[0])
    before = segment(BATCHES[:1])
    groups, reader = read(before + short + failed[len(short) :])
    assert [group.additions[0].message[0] for group in groups] == [message(1).message[0], message(5).message[0]]
    assert reader.damages == []


@pytest.mark.parametrize("key", [KEY, bytes(16)])
def test_a_sender_cannot_have_his_message_read_as_a_group(key: bytes) -> None:
    """His groups are right but for the key, which nobody is told."""
    forged = b"".join(encode_group(Group([message(66)]), key, 1, 0)[0])
    sent = segment([Group([message(1, forged * 4)])])
    # What a search for groups sees where his content begins on a page.
    groups, _ = read(sent[:LABEL_BYTES] + sent[sent.index(forged) :])
    assert len(groups) == (1 if key == KEY else 0)


def test_earlier_lives_of_a_segment_do_not_count() -> None:
    old = segment(BATCHES, b"o" * 16)
    new = segment(BATCHES[:1])
    groups, reader = read(new + old[len(new) :])
    assert len(groups) == 1 and reader.end == len(new) and reader.damages == []


def test_broken_content_in_the_middle_is_told_with_its_message_and_the_rest_is_kept() -> None:
    data = bytearray(segment(BATCHES))
    place = data.index(b"x" * 9000) + 100
    data[place] ^= 1
    groups, reader = read(bytes(data))
    assert len(groups) == 4
    assert [one.length for one in groups[2].additions] == [None, 0]
    assert reader.damages == [f"content of 0000000000003 at offset {groups[2].offset}"]


def test_broken_records_in_the_middle_are_told_and_the_rest_is_kept() -> None:
    whole = segment(BATCHES)
    second = read(whole)[0][1]
    data = bytearray(whole)
    data[second.offset + 60] ^= 0x10
    groups, reader = read(bytes(data))
    assert [group.sequence for group in groups] == [0, 2, 3]
    assert reader.damages == [f"the changes from offset {second.offset} to {second.end}"]
    assert reader.end == len(whole)


def test_a_last_group_that_is_not_whole_was_never_acknowledged() -> None:
    data = bytearray(segment(BATCHES[:3]))
    last = read(bytes(data))[0][2]
    data[last.end - 5000] ^= 1
    groups, reader = read(bytes(data))
    assert len(groups) == 2 and reader.damages == []
    assert (reader.end, reader.sequence, reader.is_unfinished) == (last.offset, 2, True)


CONTENTS = st.none() | st.binary(max_size=40) | st.integers(0, 3).map(lambda pages: b"z" * (pages * PAGE + 7))
GROUPS = st.lists(
    st.builds(
        lambda contents, gone: Group([message(number, each) for number, each in enumerate(contents)], gone=gone),
        st.lists(CONTENTS, max_size=4),
        st.lists(st.sampled_from(["0000000000000", "0000000000001"]), max_size=2),
    ),
    max_size=5,
)


@settings(max_examples=150, deadline=None)
@given(GROUPS, st.data())
def test_one_changed_bit_harms_one_group_at_most(groups: list[Group], data: st.DataObject) -> None:
    written = bytearray(segment(groups))
    expected = [facts(bytes(written), group) for group in read(bytes(written))[0]]
    assert expected == [told(group) for group in groups]
    if not groups:
        return
    place = data.draw(st.integers(LABEL_BYTES, len(written) - 1))
    written[place] ^= 1 << data.draw(st.integers(0, 7))
    found, reader = read(bytes(written))
    seen = {group.sequence: facts(bytes(written), group) for group in found}
    different = [number for number, facts in enumerate(expected) if seen.get(number) != facts]
    assert len(different) <= 1
    # All but the last one, which may never have been synced, is told.
    assert not different or different == [len(groups) - 1] or len(reader.damages) == 1


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=3 * PAGE))
def test_what_is_no_journal_is_read_without_an_error(data: bytes) -> None:
    assert decode_label(data) is None
    assert read(data)[0] == []
    assert read(encode_label(LABEL) + KEY + data)[0] == []


def test_a_label_is_read_from_either_copy_and_the_newer_counts() -> None:
    old, new = encode_label(LABEL), encode_label(replace(LABEL, generation=9, since=8, is_closed=True))
    assert decode_label(old) == LABEL
    assert decode_label(new[:PAGE] + old[PAGE:]) == replace(LABEL, generation=9, since=8, is_closed=True)
    assert decode_label(b"\xff" * PAGE + old[PAGE:]) == LABEL
    assert decode_label(old[:PAGE]) == LABEL
    assert decode_label(b"") is None
    assert decode_label(os.urandom(LABEL_BYTES)) is None


def test_a_label_of_another_version_is_refused_by_number() -> None:
    other = bytearray(encode_label(LABEL))
    for place in (8, PAGE + 8):
        other[place] = 2
    with pytest.raises(OtherVersion, match="format version 2 found, this program reads version 1"):
        decode_label(bytes(other))
    # One bit of one copy is damage.
    other[PAGE + 8] = 1
    assert decode_label(bytes(other)) is None or decode_label(bytes(other)) == LABEL
