"""main.cf and master.cf: text -> raw -> expanded -> typed frozen settings (postconf(5), master(5)).

Names are loaded when they are first used: commands such as `sendmail` need few of them.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pymta.config.checks import Problem, Severity
    from pymta.config.fields import build, parameter_names
    from pymta.config.host import Host
    from pymta.config.mastercf import Service
    from pymta.config.registry import Parameter, parameters
    from pymta.config.settings import Config

_HOMES = {
    "Config": "pymta.config.settings",
    "Host": "pymta.config.host",
    "Parameter": "pymta.config.registry",
    "Problem": "pymta.config.checks",
    "Service": "pymta.config.mastercf",
    "Severity": "pymta.config.checks",
    "build": "pymta.config.fields",
    "parameter_names": "pymta.config.fields",
    "parameters": "pymta.config.registry",
}

__all__ = ["Config", "Host", "Parameter", "Problem", "Service", "Severity", "build", "parameter_names", "parameters"]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        from importlib import import_module

        value: object = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'pymta.config' has no attribute {name!r}")
