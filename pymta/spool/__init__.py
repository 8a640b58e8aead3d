"""The durable queue: what is on disk, and nothing about when."""

from pymta.spool.store import SqliteSpool

__all__ = ["SqliteSpool"]
