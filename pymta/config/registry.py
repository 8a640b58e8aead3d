"""Every known parameter: type, limits, default (parameters.tsv, one line each)."""

from __future__ import annotations

from functools import cache
from types import MappingProxyType
from typing import Literal

from pymta.config import values
from pymta.config.lines import read_text
from pymta.config.one import REGISTRY
from pymta.errors import ConfigError
from pymta.model.frozen import frozen

Kind = Literal["builtin", "service", "template", "legacy", "obsolete", "future", "readonly"]
Value = str | int | bool | float

_TEMPLATE = "transport_"


@frozen
class Parameter:
    """One line of the registry.

    `type` is `str`, `raw` (text whose `$` stay), `int`, `bool`, `time` or `delay` (that has fractions). Limits of
    zero are none; for text they are lengths. `kind` tells `builtin` parameters, which are Postfix's, from pymta's
    `own`, those of a transport (`service`, with `template` for all transports), old names that newer defaults still
    look at (`legacy`), names that nothing reads any more (`obsolete`), names of the next release (`future`) and
    those that cannot be set (`readonly`). `guard` says when it is unsafe to skip the parameter; see
    `pymta.config.checks`.
    """

    name: str
    type: str
    minimum: int
    maximum: int
    kind: str
    guard: str
    default: str

    def parse(self, text: str) -> Value:
        """The typed value of expanded `text`. Raises ValueError."""
        if self.type == "bool":
            return values.parse_bool(text)
        if self.type == "int":
            return values.parse_int(text, self.minimum, self.maximum)
        if self.type == "time":
            return values.parse_time(text, self.default_unit, self.minimum, self.maximum)
        if self.type == "delay":
            return values.parse_delay(text)
        return values.check_length(text, self.minimum, self.maximum)

    @property
    def default_unit(self) -> str:
        """The unit of a time without one: that of the default."""
        return self.default[-1] if self.default[-1:] in ("s", "m", "h", "d", "w") else "s"


@cache
def parameters() -> MappingProxyType[str, Parameter]:
    """All known parameters by name, in sorted order."""
    text = read_text(REGISTRY)
    found: dict[str, Parameter] = {}
    for line in text.splitlines()[1:]:
        name, type_, minimum, maximum, kind, guard, default = line.split("\t")
        found[name] = Parameter(name, type_, int(minimum), int(maximum), kind, guard, default)
    return MappingProxyType(found)


def parameter(name: str) -> Parameter:
    """The line for `name`. Raises ConfigError for a name that the registry does not have."""
    try:
        return parameters()[name]
    except KeyError:
        raise ConfigError("there is no parameter of this name", name=name) from None


def transport_parameter(transport: str, suffix: str) -> Parameter:
    """What `<transport>_<suffix>` is: its own line, else that of every transport."""
    own = parameters().get(f"{transport}_{suffix}")
    return own or parameter(_TEMPLATE + suffix)


@cache
def transport_suffixes() -> tuple[str, ...]:
    """The ends of the `<transport>_...` names that queue manager and delivery agents know."""
    return tuple(name[len(_TEMPLATE) :] for name, line in parameters().items() if line.kind == "template")
