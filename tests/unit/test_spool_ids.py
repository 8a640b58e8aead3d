"""Queue ids and fault points."""

import pytest

from pymta.spool.faults import NO_FAULTS, from_environment, strike_at
from pymta.spool.ids import QueueIds, is_queue_id


@pytest.mark.parametrize("long", [False, True])
def test_ids_sort_by_arrival_and_never_repeat_whatever_the_clock_does(long: bool) -> None:
    times = [1_700_000_000.0, 1_700_000_000.0, 1_700_000_000.5, 1_600_000_000.0, 0.0, 1_700_000_001.0, 1_900_000_000.0]
    clock = iter(times)
    ids = QueueIds(lambda: next(clock), long=long, instance=123)
    given = [ids.new() for _ in times]
    assert given == sorted(set(given))
    assert all(is_queue_id(name) for name in given)


def test_ids_go_on_above_what_was_given_before() -> None:
    first = QueueIds(lambda: 1_700_000_000.0)
    name = first.new()
    assert QueueIds(lambda: 0.0, floor=first.last).new() > name


def test_short_ids_are_hexadecimal_and_long_ones_have_postfix_form() -> None:
    assert QueueIds(lambda: 1_700_000_000.25).new() == f"{1_700_000_000_250_000:013X}"
    # Seconds in base 52 (six digits), microseconds (four), z, and the instance in base 51.
    digits = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
    name = QueueIds(lambda: 1_700_000_000.25, long=True, instance=51).new()
    seconds, microseconds, instance = name[:6], name[6:10], name[11:]
    value = 0
    for digit in seconds:
        value = value * 52 + digits.index(digit)
    assert value == 1_700_000_000
    assert sum(digits.index(digit) * 52**place for place, digit in enumerate(reversed(microseconds))) == 250_000
    assert (name[10], instance) == ("z", "10")


@pytest.mark.parametrize("name", ["", "short", "../../etc", "ABC DEF0", "ABCDEF\n", "x" * 65, "ÄBCDEFG"])
def test_what_is_no_queue_id(name: str) -> None:
    assert not is_queue_id(name)


def test_fault_points_are_named() -> None:
    assert from_environment({}) is NO_FAULTS
    with pytest.raises(ValueError, match="no such step"):
        strike_at("nowhere")
    with pytest.raises(ValueError, match="no such step"):
        from_environment({"PYMTA_FAULT": "nowhere:3"})
    from_environment({"PYMTA_FAULT": "committed:2"})("committed")
