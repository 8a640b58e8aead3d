"""The replies of a server session that belong to no single command, in Postfix's words."""

from __future__ import annotations

from pymta.model.reply import Reply

GOODBYE = Reply.of(221, "Error: I can break rules, too. Goodbye.", "2.7.0")
NOT_RECOGNIZED = Reply.of(500, "Error: command not recognized", "5.5.2")
BAD_SYNTAX = Reply.of(500, "Error: bad syntax", "5.5.2")
BAD_UTF8 = Reply.of(500, "Error: bad UTF-8 syntax", "5.5.2")
UNSYNCHRONIZED = Reply.of(554, "Error: SMTP protocol synchronization", "5.5.0")
TLS_FIRST = Reply.of(530, "Must issue a STARTTLS command first", "5.7.0")
REWRITE_FAILED = Reply.of(451, "Temporary lookup failure", "4.3.0")


def softened(reply: Reply) -> Reply:
    """`soft_bounce`: the same, but to be tried again."""
    status = f"4{reply.status[1:]}" if reply.status else None
    return Reply(reply.code - 100, status, reply.lines)
