"""The signatures of a message that streams through intake (docs/dkim.md)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pymta.auth.dkim_sign import Signer, Signing
from pymta.auth.dkim_sign_header import HeaderFields, split_fields
from pymta.auth.dkim_sign_rules import SigningProblem
from pymta.cleanup.replies import NOT_SIGNED
from pymta.dns.names import to_ascii
from pymta.model.reply import Reply
from pymta.ports import Log
from pymta.rewrite import parse_addresses

_LARGEST_HEADER = 1024 * 1024
_END_OF_HEADER = b"\r\n\r\n"
# `From: Joe Doe <joe@example.com>`: nothing that would have to be parsed. Whatever is not as plain is.
_PLAIN_ADDRESS = rb"[A-Za-z0-9_+=-]+(?:\.[A-Za-z0-9_+=-]+)*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*"
_PLAIN_AUTHOR = re.compile(rb"[!-9;-~]+: ?(?:[A-Za-z0-9 .'-]*<(%b)>|(%b))\r\n\Z" % (_PLAIN_ADDRESS, _PLAIN_ADDRESS))


class MessageSigner:
    """Looks at one message's content as it is stored, and has its signatures ready at the end.

    The header is kept until it is complete; of the body nothing is. `problem` says why the message cannot be signed
    whatever it is.
    """

    def __init__(self, signer: Signer, log: Log, queue_id: str, problem: str = "") -> None:
        self._signer = signer
        self._log = log
        self._queue_id = queue_id
        self._problem = problem
        self._header: bytearray | None = bytearray()
        self._signing: Signing | None = None
        self._failed = False

    def take(self, data: bytes) -> None:
        """Content, in order, in pieces of any size."""
        if self._header is not None:
            self._collect(self._header, data)
        elif self._signing is not None:
            self._signing.update(data)

    def finish(self) -> bytes | Reply:
        """The DKIM-Signature fields, none where nobody asked for one; or the reply, where the message has to wait."""
        if self._header is not None:
            self._begin(self._header)
        if self._failed:
            return NOT_SIGNED
        if self._signing is None:
            return b""
        for domain, selector in self._signing.names:
            self._log.info(f"{self._queue_id}: DKIM-Signature field added (s={selector}, d={domain})")
        return self._signing.finish()

    def _collect(self, header: bytearray, data: bytes) -> None:
        start = max(0, len(header) - len(_END_OF_HEADER) + 1)
        header += data
        # Content without a single field begins with the empty line.
        end = -2 if header.startswith(b"\r\n") else header.find(_END_OF_HEADER, start)
        if (end if end != -1 else len(header)) > _LARGEST_HEADER:
            self._problem = self._problem or f"the header is larger than {_LARGEST_HEADER} bytes"
            self._begin(header)
        elif end != -1:
            body = bytes(header[end + len(_END_OF_HEADER) :])
            self._begin(header[: end + 2])
            if self._signing is not None:
                self._signing.update(body)

    def _begin(self, header: bytearray) -> None:
        self._header = None
        try:
            self._signing = self._sign(split_fields(bytes(header)))
        except SigningProblem as problem:
            self._failed = self._signer.defers
            outcome = "deferred" if self._failed else "sent without a signature"
            self._log.warning(f"{self._queue_id}: DKIM: cannot sign: {problem}; message {outcome}")

    def _sign(self, fields: Sequence[bytes]) -> Signing | None:
        if self._problem:
            raise SigningProblem(self._problem)
        header = HeaderFields(fields)
        return self._signer.begin(header, _author(header, self._signer.policy.sender_headers))


def _author(header: HeaderFields, names: Sequence[str]) -> str:
    """The first address of the first field of `names` that is there, its domain in ASCII; empty for none."""
    raw = next((field for field in map(header.first, names) if field is not None), b":")
    if plain := _PLAIN_AUTHOR.match(raw):
        return (plain[1] or plain[2]).decode("ascii")
    value = raw.partition(b":")[2].replace(b"\r\n", b"").decode("utf-8", "replace")
    for address in parse_addresses(value):
        try:
            return f"{address.local_part}@{to_ascii(address.domain)}" if address.domain else ""
        except ValueError:
            return ""
    return ""
