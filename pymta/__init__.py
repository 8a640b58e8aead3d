"""pymta: a mail transfer agent that reads Postfix's configuration, and a durable mail queue for your own program."""

from __future__ import annotations

__version__ = "0.1.0"
