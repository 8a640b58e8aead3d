"""Envelope, recipients and the client that handed a message over (RFC 5321 2.3.1, RFC 3461)."""

from __future__ import annotations

from enum import Enum, Flag

from pymta.model.address import Address
from pymta.model.frozen import frozen


class Notify(Flag):
    """NOTIFY= of RCPT (RFC 3461 4.1). Without the parameter a recipient has `Notify.DEFAULT`."""

    DEFAULT = 0
    NEVER = 1
    SUCCESS = 2
    FAILURE = 4
    DELAY = 8

    # Members are one of a kind: no need for Enum's own, which hashes the name and is written in Python.
    __hash__ = object.__hash__


class Ret(Enum):
    """RET= of MAIL (RFC 3461 4.3): what a notice returns of the message."""

    FULL = "FULL"
    HDRS = "HDRS"


class Body(Enum):
    """BODY= of MAIL (RFC 6152)."""

    SEVEN_BIT = "7BIT"
    EIGHT_BIT_MIME = "8BITMIME"


class Trace(Enum):
    """Whether the first delivery attempt is reported to the sender: what `sendmail -v` and `-bv` ask for.

    VERIFY stops short of delivery: agents tell whether they could deliver (`DeliveryRequest.is_probe`).
    """

    NONE = ""
    REPORT = "report"
    VERIFY = "verify"


class Origin(Enum):
    """Through which door a message came; decides rewriting, filters and which headers are completed."""

    SMTP = "smtp"
    SENDMAIL = "sendmail"
    NOTICE = "notice"
    FORWARD = "forward"
    LIBRARY = "library"
    VERIFY = "verify"

    # Members are one of a kind: no need for Enum's own, which hashes the name and is written in Python.
    __hash__ = object.__hash__


@frozen
class Client:
    """Who connected to us and how; what restrictions, Received and delivered commands see.

    `name` is the verified host name or `unknown`; `reverse_name` the unverified PTR name or `unknown`.
    `name_status` and `reverse_name_status` are 2 (found), 4 (cannot know) or 5 (none, or it does not match).
    `port` is `unknown` where there is none. `protocol` is the word for Received (RFC 3848): SMTP, ESMTP, ESMTPS ...
    """

    address: str = "127.0.0.1"
    port: str = "unknown"
    name: str = "localhost"
    reverse_name: str = "localhost"
    name_status: int = 2
    reverse_name_status: int = 2
    helo: str = ""
    protocol: str = "SMTP"
    server_address: str = ""
    server_port: str = ""
    sasl_method: str = ""
    sasl_username: str = ""
    sasl_sender: str = ""
    uid: int | None = None
    tls: str = ""

    def __str__(self) -> str:
        """`NAME[ADDRESS]`, as log lines name a client."""
        return f"{self.name}[{self.address}]"


LOCAL_CLIENT = Client()


@frozen
class Recipient:
    """One accepted recipient.

    `address` is where it goes; `original` what the client said (X-Original-To). `orcpt` is the ORCPT
    parameter byte for byte (RFC 3461 4.2), empty without one.
    """

    address: Address
    original: Address
    notify: Notify = Notify.DEFAULT
    orcpt: str = ""


@frozen
class Envelope:
    """What MAIL and RCPT said. `envid` is byte for byte as it came; `size` is the client's SIZE= or None.

    `full_name` is the sender's name for a From header that is missing (`sendmail -F`), empty over SMTP.
    """

    sender: Address
    recipients: tuple[Recipient, ...] = ()
    body: Body | None = None
    smtputf8: bool = False
    envid: str = ""
    ret: Ret | None = None
    size: int | None = None
    verp: str = ""
    full_name: str = ""
    trace: Trace = Trace.NONE
