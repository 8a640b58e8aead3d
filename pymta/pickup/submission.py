"""What `sendmail` hands over with a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymta.model.frozen import frozen

RECIPIENTS_LIMIT = 50_000
_TEXT_LIMIT = 4096


@frozen
class Submission:
    """One message's envelope as the user gave it, before any rewriting.

    `sender` is None for the caller's own login name and empty for the null sender. `recipients` are addresses in
    header form. With `extract` recipients come from To, Cc and Bcc (`-t`). `notify` is a comma list (`never`,
    `success,delay`), `ret` `full` or `hdrs`, `body` `7BIT` or `8BITMIME`, `trace` `report` or `verify`; empty means
    not said.
    """

    sender: str | None = None
    recipients: tuple[str, ...] = ()
    extract: bool = False
    full_name: str = ""
    notify: str = ""
    ret: str = ""
    envid: str = ""
    body: str = ""
    verp: str = ""
    trace: str = ""

    def to_record(self) -> dict[str, Any]:
        return {
            "sender": self.sender,
            "recipients": list(self.recipients),
            "extract": self.extract,
            "full_name": self.full_name,
            "notify": self.notify,
            "ret": self.ret,
            "envid": self.envid,
            "body": self.body,
            "verp": self.verp,
            "trace": self.trace,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Submission:
        """Read what an untrusted client sent; raises ValueError naming the field."""
        recipients = record.get("recipients", [])
        if not isinstance(recipients, list) or len(recipients) > RECIPIENTS_LIMIT:
            raise ValueError(f"recipients is not a list of at most {RECIPIENTS_LIMIT} addresses")
        return cls(
            sender=None if record.get("sender") is None else _text("sender", record["sender"]),
            recipients=tuple(_text("recipients", one) for one in recipients),
            extract=record.get("extract") is True,
            **{
                name: _text(name, record.get(name, ""))
                for name in ("full_name", "notify", "ret", "envid", "body", "verp", "trace")
            },
        )


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > _TEXT_LIMIT:
        raise ValueError(f"{name} is not a text of at most {_TEXT_LIMIT} characters")
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError(f"{name} has control characters in it")
    return value
