"""XFORWARD: tell a content filter or the MTA behind it who the client was (XFORWARD_README)."""

from __future__ import annotations

import re

from pymta.model.delivery import DeliveryRequest

_NOT_XTEXT = re.compile(rb"[^!-*,-<>-~]")


def xforward_commands(request: DeliveryRequest, parameters: str) -> tuple[bytes, bytes]:
    """The two commands, name and address first; each is empty where nothing of it is known or wanted.

    `parameters` are the attributes that the server listed with its XFORWARD keyword.
    """
    wanted = set(parameters.upper().split())
    client = request.client
    is_local = client.uid is not None or client.address in ("127.0.0.1", "::1")
    values = {
        "NAME": client.name,
        "ADDR": f"IPv6:{client.address}" if ":" in client.address else client.address,
        "PORT": client.port,
        "PROTO": client.protocol,
        "HELO": client.helo,
        "IDENT": request.queue_id,
        "SOURCE": "LOCAL" if is_local else "REMOTE",
    }
    known = {name: value for name, value in values.items() if name in wanted and value and value != "unknown"}
    return _command(known, "NAME", "ADDR", "PORT"), _command(known, "PROTO", "HELO", "IDENT", "SOURCE")


def _command(known: dict[str, str], *names: str) -> bytes:
    attributes = [b" %b=%b" % (name.encode(), _xtext(known[name])) for name in names if name in known]
    return b"XFORWARD" + b"".join(attributes) + b"\r\n" if attributes else b""


def _xtext(value: str) -> bytes:
    return _NOT_XTEXT.sub(lambda match: b"+%02X" % match[0][0], value.encode())
