"""Destination concurrency: how many deliveries to one destination at once (postfix SCHEDULER_README).

Success opens the window by `positive(window)` at a time, failure closes it by `negative(window)`; either is collected
until it makes up a whole step.
"""

from __future__ import annotations

import math
from enum import Enum

from pymta.model.frozen import frozen

# Sums of 1/N carry rounding errors, and the limits they are compared with are whole numbers.
_EPSILON = 1e-9


class Scale(Enum):
    """What the feedback is divided by."""

    CONSTANT = ""
    CONCURRENCY = "concurrency"
    SQRT_CONCURRENCY = "sqrt_concurrency"


@frozen
class Feedback:
    """`number`, `number / number`, `number / concurrency` or `number / sqrt_concurrency`; from 0 to 1."""

    number: float
    scale: Scale = Scale.CONSTANT

    @classmethod
    def parse(cls, text: str) -> Feedback:
        """Read a `default_destination_concurrency_positive_feedback`. Raises ValueError, with the reason."""
        number, slash, divisor = (part.strip() for part in text.partition("/"))
        value = _number(text, number)
        scale = Scale.CONSTANT
        if slash and divisor in (Scale.CONCURRENCY.value, Scale.SQRT_CONCURRENCY.value):
            scale = Scale(divisor)
        elif slash:
            quotient = _number(text, divisor)
            if quotient <= 0:
                raise ValueError(f"{text!r}: the divisor must be above 0, concurrency or sqrt_concurrency")
            value /= quotient
        if not 0 <= value <= 1:
            raise ValueError(f"{text!r}: the feedback must be from 0 to 1")
        return cls(value, scale)

    def value(self, window: float) -> float:
        if self.scale is Scale.CONSTANT:
            return self.number
        return self.number / (window if self.scale is Scale.CONCURRENCY else math.sqrt(window))


def _number(whole: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(
            f"{whole!r}: number, number / number, number / concurrency or number / sqrt_concurrency expected"
        )
    return value


@frozen
class ConcurrencyLimits:
    """One transport's rules for its destinations. A `limit` of 0 is none, a `failed_cohorts` of 0 never gives up."""

    initial: int
    limit: int
    positive: Feedback
    negative: Feedback
    failed_cohorts: float


class Window:
    """One destination's concurrency window. `size` is at least 1, or 0 while the destination is dead."""

    __slots__ = ("_failed_cohorts", "_failure", "_limits", "_success", "size")

    def __init__(self, limits: ConcurrencyLimits) -> None:
        self._limits = limits
        self.size = self._initial()
        self._success = 0.0
        self._failure = 0.0
        self._failed_cohorts = 0.0

    def _initial(self) -> int:
        limit = self._limits.limit
        return min(self._limits.initial, limit) if limit else self._limits.initial

    def configure(self, limits: ConcurrencyLimits) -> None:
        """Other rules from now on; what was learnt stays, within the new limit."""
        self._limits = limits
        if limits.limit:
            self.size = min(self.size, limits.limit)

    @property
    def is_dead(self) -> bool:
        return self.size == 0

    def succeeded(self, busy: int) -> None:
        """A delivery worked while `busy` were under way, it included."""
        self._failed_cohorts = 0.0
        if self.is_dead:
            self.revive(busy)
            return
        limits = self._limits
        below_limit = limits.limit == 0 or self.size < limits.limit
        # A window far above what is in use could not be closed again by failures in time.
        if not below_limit or self.size >= busy + limits.initial:
            return
        gain = limits.positive.value(self.size)
        self._success += gain
        while self._success + gain / 2 >= 1:
            self.size += 1
            self._success -= 1
            self._failure = 0.0
        if limits.limit:
            self.size = min(self.size, limits.limit)

    def failed(self) -> bool:
        """A delivery found the destination out of order; whether that was one too many and it is dead now."""
        if self.is_dead:
            return False
        limits = self._limits
        self._failed_cohorts += 1.0 / self.size
        if limits.failed_cohorts and self._failed_cohorts >= limits.failed_cohorts - _EPSILON:
            self.size = 0
            return True
        loss = limits.negative.value(self.size)
        self._failure -= loss
        while self._failure - loss / 2 < 0:
            self.size -= 1
            self._success = 0.0
            self._failure += 1
        self.size = max(self.size, 1)
        return False

    def revive(self, busy: int = 0) -> None:
        """Give a dead destination another chance, with the concurrency it still has or the initial one."""
        if self.is_dead:
            self.size = busy or self._initial()
            self._success = self._failure = self._failed_cohorts = 0.0
