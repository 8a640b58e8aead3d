"""`sendmail`'s hand-over of one message: to the running program, else into the maildrop directory.

Most of what a message costs here is the start of the interpreter, so this module leaves `socket` and `json` alone,
whose imports (enum, re, selectors) would cost as much again; both stand on the modules of C that are used here.
"""

from __future__ import annotations

import _socket
import sys
from _json import encode_basestring

from pymta.cli.errors import CommandFailed, DaemonDown
from pymta.runtime.layout import CONTROL_SOCKET, FOLDER, MAILDROP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 600.0
_DONE = b'{"ok":true}\n'


def hand_over(queue_directory: str, record: Mapping[str, Any], content: Callable[[], Iterable[bytes]]) -> None:
    """Queue one message. `record` is that of a `Submission`, and may leave out what was not said.

    Raises CommandFailed where the message is refused for good, or could be put nowhere (then it is temporary).
    """
    root = f"{queue_directory}/{FOLDER}"
    try:
        submit(f"{root}/{CONTROL_SOCKET}", record, content())
        return
    except CommandFailed as refused:
        if not refused.temporary:
            raise
        reason = str(refused)
    except DaemonDown as down:
        reason = str(down)
    _drop(f"{root}/{MAILDROP}", record, content(), reason)


def _drop(maildrop: str, record: Mapping[str, Any], content: Iterable[bytes], reason: str) -> None:
    from pymta.pickup.drop import write_drop

    try:
        write_drop(maildrop, record, content)
    except OSError as error:
        text = f"{reason}; {maildrop}: {error.strerror}; the message is not queued"
        raise CommandFailed(text, temporary=True) from error
    sys.stderr.write("sendmail: warning: the mail system is down; the message waits for it\n")


def submit(path: str, record: Mapping[str, Any], content: Iterable[bytes]) -> None:
    """Have the program on the control socket at `path` queue a message. Raises DaemonDown or CommandFailed."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.settimeout(_CONNECT_SECONDS)
        connection.connect(path)
        connection.settimeout(_ANSWER_SECONDS)
        _send(connection, record, content)
        answer = _receive(connection)
    except OSError as error:
        raise DaemonDown(f"{path}: {error.strerror or error}") from error
    finally:
        connection.close()
    # One row with the reply, and the closing line; whatever else it may be is read with care.
    if not answer.endswith(b"\n" + _DONE):
        from pymta.cli.client import rows

        for _ in rows(path, answer.splitlines(keepends=True)):
            pass


def _send(connection: _socket.socket, record: Mapping[str, Any], content: Iterable[bytes]) -> None:
    request = f'{{"command":"submit","arguments":{_json_object(record)}}}\n'
    try:
        connection.sendall(request.encode())
        for chunk in content:
            connection.sendall(chunk)
        connection.shutdown(_socket.SHUT_WR)
    except (BrokenPipeError, ConnectionResetError):
        pass  # The server refused before it read everything; its answer says why.


def _receive(connection: _socket.socket) -> bytes:
    answer = b""
    while data := connection.recv(65536):
        answer += data
    return answer


def _json_object(record: Mapping[str, Any]) -> str:
    """A submission's record, which holds texts, lists of texts, truth and None."""
    return "{" + ",".join(f'"{name}":{_json(value)}' for name, value in record.items()) + "}"


def _json(value: Any) -> str:
    if isinstance(value, str):
        return encode_basestring(value.encode("utf-8", "replace").decode())
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    return f"[{','.join(map(_json, value))}]"
