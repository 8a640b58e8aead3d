"""What was found out about who sent a message: SPF, DKIM, the client's name (RFC 7208, RFC 6376, RFC 8601)."""

from __future__ import annotations

from enum import Enum

from pymta.model.frozen import frozen


class Result(Enum):
    """The result words of RFC 8601 2.7; SPF knows no POLICY, DKIM no SOFTFAIL."""

    NONE = "none"
    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    SOFTFAIL = "softfail"
    POLICY = "policy"
    NEUTRAL = "neutral"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class SpfIdentity(Enum):
    """Which name was checked (RFC 7208 2.3, 2.4); the value is the word of Received-SPF."""

    HELO = "helo"
    MAIL_FROM = "mailfrom"


@frozen
class SpfResult:
    """One check_host() (RFC 7208 4).

    `sender` is the mailbox that was checked, `postmaster@HELO` for the HELO identity, `domain` its domain as DNS
    takes it. `mechanism` is the term that decided, empty where none did. `explanation` is the domain owner's text
    for a fail (RFC 7208 6.2), printable ASCII; `problem` says what was wrong with DNS or the record.
    """

    result: Result
    identity: SpfIdentity
    domain: str
    sender: str
    client_address: str
    helo: str
    mechanism: str = ""
    explanation: str = ""
    problem: str = ""


@frozen
class DkimResult:
    """One DKIM-Signature field, topmost first (RFC 6376 6.1).

    `domain`, `selector`, `identity` (i=) and `algorithm` are as the signature says, empty where it cannot be read;
    `signature` is b= without blanks. `key_bits` is 0 where no key was read. `signed_fields` are h= in lower case.
    `body_length` is the canonical body's size, `signed_length` how much of it l= covers: all of it where l= is
    absent. `testing` is the key's t=y. `reason` tells why the result is not a pass.
    """

    result: Result
    domain: str = ""
    selector: str = ""
    identity: str = ""
    algorithm: str = ""
    signature: str = ""
    key_bits: int = 0
    signed_fields: tuple[str, ...] = ()
    body_length: int = 0
    signed_length: int = 0
    testing: bool = False
    reason: str = ""

    @property
    def covers_body(self) -> bool:
        """Whether all of the body is signed."""
        return self.signed_length >= self.body_length


@frozen
class NameResult:
    """The client's address led to a name and back (iprev, RFC 8601 3)."""

    result: Result
    client_address: str
    name: str = ""


@frozen
class AuthenticationResults:
    """Every identity of one message that was checked. Empty tuples: not asked for, or nothing there to check.

    `authserv_id` is who says so. `checks_dkim` tells a message without signatures from one that nobody looked at.
    `author_fields` are the values of its From fields, unfolded, as they stand there; more than one is a forgery
    that DMARC has to know about.
    """

    authserv_id: str
    client_address: str
    helo: str = ""
    name: NameResult | None = None
    spf: tuple[SpfResult, ...] = ()
    checks_dkim: bool = False
    dkim: tuple[DkimResult, ...] = ()
    author_fields: tuple[str, ...] = ()

    @property
    def mail_from(self) -> SpfResult | None:
        """The SPF result that stands for the envelope: of MAIL FROM, of HELO for the null sender."""
        return next((one for one in self.spf if one.identity is SpfIdentity.MAIL_FROM), self.helo_result)

    @property
    def helo_result(self) -> SpfResult | None:
        return next((one for one in self.spf if one.identity is SpfIdentity.HELO), None)
