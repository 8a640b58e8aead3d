"""Warnings about a destination that fills the active queue (postconf(5) qmgr_clog_warn_time)."""

from __future__ import annotations

from pymta.ports import Log
from pymta.qmgr.routing import Group
from pymta.qmgr.scheduler import Scheduler

_SHARE = 5


class Clog:
    """Warns when mail for one destination takes more than a fifth of what the active queue can hold.

    Once per `interval` seconds and destination; an interval of 0 turns the warnings off.
    """

    def __init__(self, active_limit: int, interval: float, log: Log) -> None:
        self._log = log
        self._warned: dict[tuple[str, str], float] = {}
        self.configure(active_limit, interval)

    def configure(self, active_limit: int, interval: float) -> None:
        self._limit = active_limit
        self._interval = interval

    def check(self, group: Group, scheduler: Scheduler, active: int, now: float) -> None:
        """Look at a destination that just got more; `active` is how many messages there are."""
        if not self._interval or active <= self._limit // _SHARE:
            return
        waiting, busy, window = scheduler.load(group.transport, group.name)
        place = group.transport, group.name
        if waiting + busy <= self._limit // _SHARE or now < self._warned.get(place, now):
            return
        self._warned = {key: when for key, when in self._warned.items() if when > now}
        self._warned[place] = now + self._interval
        warn = self._log.warning
        warn(f"mail for {group.nexthop} is using up {waiting + busy} of {active} active queue entries")
        if busy >= window:
            warn(f"you may need to increase the main.cf {group.transport}_destination_concurrency_limit from {window}")
        else:
            warn(f"you may need a separate master.cf transport for {group.nexthop}")
        warn("to turn off these warnings specify: qmgr_clog_warn_time = 0")
