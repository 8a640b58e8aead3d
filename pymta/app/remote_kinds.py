"""What frames between our processes mean, and the socket they meet at (docs/processes.md)."""

from __future__ import annotations

from enum import IntEnum


class Kind(IntEnum):
    """A role says HELLO to the queue manager and is served from WELCOME on.

    ENQUEUE, OPENED, COUNTED and FLUSH ask, ANSWER answers; DELIVER asks a delivery role, RESULTS answers. CLOSED, HELD,
    HAPPENED and HOST are told.
    """

    HELLO = 1
    WELCOME = 2
    ANSWER = 3
    ENQUEUE = 4
    DELIVER = 5
    RESULTS = 6
    OPENED = 7
    CLOSED = 8
    HELD = 9
    FLUSH = 10
    COUNTED = 11
    HAPPENED = 12
    HOST = 13


SMTPD = "smtpd"
DELIVERY = "delivery"
# Ids of the spool's own process have slot 0, those of smtpd roles the others.
ID_SLOTS = 64
MOST_SMTPD = ID_SLOTS - 1
