"""The control dialogue between our commands and the running program: one JSON line per record.

The client sends one request line, then, for commands that carry a message, its content until it shuts its side
down. The server answers with any number of row lines and ends with exactly one closing line,
`{"ok": true}` or `{"ok": false, "error": "...", "temporary": bool}`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

REQUEST_LIMIT = 1 << 20
"""The longest request line in bytes. A longer list of queue ids is sent as several requests."""


class Request(NamedTuple):
    command: str
    arguments: Mapping[str, Any]


def format_record(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def format_request(request: Request) -> bytes:
    return format_record({"command": request.command, "arguments": request.arguments})


def parse_request(line: bytes) -> Request:
    """Read a request line from an untrusted client; raises ValueError."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError("the request is not a line of JSON") from error
    if not isinstance(value, dict) or not isinstance(value.get("command"), str):
        raise ValueError("the request names no command")
    arguments = value.get("arguments", {})
    if not isinstance(arguments, dict):
        raise ValueError("the arguments are not an object")
    return Request(value["command"], arguments)
