"""How many processes of which kind a configuration asks for (docs/processes.md)."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from pymta.app.plan import SMTP_COMMANDS, make_plan
from pymta.app.remote_kinds import MOST_SMTPD
from pymta.config import Config, build
from pymta.errors import ConfigError
from pymta.model.frozen import frozen

# A steady stream of mail has some five deliveries in hand; a queue that is worked off has as many as it may.
_OWN_DELIVERIES = 8


@frozen(kw_only=True)
class ProcessSettings:
    """docs/processes.md: `process_model` is `single` or `roles`; a count of 0 is one that fits the machine."""

    process_model: str
    smtpd_processes: int
    delivery_processes: int
    default_process_limit: int
    process_watchdog_time: float


def cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """How many processors we may keep busy: those we may run on, or what a container's quota is worth, rounded up."""
    there = len(os.sched_getaffinity(0))
    try:
        share, period = quota.read_text().split()
        return max(1, min(there, math.ceil(int(share) / int(period))))
    except (OSError, ValueError):
        # No control groups, or `max`: no quota.
        return there


def watchdog_seconds(config: Config) -> float:
    """After how long without a sign of life a process is killed; 0 for never."""
    return build(ProcessSettings, config).process_watchdog_time


def is_shared(config: Config) -> bool:
    """Whether the configuration asks for several processes; raises ConfigError for a word that says nothing."""
    model = build(ProcessSettings, config).process_model
    if model not in ("single", "roles"):
        raise ConfigError(f"{model!r} is neither single nor roles", name="process_model")
    return model == "roles"


def role_counts(config: Config, cores: int) -> tuple[int, int]:
    """How many smtpd and delivery processes: what is set, else by cores; never more than master.cf's limits.

    The queue manager keeps one core busy when three smtpd and two delivery processes do theirs: more are of no use
    where every message passes all three. Without delivery processes, with one core, it delivers itself.
    """
    settings = build(ProcessSettings, config)
    plan = make_plan(config)
    limit = settings.default_process_limit
    smtpd = [limit if one.maxproc is None else one.maxproc for one in plan.smtpd]
    smtp = [
        limit if one.maxproc is None else one.maxproc
        for one in plan.transports.values()
        if one.command in SMTP_COMMANDS
    ]
    return (
        max(1, _count(settings.smtpd_processes or min(max(1, cores // 2), 3), smtpd, MOST_SMTPD)),
        _count(settings.delivery_processes or (min(max(1, cores // 3), 2) if cores > 1 else 0), smtp, MOST_SMTPD),
    )


def own_deliveries(config: Config, cores: int) -> int:
    """How many SMTP deliveries at a time the queue manager makes itself before it has others make any.

    With two cores most mail is better not passed on; with more the queue manager has no time for it.
    """
    return _OWN_DELIVERIES if cores == 2 and not build(ProcessSettings, config).delivery_processes else 0


def _count(wanted: int, limits: Sequence[int], most: int) -> int:
    """At most what the most generous of the services allows; 0 is no limit."""
    allowed = most if 0 in limits else max(limits, default=1)
    return min(wanted, allowed, most)
