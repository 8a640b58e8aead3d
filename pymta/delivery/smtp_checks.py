"""smtp_header_checks and its kin: content is looked at once more on its way out (postconf(5), header_checks(5))."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from pymta.checks.actions import CheckActions
from pymta.checks.content_checks import KINDS, CheckRules, ContentChecks, open_checks
from pymta.model.frozen import frozen
from pymta.ports import Content, Log
from pymta.tables import TableFactory

_PIECE = 16_384


@frozen
class SmtpCheckSettings:
    """smtp(8). Sizes are bytes; the last two have no prefix in main.cf."""

    smtp_header_checks: str
    smtp_mime_header_checks: str
    smtp_nested_header_checks: str
    smtp_body_checks: str
    line_length_limit: int
    header_size_limit: int


@frozen
class LmtpCheckSettings:
    """lmtp(8)."""

    lmtp_header_checks: str
    lmtp_mime_header_checks: str
    lmtp_nested_header_checks: str
    lmtp_body_checks: str
    line_length_limit: int
    header_size_limit: int


Checks = Callable[[Content, str], Content]
"""From a message's content, in the form that the server takes, and its queue id to what is sent."""


class CheckedContent:
    """`ports.Content` as checks leave it. `size` is that of the original, as Postfix says it.

    `chunks` raises TableError where a table cannot be asked, so that the delivery is put off.
    """

    data = None
    """Tables may have to be waited for."""

    def __init__(self, rules: CheckRules, log: Log, content: Content, queue_id: str) -> None:
        self._rules = rules
        self._log = log
        self._content = content
        self._queue_id = queue_id
        self.size = content.size

    async def chunks(self, limit: int = 65536) -> AsyncIterator[bytes]:
        checks = ContentChecks(self._rules, CheckActions(self._log, self._queue_id))
        async for chunk in self._content.chunks(min(limit, _PIECE)):
            if piece := await checks.take(chunk):
                yield piece
            # Tables that answer at once leave no room for others.
            await asyncio.sleep(0)
        if piece := await checks.finish():
            yield piece


def delivery_checks(settings: SmtpCheckSettings | LmtpCheckSettings, tables: TableFactory, log: Log) -> Checks | None:
    """The checks of one transport; None where it has none. Raises ConfigError."""
    prefix = "lmtp_" if isinstance(settings, LmtpCheckSettings) else "smtp_"
    maps = open_checks({kind: getattr(settings, prefix + kind) for kind in KINDS}, tables, prefix)
    if not maps:
        return None
    rules = CheckRules(maps, settings.line_length_limit, settings.header_size_limit, prefix=prefix)

    def checked(content: Content, queue_id: str) -> Content:
        return CheckedContent(rules, log, content, queue_id)

    return checked
