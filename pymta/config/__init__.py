"""main.cf and master.cf: text -> raw -> expanded -> typed frozen settings (postconf(5), master(5))."""

from pymta.config.build import build, parameter_names
from pymta.config.checks import Problem, Severity
from pymta.config.host import Host
from pymta.config.mastercf import Service
from pymta.config.registry import Parameter, parameters
from pymta.config.settings import Config

__all__ = ["Config", "Host", "Parameter", "Problem", "Service", "Severity", "build", "parameter_names", "parameters"]
