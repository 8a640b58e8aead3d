"""Who is served when: turns, limits, delays, dead destinations, and a simulated day."""

from dataclasses import dataclass, replace

from pymta.model.address import Address
from pymta.model.queue import QueuedRecipient
from pymta.qmgr.feedback import ConcurrencyLimits, Feedback
from pymta.qmgr.scheduler import Entry, Problem, Scheduler, TransportLimits

ONE = Feedback(1.0)
LIMITS = TransportLimits(ConcurrencyLimits(5, 20, ONE, ONE, 1), recipients=50)
REFUSED = Problem("4.4.1", "Connection refused")


def limited(limit: int, **changes: object) -> TransportLimits:
    concurrency = ConcurrencyLimits(min(5, limit), limit, ONE, ONE, 1)
    return replace(LIMITS, concurrency=concurrency, **changes)  # type: ignore[arg-type]


def people(count: int) -> list[QueuedRecipient]:
    return [QueuedRecipient(n, Address(f"u{n}", "example.com"), Address(f"u{n}", "example.com")) for n in range(count)]


@dataclass
class Letter:
    """What the scheduler sees of a message."""

    queue_id: str
    since: float = 0.0
    unread: int = 0


LIST = Letter("list")


def submit(
    scheduler: Scheduler, message: str, site: str, count: int = 1, transport: str = "smtp", now: float = 0.0
) -> int | Problem:
    return scheduler.submit(Letter(message), transport, site, site, people(count), now)


def drain(scheduler: Scheduler, now: float = 0.0) -> list[Entry]:
    found = []
    while (entry := scheduler.next(now)) is not None:
        found.append(entry)
    return found


def names(entries: list[Entry]) -> list[str]:
    return [entry.queue_id for entry in entries]


def test_recipients_share_deliveries_up_to_the_limit() -> None:
    scheduler = Scheduler(lambda name: LIMITS, 300.0)
    assert submit(scheduler, "m", "a", 120) == 3
    assert [len(entry.recipients) for entry in drain(scheduler)] == [50, 50, 20]


def test_no_recipient_limit_is_one_delivery() -> None:
    scheduler = Scheduler(lambda name: replace(LIMITS, recipients=0), 300.0)
    assert submit(scheduler, "m", "a", 120) == 1


def test_a_destination_gets_no_more_than_its_window() -> None:
    scheduler = Scheduler(lambda name: LIMITS, 300.0)
    for number in range(10):
        submit(scheduler, f"m{number}", "a")
    first = drain(scheduler)
    assert len(first) == 5
    scheduler.finished(first[0], 0.0, True)
    assert len(drain(scheduler)) == 2, "one for the end of a delivery, one for the window that grew"


def test_messages_go_in_order_of_age_past_destinations_that_are_full() -> None:
    scheduler = Scheduler(lambda name: limited(2), 300.0)
    for number in range(3):
        submit(scheduler, f"a{number}", "a")
    submit(scheduler, "b", "b")
    first = drain(scheduler)
    assert names(first) == ["a0", "a1", "b"]
    submit(scheduler, "c", "c")
    scheduler.finished(first[1], 0.0, False)
    assert names(drain(scheduler)) == ["a2", "c"]


def test_the_destinations_of_a_message_take_turns() -> None:
    scheduler = Scheduler(lambda name: limited(20), 300.0)
    for site in ("a", "b", "c"):
        scheduler.submit(LIST, "smtp", site, site, people(100), 0.0)
    assert [entry.nexthop for entry in drain(scheduler)] == ["a", "b", "c", "a", "b", "c"]


def test_transports_take_turns() -> None:
    scheduler = Scheduler(lambda name: LIMITS, 300.0)
    for number in range(3):
        submit(scheduler, f"s{number}", f"s{number}")
    submit(scheduler, "l", "home", transport="local")
    assert names(drain(scheduler)) == ["s0", "l", "s1", "s2"]


def test_messages_take_turns_within_a_destination() -> None:
    scheduler = Scheduler(lambda name: limited(1), 300.0)
    submit(scheduler, "list", "a", 5000)
    submit(scheduler, "letter", "a")
    order = []
    for _ in range(4):
        entry = scheduler.next(0.0)
        assert entry is not None
        order.append(entry.queue_id)
        scheduler.finished(entry, 0.0, True)
    assert order == ["list", "letter", "list", "list"]


def test_a_transport_runs_no_more_than_its_processes() -> None:
    scheduler = Scheduler(lambda name: replace(LIMITS, processes=3), 300.0)
    for number in range(10):
        submit(scheduler, f"m{number}", f"site{number}")
    running = drain(scheduler)
    assert len(running) == 3
    scheduler.finished(running[0], 0.0, False)
    assert len(drain(scheduler)) == 1


