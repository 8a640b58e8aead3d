"""The one door into the queue: headers completed, envelopes expanded (cleanup(8))."""

from pymta.cleanup.clients import LocalClients
from pymta.cleanup.service import Cleanup
from pymta.cleanup.settings import CleanupSettings

__all__ = ["Cleanup", "CleanupSettings", "LocalClients"]
