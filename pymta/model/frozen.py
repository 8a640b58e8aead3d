"""Frozen values that are cheap to make: a message is some hundred of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform, overload

T = TypeVar("T")


def changed(value: T, **fields: object) -> T:
    """A copy of a value with some fields changed: `dataclasses.replace` at a third of its cost, for the hot path."""
    cls: Any = type(value)
    made: T = cls(*_reader(cls)(value))
    for name, new in fields.items():
        setattr(made, name, new)
    return made


@cache
def _reader(cls: Any) -> Callable[[object], tuple[object, ...]]:
    """What reads all fields of a class at once; `frozen` gives every class its slots, in the order of its fields."""
    return attrgetter(*cls.__slots__)


@overload
def frozen(cls: type[T], /) -> type[T]: ...
@overload
def frozen(*, kw_only: bool = False, eq: bool = True) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(
    cls: type[T] | None = None, /, *, kw_only: bool = False, eq: bool = True
) -> type[T] | Callable[[type[T]], type[T]]:
    """A dataclass with slots that nobody changes, compared and hashed by its fields.

    mypy refuses assignments, as with `dataclass(frozen=True)`. That one would check at run time too, and pay for it
    with an `object.__setattr__` per field: three times the cost of making a value (docs/performance.md).
    """
    make = dataclass(slots=True, kw_only=kw_only, eq=eq, unsafe_hash=eq)
    return make if cls is None else make(cls)
