"""What the queue manager is set by (qmgr(8)); `config.build` fills QueueManagerSettings."""

from __future__ import annotations

from collections.abc import Callable

from pymta.errors import ConfigError
from pymta.model.frozen import frozen
from pymta.qmgr.backoff import Backoff
from pymta.qmgr.feedback import ConcurrencyLimits, Feedback
from pymta.qmgr.scheduler import RecipientPool, SlotRules, TransportLimits

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


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

    def delay(parameter: str) -> float:
        text = value(name, parameter).strip()
        amount, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "s")
        try:
            seconds = float(amount) * _UNITS[unit]
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds < 1e9:
            raise ConfigError(f"{text!r}: a time such as 2s is expected", name=f"{name}_{parameter}")
        return seconds

    def feedback(parameter: str) -> Feedback:
        try:
            return Feedback.parse(value(name, parameter))
        except ValueError as error:
            raise ConfigError(str(error), name=f"{name}_{parameter}") from error

    destination_delay = delay("destination_rate_delay")
    limit = number("destination_concurrency_limit")
    concurrency = ConcurrencyLimits(
        initial=max(1, number("initial_destination_concurrency")),
        # One delivery at a time, so that one that fails is a whole cohort.
        limit=1 if destination_delay else limit,
        positive=feedback("destination_concurrency_positive_feedback"),
        negative=feedback("destination_concurrency_negative_feedback"),
        failed_cohorts=number("destination_concurrency_failed_cohort_limit"),
    )
    return TransportLimits(
        concurrency=concurrency,
        recipients=number("destination_recipient_limit"),
        processes=processes,
        destination_delay=destination_delay,
        transport_delay=delay("transport_rate_delay"),
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
            refill_delay=delay("recipient_refill_delay"),
        ),
    )
