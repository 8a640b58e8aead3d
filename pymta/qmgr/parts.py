"""What the parts of the queue manager share."""

from __future__ import annotations

from collections.abc import Callable

from pymta.model.frozen import frozen
from pymta.ports import Clock, DeliveryAgent, Log, Spool
from pymta.qmgr.active_queue import ActiveQueue
from pymta.qmgr.ahead import ReadAhead
from pymta.qmgr.scheduler import Scheduler
from pymta.qmgr.supply import Supply
from pymta.qmgr.work import Work
from pymta.spool.faults import Faults


@frozen(eq=False)
class Parts:
    """One queue manager's. `agents` gives the delivery agent of a transport, None where there is none."""

    spool: Spool
    scheduler: Scheduler
    supply: Supply
    active: ActiveQueue
    ahead: ReadAhead
    agents: Callable[[str], DeliveryAgent | None]
    work: Work
    clock: Clock
    log: Log
    faults: Faults