def test_a_destination_delay_spaces_deliveries_to_it_only() -> None:
    scheduler = Scheduler(lambda name: limited(1, destination_delay=0.5), 300.0)
    for number in range(3):
        submit(scheduler, f"a{number}", "a")
    submit(scheduler, "b", "b")
    first = drain(scheduler)
    assert names(first) == ["a0", "b"]
    for entry in first:
        scheduler.finished(entry, 10.0, True)
    assert drain(scheduler, 10.4) == []
    assert scheduler.next_wakeup() == 10.5
    (second,) = drain(scheduler, 10.5)
    assert second.queue_id == "a1"
    scheduler.finished(second, 11.0, True)
    assert submit(scheduler, "b2", "b", now=11.0) == 1
    assert names(drain(scheduler, 11.0)) == ["b2"]
    assert names(drain(scheduler, 11.5)) == ["a2"]


def test_a_transport_delay_spaces_all_its_deliveries() -> None:
    scheduler = Scheduler(lambda name: replace(LIMITS, transport_delay=2.0 if name == "slow" else 0.0), 300.0)
    submit(scheduler, "a", "a", transport="slow")
    submit(scheduler, "b", "b", transport="slow")
    submit(scheduler, "c", "c")
    first = drain(scheduler)
    assert names(first) == ["a", "c"]
    scheduler.finished(first[0], 1.0, True)
    assert drain(scheduler, 2.9) == []
    assert names(drain(scheduler, 3.0)) == ["b"]


def test_a_destination_that_fails_too_often_gives_back_what_waits() -> None:
    scheduler = Scheduler(lambda name: limited(1), 300.0)
    for number in range(4):
        submit(scheduler, f"m{number}", "a")
    submit(scheduler, "other", "b")
    entry, other = drain(scheduler)
    assert names(scheduler.finished(entry, 0.0, REFUSED)) == ["m1", "m2", "m3"]
    assert scheduler._transports["smtp"].recipients == 1, "only the other one is still in memory"
    assert submit(scheduler, "late", "a", now=299.9) == REFUSED
    assert submit(scheduler, "late", "a", now=300.0) == 1
    assert scheduler.finished(other, 300.0, True) == []
    assert names(drain(scheduler, 300.0)) == ["late"]


def test_success_of_a_delivery_under_way_revives_a_dead_destination() -> None:
    limits = replace(LIMITS, concurrency=ConcurrencyLimits(2, 20, ONE, Feedback(0.0), 1))
    scheduler = Scheduler(lambda name: limits, 300.0)
    for number in range(2):
        submit(scheduler, f"m{number}", "a")
    running = drain(scheduler)
    scheduler.finished(running[0], 0.0, REFUSED)
    submit(scheduler, "m2", "a")
    more = drain(scheduler)
    scheduler.finished(more[0], 0.0, REFUSED)
    assert submit(scheduler, "m3", "a") == REFUSED
    scheduler.finished(running[1], 1.0, True)
    assert submit(scheduler, "m3", "a", now=1.0) == 1
    assert len(drain(scheduler, 1.0)) == 1


def test_a_stale_timer_does_not_revive_a_destination_that_died_again() -> None:
    scheduler = Scheduler(lambda name: limited(1), 300.0)
    submit(scheduler, "m0", "a")
    scheduler.finished(drain(scheduler)[0], 0.0, REFUSED)
    scheduler.revive(100.0)
    submit(scheduler, "m1", "a", now=100.0)
    scheduler.finished(drain(scheduler, 100.0)[0], 100.0, REFUSED)
    assert submit(scheduler, "m2", "a", now=301.0) == REFUSED
    assert submit(scheduler, "m2", "a", now=400.0) == 1


def test_an_agent_failure_says_nothing_about_the_destination() -> None:
    scheduler = Scheduler(lambda name: limited(1), 300.0)
    submit(scheduler, "m0", "a")
    submit(scheduler, "m1", "a")
    assert scheduler.finished(drain(scheduler)[0], 0.0, False) == []
    assert names(drain(scheduler)) == ["m1"]


def test_idle_destinations_are_forgotten() -> None:
    scheduler = Scheduler(lambda name: limited(1, destination_delay=1.0), 300.0)
    for number in range(1000):
        submit(scheduler, f"m{number}", f"site{number}")
    for entry in drain(scheduler):
        scheduler.finished(entry, 0.0, REFUSED if entry.queue_id.endswith("7") else True)
    for now in (1.0, 300.0, 601.0):
        scheduler.next(now)
    assert scheduler._transports["smtp"].destinations == {}
    assert scheduler.next_wakeup() is None


