"""Which mechanism a client uses with what a server offers, and its run (RFC 4422 3)."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Sequence
from dataclasses import field

from pymta.model.frozen import frozen
from pymta.protocol.sasl.cram import cram_md5_client
from pymta.protocol.sasl.mechanisms import known, permitted
from pymta.protocol.sasl.oauth import oauthbearer_client, xoauth2_client
from pymta.protocol.sasl.plain import login_client, plain_client
from pymta.protocol.sasl.scram import ScramError, scram_client

ClientSteps = Generator[bytes | None, bytes, None]

_WITH_PASSWORD = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "CRAM-MD5", "PLAIN", "LOGIN")
_WITH_TOKEN = ("OAUTHBEARER", "XOAUTH2")


@frozen
class Credentials:
    """Who logs in, with a password or (`is_token`) an OAuth 2 access token."""

    username: str
    secret: str = field(repr=False)
    is_token: bool = False


def choose(
    offered: Collection[str], options: Iterable[str], *, is_token: bool = False, can_bind: bool = False
) -> str | None:
    """The best mechanism that both sides have and `*_sasl_security_options` permit; the one that tells least wins."""
    ours = _WITH_TOKEN if is_token else _WITH_PASSWORD
    names = {name.upper() for name in offered}
    usable = [known(name) for name in ours if name in names and (can_bind or not name.endswith("-PLUS"))]
    allowed: Sequence[str] = [one.name for one in permitted(usable, options)]
    return allowed[0] if allowed else None


class ClientRun:
    """One attempt of a mechanism. `failure` tells why we gave up on a server, empty while we did not.

    `binding` is the channel's of type tls-server-end-point, empty where there is none; without -PLUS the server is
    told that we had one, so that it can tell when somebody took -PLUS out of its list.
    """

    def __init__(
        self, mechanism: str, credentials: Credentials, *, nonce: str = "", binding: bytes = b"", host: str = ""
    ) -> None:
        self.mechanism = mechanism
        self.failure = ""
        self._steps = _steps(mechanism, credentials, nonce, binding, host)
        self._needs_proof = mechanism.startswith("SCRAM-")
        self._responses = 0
        self.initial = next(self._steps)

    def respond(self, challenge: bytes) -> bytes | None:
        """What to say to a challenge; None to give up."""
        try:
            self._responses += 1
            return self._steps.send(challenge)
        except StopIteration:
            self.failure = "the server asks for more than the mechanism has"
        except ScramError as error:
            self.failure = str(error)
        return None

    @property
    def is_complete(self) -> bool:
        """Whether success is to be believed: a server that speaks SCRAM has to prove itself before."""
        return not self._needs_proof or self._responses >= 2


def _steps(mechanism: str, credentials: Credentials, nonce: str, binding: bytes, host: str) -> ClientSteps:
    name, secret = credentials.username, credentials.secret
    match mechanism:
        case "PLAIN":
            return plain_client(name, secret)
        case "LOGIN":
            return login_client(name, secret)
        case "CRAM-MD5":
            return cram_md5_client(name, secret)
        case "SCRAM-SHA-256":
            return scram_client(name, secret, nonce, could_bind=bool(binding))
        case "SCRAM-SHA-256-PLUS":
            return scram_client(name, secret, nonce, binding)
        case "XOAUTH2":
            return xoauth2_client(name, secret)
        case "OAUTHBEARER":
            return oauthbearer_client(name, secret, host)
    raise ValueError(f"no client for mechanism {mechanism}")
