"""What a server's side of a mechanism asks while it runs.

A mechanism is a generator: it yields a question and is sent the answer; it returns the user's name, or raises
`Denied`. Whoever runs it owns sockets, databases and time.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import field

from pymta.model.frozen import frozen


@frozen
class Ask:
    """Send `challenge` to the client. Answer: its response (bytes)."""

    challenge: bytes = b""


@frozen
class CheckPassword:
    """Is this the user's password? Answer: bool."""

    username: str
    password: str = field(repr=False)


@frozen
class FindSecret:
    """What is kept for this user? Answer: `Secret`, None where there is no such user.

    With `wants_scram` a secret that is a password comes with SCRAM keys made from it.
    """

    username: str
    wants_scram: bool = False


@frozen
class CheckToken:
    """Is this OAuth 2 access token good for this user (empty: tell who it is for)? Answer: the name, None if not."""

    username: str
    token: str = field(repr=False)


class Denied(Exception):
    """The client failed; the text may be told to it. `username` is whom it claimed to be, so far as known."""

    def __init__(self, reason: str = "", username: str = "") -> None:
        self.reason = reason
        self.username = username
        super().__init__(reason)


Question = Ask | CheckPassword | FindSecret | CheckToken
ServerExchange = Generator[Question, object, str]


@frozen
class ServerContext:
    """What a mechanism may need besides the client's words. `nonce` makes fresh printable randomness, no comma.

    `hostname` is our name. `salt_key` is a secret that stays the same while the program runs. `bindings` are the
    channel bindings of the session by type (`tls-server-end-point`, RFC 5929), empty where there is none.
    """

    nonce: Callable[[], str]
    hostname: str = "localhost"
    salt_key: bytes = field(default=b"", repr=False)
    bindings: Mapping[str, bytes] = field(default_factory=dict, repr=False)


def answer_bytes(value: object) -> bytes:
    """The client's response to an `Ask`."""
    assert isinstance(value, bytes), value
    return value


def decoded(value: bytes, username: str = "") -> str:
    """Text of a message; raises Denied for what is no UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise Denied("not UTF-8", username) from None