def test_pages_of_a_message_share_deliveries() -> None:
    scheduler = Scheduler(lambda name: limited(20, recipients=50), 300.0)
    everyone = people(130)
    assert [scheduler.submit(LIST, "smtp", "a", "a", everyone[n : n + 10], 0.0) for n in range(0, 130, 10)] == [
        *(1, 0, 0, 0, 0),
        *(1, 0, 0, 0, 0),
        *(1, 0, 0),
    ]
    assert scheduler.submit(LIST, "smtp", "b", "b", people(7), 0.0) == 1
    first = scheduler.next(0.0)
    assert first is not None and list(first.recipients) == everyone[:50]
    rest = [entry.recipients for entry in drain(scheduler)]
    assert [recipient for entry in rest if len(entry) != 7 for recipient in entry] == everyone[50:]
    assert scheduler._transports["smtp"].recipients == 137


def test_a_page_is_cut_where_an_entry_is_full() -> None:
    scheduler = Scheduler(lambda name: LIMITS, 300.0)
    assert [scheduler.submit(LIST, "smtp", "a", "a", people(count), 0.0) for count in (30, 30, 100)] == [1, 1, 2]
    assert [len(entry.recipients) for entry in drain(scheduler)] == [50, 50, 50, 10]


def test_without_a_limit_pages_are_one_delivery_until_it_starts() -> None:
    scheduler = Scheduler(lambda name: limited(1, recipients=0), 300.0)
    assert [scheduler.submit(LIST, "smtp", "a", "a", people(9), 0.0) for _ in range(2)] == [1, 0]
    assert [len(entry.recipients) for entry in drain(scheduler)] == [18]
    assert scheduler.submit(LIST, "smtp", "a", "a", people(9), 0.0) == 1


def test_a_destination_that_was_full_keeps_its_turn_and_takes_no_more() -> None:
    scheduler = Scheduler(lambda name: limited(1), 300.0)
    for site in ("a", "b"):
        scheduler.submit(LIST, "smtp", site, site, people(500), 0.0)
    (a, b) = drain(scheduler)
    for _ in range(4):
        scheduler.finished(b, 0.0, False)
        (b,) = drain(scheduler)
        assert b.nexthop == "b"
    scheduler.finished(a, 0.0, False)
    scheduler.finished(b, 0.0, False)
    assert [entry.nexthop for entry in drain(scheduler)] == ["a", "b"]


def test_a_job_stands_where_its_message_became_active() -> None:
    """A long message may meet a transport with a later page only; messages may be resolved out of order."""
    scheduler = Scheduler(lambda name: replace(LIMITS, processes=1), 300.0)
    scheduler.submit(Letter("younger", since=2.0), "smtp", "a", "a", people(1), 2.0)
    scheduler.submit(Letter("older", since=1.0), "smtp", "b", "b", people(1), 3.0)
    scheduler.submit(Letter("youngest", since=3.0), "smtp", "c", "c", people(1), 3.0)
    order = []
    while (entry := scheduler.next(3.0)) is not None:
        order.append(entry.queue_id)
        scheduler.finished(entry, 3.0, True)
    assert order == ["older", "younger", "youngest"]


CRASHED = Problem("4.3.0", "unknown mail transport error", of_transport=True)


def test_a_transport_rests_when_its_agent_fails_until_one_works() -> None:
    scheduler = Scheduler(lambda name: LIMITS, 300.0, 60.0)
    for number in range(8):
        submit(scheduler, f"m{number}", "a")
    running = drain(scheduler)
    assert sorted(names(scheduler.finished(running[0], 0.0, CRASHED))) == ["m5", "m6", "m7"]
    assert scheduler.finished(running[1], 30.0, CRASHED) == [], "it rests already, and no longer for this"
    assert submit(scheduler, "late", "a", now=59.9) == CRASHED
    assert submit(scheduler, "late", "a", now=60.0) == 1
    scheduler.finished(running[2], 61.0, CRASHED)
    assert submit(scheduler, "other", "b", now=61.0) == CRASHED
    scheduler.finished(running[3], 62.0, True)
    assert submit(scheduler, "other", "b", now=62.0) == 1


def test_a_large_message_to_many_sites_does_not_keep_letters_back() -> None:
    """It is as large as all its deliveries together, not as those to its first site."""
    scheduler = Scheduler(lambda name: replace(LIMITS, recipients=1, processes=1), 300.0)
    scheduler.submit(LIST, "smtp", "a", "a", people(2000), 0.0)
    wide = Letter("wide")
    for number in range(100):
        scheduler.submit(wide, "smtp", f"s{number}", f"s{number}", people(1), 0.0)
    submit(scheduler, "letter", "b")
    order = []
    for _ in range(2):
        entry = scheduler.next(1.0)
        assert entry is not None
        order.append(entry.queue_id)
        scheduler.finished(entry, 1.0, True)
    assert order == ["list", "letter"]
