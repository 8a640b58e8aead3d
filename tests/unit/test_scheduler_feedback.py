"""Concurrency windows against tables computed by hand from the formulas of Postfix's qmgr."""

import pytest

from pymta.errors import ConfigError
from pymta.qmgr.feedback import ConcurrencyLimits, Feedback, Scale, Window
from pymta.qmgr.settings import transport_limits


def window(
    *, initial: int = 5, limit: int = 20, positive: str = "1", negative: str = "1", cohorts: float = 1
) -> Window:
    return Window(ConcurrencyLimits(initial, limit, Feedback.parse(positive), Feedback.parse(negative), cohorts))


def run(subject: Window, events: str, busy: int = 20) -> list[int]:
    """Window sizes after each event, `+` or `-`."""
    sizes = []
    for event in events:
        if event == "+":
            subject.succeeded(busy)
        else:
            subject.failed()
        sizes.append(subject.size)
    return sizes


CURVES = [
    ({}, "+++", [6, 7, 8]),
    # The first failure takes two steps (the count goes from 0 to -1, and half a step is kept), later ones take one.
    ({"cohorts": 0}, "------", [3, 2, 1, 1, 1, 1]),
    # 1/5 + 1/3 + 1/2 is above one cohort, 1/5 + 1/3 is not; two cohorts take another 1/1.
    ({}, "---", [3, 2, 0]),
    ({"cohorts": 2}, "----", [3, 2, 1, 0]),
    # A success between failures makes the count of cohorts begin anew.
    ({}, "--+--", [3, 2, 3, 1, 0]),
    ({"initial": 1}, "-", [0]),
    ({"initial": 1, "cohorts": 3}, "---", [1, 1, 0]),
    ({"initial": 30}, "", []),
    ({"limit": 7}, "++++", [6, 7, 7, 7]),
    ({"limit": 0}, "+" * 16, list(range(6, 22))),
    # 1/concurrency: 1/5 five times, and the last half step counts as whole; then 1/6 ...
    ({"positive": "1/concurrency"}, "+++++", [5, 5, 5, 5, 6]),
    ({"positive": "1/concurrency"}, "+" * 11, [5, 5, 5, 5, 6, 6, 6, 6, 6, 6, 7]),
    ({"positive": "1/sqrt_concurrency"}, "+++++", [5, 6, 6, 6, 7]),
    ({"positive": "1 / 2"}, "++++", [5, 6, 6, 7]),
    ({"positive": "0"}, "++++", [5, 5, 5, 5]),
    # The first loss takes the count below zero at once: 0 - 1/5; then 0.8 lasts for two losses of 1/4.
    ({"negative": "1/concurrency", "cohorts": 9}, "-" * 6, [4, 4, 4, 3, 3, 3]),
    ({"negative": "0.5", "cohorts": 9}, "-----", [4, 3, 3, 2, 2]),
    ({"negative": "0", "cohorts": 9}, "---", [5, 5, 5]),
]


@pytest.mark.parametrize(("limits", "events", "expected"), CURVES)
def test_window_follows_the_formulas(limits: dict[str, object], events: str, expected: list[int]) -> None:
    assert run(window(**limits), events) == expected  # type: ignore[arg-type]


def test_the_window_stays_near_what_is_in_use() -> None:
    assert run(window(), "++++", busy=1) == [6, 6, 6, 6]


@pytest.mark.parametrize(("busy", "expected"), [(0, 5), (3, 3)])
def test_a_dead_destination_comes_back_with_the_concurrency_it_has(busy: int, expected: int) -> None:
    subject = window()
    run(subject, "---")
    assert subject.is_dead
    assert subject.failed() is False
    subject.revive(busy)
    assert subject.size == expected and not subject.is_dead


def test_the_initial_concurrency_is_within_the_limit() -> None:
    assert window(initial=5, limit=2).size == 2


PARSED = [
    ("1", 1.0, Scale.CONSTANT),
    ("0.25", 0.25, Scale.CONSTANT),
    (" 1 / 8 ", 0.125, Scale.CONSTANT),
    ("2/8", 0.25, Scale.CONSTANT),
    ("0.1/0.5", 0.2, Scale.CONSTANT),
    ("1/concurrency", 1.0, Scale.CONCURRENCY),
    ("0.5 / sqrt_concurrency", 0.5, Scale.SQRT_CONCURRENCY),
]


@pytest.mark.parametrize(("text", "number", "scale"), PARSED)
def test_feedback_is_read(text: str, number: float, scale: Scale) -> None:
    assert Feedback.parse(text) == Feedback(number, scale)


@pytest.mark.parametrize(
    "text", ["", "x", "2", "-1", "1/", "1/0", "1/0.5", "1/-2", "2/concurrency", "1/x", "nan", "inf", "1/nan", "1 2"]
)
def test_feedback_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|must be"):
        Feedback.parse(text)


VALUES = {
    "initial_destination_concurrency": "5",
    "destination_concurrency_limit": "20",
    "destination_concurrency_positive_feedback": "1",
    "destination_concurrency_negative_feedback": "1",
    "destination_concurrency_failed_cohort_limit": "1",
    "destination_recipient_limit": "50",
    "destination_rate_delay": "0s",
    "transport_rate_delay": "0s",
    "delivery_slot_cost": "5",
    "delivery_slot_loan": "3",
    "delivery_slot_discount": "50",
    "minimum_delivery_slots": "3",
    "recipient_limit": "20000",
    "extra_recipient_limit": "1000",
    "recipient_refill_limit": "100",
    "recipient_refill_delay": "5s",
}


def test_transport_limits_are_read_with_their_units() -> None:
    values = VALUES | {"destination_rate_delay": "2m", "transport_rate_delay": "0.5"}
    limits = transport_limits("smtp", lambda name, parameter: values[parameter], 100)
    assert (limits.recipients, limits.processes, limits.destination_delay, limits.transport_delay) == (
        50,
        100,
        120,
        0.5,
    )


@pytest.mark.parametrize("parameter", sorted(VALUES))
@pytest.mark.parametrize("text", ["", "-1", "five", "1x"])
def test_a_limit_that_makes_no_sense_names_its_parameter(parameter: str, text: str) -> None:
    values = VALUES | {parameter: text}
    with pytest.raises(ConfigError, match=f"smtp_{parameter}"):
        transport_limits("smtp", lambda name, asked: values[asked])
