"""Server answers and enhanced status codes (RFC 5321 4.2, RFC 3463)."""

from __future__ import annotations

import re

from pymta.model.frozen import frozen

_STATUS = re.compile(r"([245])\.([0-9]{1,3})\.([0-9]{1,3})")
_LEADING_STATUS = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?:\s+|$)")


@frozen
class EnhancedStatus:
    """A status code `class.subject.detail` (RFC 3463 2)."""

    class_: int
    subject: int
    detail: int

    @classmethod
    def parse(cls, text: str) -> EnhancedStatus:
        """Read `5.7.1`; raises ValueError for anything else."""
        match = _STATUS.fullmatch(text)
        if not match:
            raise ValueError(f"not an enhanced status code: {text!r}")
        return cls(int(match[1]), int(match[2]), int(match[3]))

    def __str__(self) -> str:
        return f"{self.class_}.{self.subject}.{self.detail}"

    def with_class(self, class_: int) -> EnhancedStatus:
        """The same subject and detail under another class: `5.1.1` becomes `4.1.1`."""
        return EnhancedStatus(class_, self.subject, self.detail)


def split_status(text: str) -> tuple[str | None, str]:
    """Take a leading enhanced status off a reply text: `5.7.1 No` gives `("5.7.1", "No")`."""
    match = _LEADING_STATUS.match(text)
    return (match[1], text[match.end() :]) if match else (None, text)


@frozen
class Reply:
    """A server's answer: code, enhanced status (without one: `None`) and one or more lines of text.

    The status is repeated on every line, as RFC 2034 4 asks.
    """

    code: int
    status: str | None
    lines: tuple[str, ...]

    @classmethod
    def of(cls, code: int, text: str, status: str | None = None) -> Reply:
        """A reply with one line."""
        return cls(code, status, (text,))

    @classmethod
    def from_text(cls, text: str) -> Reply:
        """Read `550 5.1.1 User unknown`; raises ValueError where no code stands first."""
        if len(text) < 3 or not text[:3].isdecimal() or text[0] not in "2345":
            raise ValueError(f"not a reply: {text!r}")
        status, rest = split_status(text[3:].lstrip(" -"))
        return cls(int(text[:3]), status, (rest,))

    @property
    def is_positive(self) -> bool:
        return 200 <= self.code < 400

    @property
    def is_temporary(self) -> bool:
        return 400 <= self.code < 500

    @property
    def is_permanent(self) -> bool:
        return self.code >= 500

    @property
    def text(self) -> str:
        """The lines joined by a blank, without code and status."""
        return " ".join(self.lines)

    def __str__(self) -> str:
        """The reply on one line, as log lines and bounces show it."""
        head = f"{self.code} {self.status}" if self.status else str(self.code)
        return f"{head} {self.text}".rstrip()

    def encode(self) -> bytes:
        """The reply as it goes on the wire, every line ended by CRLF."""
        status = f"{self.status} " if self.status else ""
        *first, last = self.lines
        text = f"{self.code} {status}{last}\r\n"
        if first:
            text = "".join([f"{self.code}-{status}{line}\r\n" for line in first]) + text
        return text.encode("utf-8", "replace")
