"""pymta: a mail transfer agent that reads Postfix's configuration, and a durable mail queue for your own program.

Names are loaded when they are first used: commands such as `sendmail` start for every message.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pymta.app import MTA, Settings, SubmitError
    from pymta.model.address import Address
    from pymta.model.envelope import Envelope
    from pymta.model.reply import Reply
    from pymta.ports import DeliveryAgent, Restriction, Table

__version__ = "0.1.0"

_HOMES = {
    "MTA": "pymta.app",
    "Settings": "pymta.app",
    "SubmitError": "pymta.app",
    "Address": "pymta.model.address",
    "Envelope": "pymta.model.envelope",
    "Reply": "pymta.model.reply",
    "DeliveryAgent": "pymta.ports",
    "Restriction": "pymta.ports",
    "Table": "pymta.ports",
}

__all__ = [
    "MTA",
    "Address",
    "DeliveryAgent",
    "Envelope",
    "Reply",
    "Restriction",
    "Settings",
    "SubmitError",
    "Table",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'pymta' has no attribute {name!r}")
