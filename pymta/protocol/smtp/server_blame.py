"""What kind of error a refusal is, for the postmaster who wants to hear of some (postconf(5) notify_classes)."""

from __future__ import annotations

from pymta.model.reply import Reply

BOUNCE = "bounce"
DATA = "data"
POLICY = "policy"
PROTOCOL = "protocol"
RESOURCE = "resource"
SOFTWARE = "software"

KINDS = frozenset({BOUNCE, DATA, POLICY, PROTOCOL, RESOURCE, SOFTWARE})
"""The classes of errors that a session can have."""

_OWN_FAULTS = (
    ("Temporary lookup failure", RESOURCE),
    ("queue file write error", RESOURCE),
    ("Server configuration error", SOFTWARE),
)


def own_kind(reply: Reply) -> str:
    """What a reply says of itself, whoever gave it; empty for nothing."""
    if reply.code == 552:
        # What MAIL announced is refused by a rule; what came all the same would have bounced.
        return POLICY if "fixed limit" in reply.lines[0] else BOUNCE
    # By their words: a rule may give the same code and status (`retry:4.3.0 later` in transport_maps).
    return next((kind for words, kind in _OWN_FAULTS if reply.code == 451 and reply.lines[0].endswith(words)), "")


def kind_of_decision(reply: Reply) -> str:
    """Mail to nobody is a bounce that did not have to be sent."""
    return BOUNCE if reply.status and reply.status.endswith(".1.1") else POLICY
