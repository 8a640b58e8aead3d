"""What a server session needs to know; every field is the parameter of its name (postconf(5))."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from enum import Enum

from pymta.model.frozen import frozen
from pymta.model.reply import Reply
from pymta.protocol.smtp.grammar import PathRules

_EXTENSIONS = ("ENHANCEDSTATUSCODES", "8BITMIME", "DSN")


class BareNewline(Enum):
    """`smtpd_forbid_bare_newline`."""

    NO = "no"
    NORMALIZE = "normalize"
    REJECT = "reject"
    NOTE = "note"

    @property
    def wants_standard_end(self) -> bool:
        return self is not BareNewline.NO


@frozen
class ServerOptions:
    """Settings of one session. Sizes are bytes, times seconds.

    `starttls` tells that STARTTLS is offered, `enforce_tls` that mail needs it; with `tls_wrapper` TLS comes before
    the greeting. `require_client_certificate` ends those of clients
    without a trusted certificate. `log_tls` and `log_peer_certificate` are what `smtpd_tls_loglevel` asks for.
    `discarded_keywords` are EHLO keywords in upper case that are neither announced nor, for DSN and CHUNKING,
    obeyed. `classified_verbs` tells that `smtpd_noop_commands` is not empty, so that every verb is asked about.
    With `filters_commands`, every command is asked about before it is read.
    `counted_verbs` are commands that a client may send only so often: each is asked about before it is looked at.
    """

    myhostname: str = "localhost"
    banner: str = "localhost ESMTP Postfix"
    message_size_limit: int = 10240000
    line_length_limit: int = 2048
    discarded_keywords: frozenset[str] = frozenset()
    counted_verbs: frozenset[str] = frozenset()
    disable_vrfy_command: bool = False
    helo_required: bool = False
    forbid_bare_newline: BareNewline = BareNewline.NORMALIZE
    forbid_bare_newline_reject_code: int = 550
    forbid_unauth_pipelining: bool = True
    recipient_limit: int = 1000
    recipient_overshoot_limit: int = 1000
    soft_error_limit: int = 10
    hard_error_limit: int = 20
    junk_command_limit: int = 100
    error_sleep_time: float = 1.0
    soft_bounce: bool = False
    smtputf8_enable: bool = True
    strict_smtputf8: bool = False
    reject_footer: str = ""
    classified_verbs: bool = False
    filters_commands: bool = False
    starttls: bool = False
    enforce_tls: bool = False
    tls_wrapper: bool = False
    require_client_certificate: bool = False
    log_tls: bool = False
    log_peer_certificate: bool = False
    paths: PathRules = field(default_factory=PathRules)

    def offers(self, keyword: str) -> bool:
        return keyword not in self.discarded_keywords

    def ehlo_reply(self, security: Sequence[str] = ()) -> Reply:
        """The answer to EHLO; keywords in Postfix's order. `security` depends on the session: STARTTLS, AUTH."""
        vrfy = () if self.disable_vrfy_command else ("VRFY",)
        utf8 = ("SMTPUTF8",) if self.smtputf8_enable else ()
        size = f"SIZE {self.message_size_limit}" if self.message_size_limit else "SIZE"
        keywords = ("PIPELINING", size, *vrfy, "ETRN", *security, *_EXTENSIONS, *utf8, "CHUNKING")
        offered = [keyword for keyword in keywords if self.offers(keyword.partition(" ")[0])]
        return Reply(250, None, (self.myhostname, *offered))
