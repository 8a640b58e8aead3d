"""The queue manager (qmgr(8))."""

from pymta.qmgr.admin import QueueAdmin
from pymta.qmgr.service import QueueManager
from pymta.qmgr.settings import QueueManagerSettings, transport_limits

__all__ = ["QueueAdmin", "QueueManager", "QueueManagerSettings", "transport_limits"]
