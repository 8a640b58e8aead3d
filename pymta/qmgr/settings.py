"""What the queue manager is set by (qmgr(8)); `config.build` fills QueueManagerSettings."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pymta.config.values import parse_delay, parse_time
from pymta.errors import ConfigError
from pymta.model.frozen import frozen
from pymta.qmgr.backoff import Backoff
from pymta.qmgr.feedback import ConcurrencyLimits, Feedback
from pymta.qmgr.scheduler import RecipientPool, SlotRules, TransportLimits

T = TypeVar("T")

# What `transport_limits` reads, as `<transport>_...`.
TRANSPORT_PARAMETERS = (
    "delivery_slot_cost",
    "delivery_slot_discount",
    "delivery_slot_loan",
    "destination_concurrency_failed_cohort_limit",
    "destination_concurrency_limit",
    "destination_concurrency_negative_feedback",
    "destination_concurrency_positive_feedback",
    "destination_rate_delay",
    "destination_recipient_limit",
    "extra_recipient_limit",
    "initial_destination_concurrency",
    "minimum_delivery_slots",
    "recipient_limit",
    "recipient_refill_delay",
    "recipient_refill_limit",
    "transport_rate_delay",
)


@frozen
class QueueManagerSettings:
    """Parameters that hold for every transport."""

    minimal_backoff_time: float
    maximal_backoff_time: float
    maximal_queue_lifetime: float
    bounce_queue_lifetime: float
    delay_warning_time: float
    queue_run_delay: float
    transport_retry_time: float
    qmgr_message_active_limit: int
    qmgr_message_recipient_limit: int
    qmgr_message_recipient_minimum: int
    qmgr_clog_warn_time: float
    default_process_limit: int
    confirm_delay_cleared: bool
    in_flow_delay: float
    delay_logging_resolution_limit: int
    defer_transports: tuple[str, ...]
    soft_bounce: bool
    default_filter_nexthop: str
    recipient_delimiter: str

    @property
    def backoff(self) -> Backoff:
        return Backoff(
            minimal=self.minimal_backoff_time,
            maximal=self.maximal_backoff_time,
            lifetime=self.maximal_queue_lifetime,
            bounce_lifetime=self.bounce_queue_lifetime,
            warning=self.delay_warning_time,
        )


def transport_limits(name: str, value: Callable[[str, str], str], processes: int = 0) -> TransportLimits:
    """One transport's rules, from `<name>_X` or `default_X` as `value(name, X)` gives them (`Config.transport_value`).

    `processes` is master.cf's maxproc, 0 for no limit. Raises ConfigError.
    """

    def number(parameter: str) -> int:
        text = value(name, parameter)
        if not text.isdecimal():
            raise ConfigError(f"{text!r}: a number of 0 or more is expected", name=f"{name}_{parameter}")
        return int(text)

    def parsed(parse: Callable[[str], T], parameter: str) -> T:
        try:
            return parse(value(name, parameter))
        except ValueError as error:
            raise ConfigError(str(error), name=f"{name}_{parameter}") from error

    destination_delay = parsed(parse_delay, "destination_rate_delay")
    limit = number("destination_concurrency_limit")
    concurrency = ConcurrencyLimits(
        initial=max(1, number("initial_destination_concurrency")),
        # One delivery at a time, so that one that fails is a whole cohort.
        limit=1 if destination_delay else limit,
        positive=parsed(Feedback.parse, "destination_concurrency_positive_feedback"),
        negative=parsed(Feedback.parse, "destination_concurrency_negative_feedback"),
        failed_cohorts=number("destination_concurrency_failed_cohort_limit"),
    )
    return TransportLimits(
        concurrency=concurrency,
        recipients=number("destination_recipient_limit"),
        processes=processes,
        destination_delay=destination_delay,
        transport_delay=parsed(parse_delay, "transport_rate_delay"),
        slots=SlotRules(
            cost=number("delivery_slot_cost"),
            loan=number("delivery_slot_loan"),
            discount=min(100, number("delivery_slot_discount")),
            minimum=number("minimum_delivery_slots"),
        ),
        pool=RecipientPool(
            limit=number("recipient_limit"),
            extra=number("extra_recipient_limit"),
            refill_limit=max(1, number("recipient_refill_limit")),
            refill_delay=parsed(parse_time, "recipient_refill_delay"),
        ),
    )
