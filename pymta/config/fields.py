"""Frozen settings classes from a configuration: field name = parameter name."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar, get_type_hints

from pymta.config import values
from pymta.config.registry import Parameter, parameter
from pymta.config.settings import Config

Settings = TypeVar("Settings")

_KINDS = {"str": str, "raw": str, "int": int, "bool": bool, "time": float, "delay": float}


def build(cls: type[Settings], config: Config) -> Settings:
    """Fill the dataclass `cls` from `config`. Raises ConfigError naming place, parameter, what was found and expected.

    Field types are `str`, `int`, `bool`, `float` (a time, in seconds) and `tuple[str, ...]` (a list). A parameter
    that the registry has as text may be an `int`, `bool` or `float` in the class: then it is read as one.
    """
    hints = get_type_hints(cls)
    filled: dict[str, Any] = {name: _field(hints[name], line, config) for name, line in _parameters(cls).items()}
    return cls(**filled)


def parameter_names(cls: type[Any]) -> frozenset[str]:
    """The parameters that a settings class acts on."""
    return frozenset(_parameters(cls).values())


def _parameters(cls: type[Any]) -> dict[str, str]:
    """Field to parameter. A field's metadata names one that is no name in Python (`2bounce_notice_recipient`)."""
    return {field.name: field.metadata.get("parameter", field.name) for field in fields(cls)}


def _field(kind: Any, name: str, config: Config) -> Any:
    line = parameter(name)
    if kind == tuple[str, ...]:
        value = config.parse(line, name)
        return tuple(values.split_list(str(value)))
    if kind is _KINDS[line.type]:
        return config.parse(line, name)
    if line.type == "str":
        return _read_as(kind, line, config)
    raise TypeError(f"{name} is a parameter of type {line.type}, its field is {kind}")


def _read_as(kind: Any, line: Parameter, config: Config) -> Any:
    text = config.text(line.name)
    try:
        if kind is bool:
            return values.parse_bool(text)
        if kind is int:
            return values.parse_int(text, line.minimum, line.maximum)
        if kind is float:
            return values.parse_time(text, line.default_unit)
    except ValueError as error:
        raise config.error(line.name, str(error)) from None
    raise TypeError(f"{line.name} cannot be a field of type {kind}")
