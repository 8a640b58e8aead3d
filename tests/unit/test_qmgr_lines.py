"""Log lines and times as Postfix writes them; the table was printed by Postfix's own format_tv()."""

from dataclasses import replace

import pytest

from pymta.model.address import NULL_SENDER, Address
from pymta.model.delivery import DeliveryResult, Outcome
from pymta.model.queue import QueuedRecipient, QueueEntry, QueueName
from pymta.qmgr import lines
from pymta.qmgr.active import ActiveMessage
from pymta.qmgr.backoff import Backoff
from pymta.qmgr.routing import mailbox
from pymta.spool.content import MemoryContent

TIMES = [
    (0, "0 0 0 0 0"),
    (0.0001, "0 0 0 0 0.0001"),
    (0.004, "0 0 0 0.004 0.004"),
    (0.005, "0 0 0.01 0.005 0.005"),
    (0.0049, "0 0 0 0.005 0.0049"),
    (0.012, "0 0 0.01 0.012 0.012"),
    (0.0151, "0 0 0.02 0.015 0.015"),
    (0.0996, "0 0.1 0.1 0.1 0.1"),
    (0.105, "0 0.1 0.11 0.11 0.11"),
    (0.555, "1 0.6 0.56 0.56 0.56"),
    (0.994, "1 1 0.99 0.99 0.99"),
    (0.995, "1 1 1 1 1"),
    (1.04, "1 1 1 1 1"),
    (1.05, "1 1.1 1.1 1.1 1.1"),
    (1.5, "2 1.5 1.5 1.5 1.5"),
    (1.95, "2 2 2 2 2"),
    (9.94, "10 9.9 9.9 9.9 9.9"),
    (9.95, "10 10 10 10 10"),
    (10.5, "11 11 11 11 11"),
    (100.4, "100 100 100 100 100"),
    (1234.9, "1235 1235 1235 1235 1235"),
    (-1.0, "0 0 0 0 0"),
]


@pytest.mark.parametrize(("delay", "texts"), TIMES)
def test_delays_have_two_significant_digits(delay: float, texts: str) -> None:
    assert [lines.seconds(delay, resolution) for resolution in (0, 1, 2, 3, 6)] == texts.split()


def test_recipient_line() -> None:
    target = QueuedRecipient(0, Address("a b", "x.example"), Address("list", "x.example"))
    entry = QueueEntry("QID", QueueName.INCOMING, NULL_SENDER, (target,), 9.97, 9.97, 5)
    result = DeliveryResult(
        0,
        Outcome.DEFERRED,
        "4.4.2",
        "lost connection",
        "mx[192.0.2.1]:25",
        connection_use=3,
        connect_seconds=1.04,
        transfer_seconds=12.7,
    )
    of_delivery = lines.OutcomeLines(ActiveMessage(entry, MemoryContent(b""), 10.0, 0), 10.0, 30.0, 2)
    expected = (
        'QID: to=<"a b"@x.example>, orig_to=<list@x.example>, relay=mx[192.0.2.1]:25, conn_use=3, delay=14,'
        " delays=0.03/0/1/13, dsn=4.4.2, status=deferred (lost connection)"
    )
    assert list(of_delivery.of(target, result)) == [expected]
    # The next recipient of the delivery may have gone elsewhere.
    other = replace(result, relay="none", connection_use=1, connect_seconds=0.0, transfer_seconds=0.0)
    assert list(of_delivery.of(target, other)) == [
        'QID: to=<"a b"@x.example>, orig_to=<list@x.example>, relay=none, delay=20,'
        " delays=0.03/0/0/20, dsn=4.4.2, status=deferred (lost connection)"
    ]
    assert list(of_delivery.of(target, result)) == [expected]


def test_message_lines() -> None:
    entry = QueueEntry("QID", QueueName.INCOMING, NULL_SENDER, (), 0.0, 0.0, 5)
    assert lines.active(entry) == "QID: from=<>, size=5, nrcpt=0 (queue active)"
    assert lines.expired(entry, forced=True) == "QID: from=<>, status=force-expired, returned to sender"


BACKOFF = Backoff(minimal=300, maximal=4000, lifetime=432000, bounce_lifetime=86400, warning=14400)


@pytest.mark.parametrize(
    ("age", "delay"), [(0, 300), (299, 300), (301, 301), (3999, 3999), (4001, 4000), (99999, 4000), (-50, 300)]
)
def test_backoff_is_the_age_within_its_limits(age: float, delay: float) -> None:
    assert BACKOFF.next_attempt(10_000 + age, 10_000) == 10_000 + age + delay


@pytest.mark.parametrize(
    ("age", "null_sender", "expired"), [(431999, False, False), (432000, False, True), (86400, True, True)]
)
def test_lifetimes(age: float, null_sender: bool, expired: bool) -> None:
    assert BACKOFF.is_expired(1000 + age, 1000, null_sender=null_sender) is expired


@pytest.mark.parametrize(("age", "warned", "due"), [(14399, None, False), (14400, None, True), (20000, 15400.0, False)])
def test_warnings(age: float, warned: float | None, due: bool) -> None:
    assert BACKOFF.is_warning_due(1000 + age, 1000, warned) is due


@pytest.mark.parametrize(
    ("local_part", "delimiter", "expected"),
    [
        ("bob+x", "+", "bob"),
        ("bob", "+", "bob"),
        ("+bob", "+", "+bob"),
        ("bob-x+y", "+-", "bob"),
        ("owner-list", "-", "owner-list"),
        ("list-request", "-", "list-request"),
        ("Postmaster", "s", "Postmaster"),
        ("bob+x", "", "bob+x"),
    ],
)
def test_a_mailbox_is_its_address_without_extension(local_part: str, delimiter: str, expected: str) -> None:
    assert mailbox(local_part, delimiter) == expected
