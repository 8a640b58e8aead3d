"""The blocking side of the control dialogue."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pymta.cli.errors import CommandFailed, DaemonDown
from pymta.protocol.control import Request, format_request

__all__ = ["CommandFailed", "DaemonDown", "call", "rows", "run"]

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 600.0


def call(
    path: Path, command: str, arguments: Mapping[str, Any], body: Iterable[bytes] = ()
) -> Iterator[dict[str, Any]]:
    """Send one command and yield its rows as they come; raises DaemonDown or CommandFailed."""
    connection = _connect(path)
    with connection, connection.makefile("rb") as answers:
        try:
            connection.sendall(format_request(Request(command, arguments)))
            for chunk in body:
                connection.sendall(chunk)
            connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # The server refused before it read everything; its answer says why.
        except OSError as error:
            raise DaemonDown(f"{path}: {error.strerror}") from error
        yield from rows(path, answers)


def _connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(_CONNECT_SECONDS)
        connection.connect(str(path))
    except OSError as error:
        connection.close()
        raise DaemonDown(f"{path}: {error.strerror or error}") from error
    connection.settimeout(_ANSWER_SECONDS)
    return connection


def rows(path: Path | str, answers: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Read an answer's lines, the closing one included. Raises DaemonDown or CommandFailed."""
    try:
        for line in answers:
            row = json.loads(line)
            if "ok" not in row:
                yield row
            elif row["ok"]:
                return
            else:
                raise CommandFailed(row.get("error", "refused"), temporary=bool(row.get("temporary")))
    except (OSError, ValueError) as error:
        raise DaemonDown(f"{path}: {error}") from error
    raise DaemonDown(f"{path}: the connection was closed in mid-answer")


def run(path: Path, command: str, arguments: Mapping[str, Any], body: Iterable[bytes] = ()) -> list[dict[str, Any]]:
    """`call` for commands with few rows."""
    return list(call(path, command, arguments, body))
