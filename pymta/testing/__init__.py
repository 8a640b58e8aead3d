"""Fakes for tests of programs that embed pymta, and for our own."""

from pymta.testing.clock import ManualClock
from pymta.testing.log import RecordingLog
from pymta.testing.peer import Act, PeerMessage, ScriptedPeer
from pymta.testing.queue import FakeQueue
from pymta.testing.resolver import FakeResolver
from pymta.testing.spool import MemorySpool

__all__ = [
    "Act",
    "FakeQueue",
    "FakeResolver",
    "ManualClock",
    "MemorySpool",
    "PeerMessage",
    "RecordingLog",
    "ScriptedPeer",
]
