"""How many recipients are in memory and when more are read; tables by hand from Postfix's rules."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import pytest

from pymta.app.problems import problems
from pymta.config import Config
from pymta.model.address import Address
from pymta.model.queue import QueuedRecipient
from pymta.qmgr.active import ActiveMessage
from pymta.qmgr.feedback import ConcurrencyLimits, Feedback, Scale
from pymta.qmgr.scheduler import RecipientPool, Scheduler, SlotRules, TransportLimits
from pymta.qmgr.settings import transport_limits
from pymta.qmgr.supply import FlowTokens, Supply

BOB = QueuedRecipient(0, Address("bob", "example.com"), Address("bob", "example.com"))
ONE = Feedback(1.0)
LIMITS = TransportLimits(
    ConcurrencyLimits(5, 20, ONE, ONE, 1),
    recipients=1,
    processes=1,
    slots=SlotRules(loan=0, discount=100),
    pool=RecipientPool(limit=100, extra=40, refill_limit=20, refill_delay=5.0),
)


@dataclass(eq=False)
class Long:
    """A message of which some recipients are in memory and most are not."""

    queue_id: str = "long"
    since: float = 0.0
    unread: int = 1000
    in_core: int = 50
    read_at: float = 0.0
    transports: set[str] = field(default_factory=lambda: {"smtp"})


def wanted(message: Long, held: int, *, now: float = 0.0, in_core: int = 0, pool: int = 100) -> int:
    """What is read of `message` where its transport has `held` recipients in memory, and all have `in_core`."""
    limits = replace(LIMITS, pool=replace(LIMITS.pool, limit=pool))
    scheduler = Scheduler(lambda name: limits, 300.0)
    if held:
        scheduler.submit(message, "smtp", "a", "a", [BOB] * held, 0.0)
    supply = Supply(scheduler, limit=2000, minimum=10)
    supply.in_core = in_core
    return supply.wanted(cast(ActiveMessage, message), now)


def test_more_is_read_where_there_is_room_for_enough() -> None:
    assert wanted(Long(), 80) == 20
    assert wanted(Long(), 50) == 50
    assert wanted(Long(unread=30), 50) == 30
    assert wanted(Long(), 50, pool=20_000) == 1000, "an entry's worth at once"


def test_fewer_are_read_after_a_delay() -> None:
    assert wanted(Long(read_at=10.0), 81, now=14.9) == 0
    assert wanted(Long(read_at=10.0), 81, now=15.0) == 19
    assert wanted(Long(read_at=10.0), 100, now=99.0) == 0


def test_every_message_may_have_the_minimum_whatever_the_others_take() -> None:
    assert wanted(Long(in_core=0), 100) == 10
    assert wanted(Long(in_core=0), 0, in_core=2000) == 10
    assert wanted(Long(in_core=4, read_at=0.0), 100, now=5.0) == 6
    assert wanted(Long(in_core=10, read_at=0.0), 100, now=5.0) == 0


def test_all_transports_together_keep_to_the_limit() -> None:
    assert wanted(Long(), 50, in_core=1960) == 40
    assert wanted(Long(), 50, in_core=2000) == 0


def test_the_fullest_pool_of_a_message_s_transports_counts() -> None:
    message = Long(transports={"smtp", "local"})
    assert wanted(message, 95) == 5, "local has room for enough, smtp for no more"


def test_a_job_in_front_gets_half_of_what_is_kept_for_those() -> None:
    scheduler = Scheduler(lambda name: LIMITS, 300.0)
    jobs = [Long("list", unread=0), Long("front", unread=1), Long("first", unread=0)]
    for message, entries in zip(jobs, (70, 9, 1), strict=True):
        # The ones in front cost nothing yet: a discount of 100 has all be paid later.
        scheduler.submit(message, "smtp", "a", "a", [BOB] * entries, 0.0)
        entry = scheduler.next(0.0)
        assert entry is not None
        scheduler.finished(entry, 0.0, True)
    held = 70 + 9 + 1 - 3
    rooms = [scheduler.room("smtp", message)[1] for message in jobs[:2]]
    assert rooms == [100 - held, 100 + 20 - held]


@pytest.mark.parametrize(("level", "extra"), [(0, 0), (1, 20), (2, 30), (3, 35)])
def test_those_in_front_of_them_get_half_of_the_rest(level: int, extra: int) -> None:
    scheduler = Scheduler(lambda name: LIMITS, 300.0)
    message = Long()
    scheduler.submit(message, "smtp", "a", "a", [BOB], 0.0)
    scheduler._transports["smtp"].jobs["long"].level = level
    assert scheduler.room("smtp", message)[1] == 100 + extra - 1


def test_tokens_run_out_while_mail_waits_and_come_back() -> None:
    tokens = FlowTokens(2)
    seen = []
    for step in "++++--+-":
        tokens.take() if step == "+" else tokens.give_back()
        seen.append(tokens.are_used_up)
    assert seen == [False, True, True, True, False, False, False, False]
    for _ in range(3):
        tokens.take()
    tokens.refill()
    assert not tokens.are_used_up


FAMILIES = {
    "initial_destination_concurrency": "7",
    "default_destination_concurrency_limit": "30",
    "default_destination_concurrency_positive_feedback": "1/concurrency",
    "default_destination_concurrency_negative_feedback": "0.5/sqrt_concurrency",
    "default_destination_concurrency_failed_cohort_limit": "10",
    "default_destination_recipient_limit": "8",
    "default_destination_rate_delay": "0",
    "default_transport_rate_delay": "0.25s",
    "default_delivery_slot_cost": "4",
    "default_delivery_slot_loan": "2",
    "default_delivery_slot_discount": "25",
    "default_minimum_delivery_slots": "6",
    "default_recipient_limit": "900",
    "default_extra_recipient_limit": "90",
    "default_recipient_refill_limit": "9",
    "default_recipient_refill_delay": "3s",
}
EXPECTED = TransportLimits(
    ConcurrencyLimits(7, 30, Feedback(1.0, Scale.CONCURRENCY), Feedback(0.5, Scale.SQRT_CONCURRENCY), 10),
    recipients=8,
    transport_delay=0.25,
    slots=SlotRules(4, 2, 25, 6),
    pool=RecipientPool(900, 90, 9, 3.0),
)


def families(prefix: str) -> dict[str, str]:
    if prefix == "default_":
        return FAMILIES
    return {prefix + name.removeprefix("default_"): value for name, value in FAMILIES.items()}


@pytest.mark.parametrize("prefix", ["default_", "slow_"])
def test_every_limit_has_its_form_for_all_transports_and_for_one(prefix: str) -> None:
    config = Config.from_values(families(prefix))
    assert transport_limits("slow", config.transport_value) == EXPECTED
    other = transport_limits("smtp", config.transport_value)
    assert (other == EXPECTED) is (prefix == "default_")


def test_a_rate_delay_means_one_delivery_at_a_time() -> None:
    config = Config.from_values({"slow_destination_rate_delay": "1.5s"})
    limits = transport_limits("slow", config.transport_value)
    assert (limits.concurrency.limit, limits.destination_delay) == (1, 1.5)
    scheduler = Scheduler(lambda name: limits, 300.0)
    assert scheduler.submit(Long("m", unread=0), "slow", "a", "a", [BOB] * 100, 0.0) == 2
    assert scheduler.next(0.0) is not None
    assert scheduler.next(0.0) is None


def told(main: str, folder: Path) -> list[str]:
    (folder / "main.cf").write_text(main)
    (folder / "master.cf").write_text("slow unix - - n - - smtp\nsmtp unix - - n - - smtp\n")
    return [str(problem) for problem in problems(Config.load(folder))]


@pytest.mark.parametrize("prefix", ["default_", "slow_", "smtp_"])
def test_a_check_knows_that_limits_of_transports_are_acted_on(prefix: str, tmp_path: Path) -> None:
    assert told("".join(f"{name} = {value}\n" for name, value in families(prefix).items()), tmp_path) == []


FOUND = [
    ("slow_destination_rate_delay = 250ms", 'found "250ms", expected a time such as 0.25s, 30s or 5m'),
    ("default_destination_rate_delay = 250ms", 'found "250ms", expected a time such as 0.25s, 30s or 5m'),
    ("smtp_recipient_limit = many", "'many': a number of 0 or more is expected"),
    ("slow_destination_concurrency_positive_feedback = 2", "'2': the feedback must be from 0 to 1"),
    ("default_destination_concurrency_negative_feedback = 3/2", "'3/2': the feedback must be from 0 to 1"),
]


@pytest.mark.parametrize(("line", "message"), FOUND)
def test_a_check_tells_of_limits_that_cannot_be_read(line: str, message: str, tmp_path: Path) -> None:
    name = line.partition(" ")[0]
    assert told(line + "\n", tmp_path) == [f"error: main.cf:1: {name}: {message}"]
