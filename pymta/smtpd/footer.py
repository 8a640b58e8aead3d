"""`smtpd_reject_footer`: what refusals say beyond their reason (postconf(5))."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from pymta.model.envelope import Client
from pymta.model.reply import Reply

_NAME = re.compile(r"\$(?:\$|\{([a-z_]+)\}|\(([a-z_]+)\)|([a-z_]+))")


def with_footer(reply: Reply, template: str, values: Mapping[str, str]) -> Reply:
    r"""`reply` with the footer: `\c` at its start goes on the last line, `\n` begins a new one."""
    text = template
    lines = list(reply.lines)
    if text.startswith(r"\c"):
        first, newline, text = text[2:].partition(r"\n")
        lines[-1] += _expand(first, values)
        if not newline:
            return Reply(reply.code, reply.status, tuple(lines))
    lines += [_expand(line, values) for line in text.split(r"\n")]
    return Reply(reply.code, reply.status, tuple(lines))


def _expand(text: str, values: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2] or match[3]
        return values.get(name, "") if name else "$"

    expanded = _NAME.sub(value, text)
    return "".join(character if character.isprintable() else "?" for character in expanded)


def footer_values(client: Client, now: float, *, server_name: str, sender: str, recipient: str) -> dict[str, str]:
    """The attributes that a footer may name."""
    return {
        "client": f"{client.name}[{client.address}]",
        "client_address": client.address,
        "client_name": client.name,
        "client_port": client.port,
        "helo_name": client.helo,
        "localtime": time.strftime("%b %d %H:%M:%S", time.localtime(now)),
        "protocol_name": client.protocol,
        "recipient": recipient,
        "reverse_client_name": client.reverse_name,
        "sender": sender,
        "server_address": client.server_address,
        "server_name": server_name,
        "server_port": client.server_port,
    }
