"""Fakes for tests of programs that embed pymta, and for our own."""

from pymta.testing.clock import ManualClock
from pymta.testing.log import RecordingLog
from pymta.testing.resolver import FakeResolver
from pymta.testing.spool import MemorySpool

__all__ = ["FakeResolver", "ManualClock", "MemorySpool", "RecordingLog"]
