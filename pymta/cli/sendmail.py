"""`sendmail`: Sendmail's command line onto our queue, as sendmail(1) of Postfix reads it.

While the program runs, the message goes through its control socket; else it waits in the maildrop directory. Exit
statuses are those of sysexits.h. What sending needs is imported here, what other modes need where they begin: the
command starts for every message (docs/commands.md, "What a command costs").
"""

from __future__ import annotations

import os
import sys

from pymta.cli.errors import CommandFailed
from pymta.cli.handover import hand_over
from pymta.cli.places import queue_directory
from pymta.cli.sendmail_options import Invocation, UsageError, parse_arguments
from pymta.errors import PymtaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import IO

_MEMORY = 1 << 20
_CHUNK = 65536


class Message:
    """Text that is read once and handed over as often as it takes; beyond a megabyte in an unnamed file."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._file: IO[bytes] | None = None

    def write(self, data: bytes) -> None:
        self._size += len(data)
        if self._file is not None:
            self._file.write(data)
            return
        self._parts.append(data)
        if self._size > _MEMORY:
            from tempfile import TemporaryFile

            self._file = TemporaryFile()  # noqa: SIM115 - lives as long as the command
            self._file.writelines(self._parts)
            self._parts.clear()

    def chunks(self) -> Iterator[bytes]:
        """The text from its beginning."""
        if self._file is None:
            yield b"".join(self._parts)
            return
        self._file.seek(0)
        while chunk := self._file.read(_CHUNK):
            yield chunk


def read_message(stream: IO[bytes], *, dot_ends: bool) -> Message:
    """Standard input up to its end or, unless `-i` was given, up to a line that is a single dot."""
    message = Message()
    if not dot_ends:
        while chunk := stream.read(_CHUNK):
            message.write(chunk)
        return message
    at_line_start = True
    while line := stream.readline(_CHUNK):
        if at_line_start and line in (b".\n", b".\r\n", b"."):
            break
        message.write(line)
        at_line_start = line.endswith(b"\n")
    return message


def probe_message(sender: str, recipients: Sequence[str]) -> Message:
    """The message that `-bv` sends: nobody gets it, but its header is in the report."""
    fields = [*([f"From: {sender}"] if sender else []), "Subject: probe", "To: " + ",\n\t".join(recipients)]
    message = Message()
    message.write(("\n".join(fields) + "\n\n").encode("utf-8", "surrogateescape"))
    return message


def _send(invocation: Invocation) -> int:
    record = invocation.record
    if not record.get("full_name") and (name := os.environ.get("NAME")):
        record["full_name"] = name
    if not record["recipients"] and "extract" not in record:
        return _fail(os.EX_USAGE, "Recipient addresses must be specified on the command line or via the -t option")
    where = queue_directory(invocation.config)
    if invocation.mode == "m":
        message = read_message(sys.stdin.buffer, dot_ends=invocation.dot_ends)
    else:
        message = probe_message(_sender(record["sender"]), record["recipients"])
    try:
        hand_over(where, record, message.chunks)
    except CommandFailed as refused:
        status = os.EX_TEMPFAIL if refused.temporary else os.EX_UNAVAILABLE
        return _fail(os.EX_DATAERR if "too big" in str(refused) else status, str(refused))
    if "trace" in record:
        sys.stdout.write(f"Mail Delivery Status Report will be mailed to <{_sender(record['sender'])}>.\n")
    return os.EX_OK


def _sender(given: str | None) -> str:
    """The sender as the user knows it: the login name where none was given."""
    if given is not None:
        return given
    from pwd import getpwuid

    try:
        return getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _fail(status: int, text: str) -> int:
    sys.stderr.write(f"sendmail: fatal: {text}\n")
    return status


def _flush(invocation: Invocation) -> int:
    from pymta.cli.places import spool_places
    from pymta.cli.queue_requests import flush

    site = invocation.flush_site or None
    return flush(spool_places(invocation.config), "sendmail", queue_id=invocation.flush_id, site=site)


def _list(invocation: Invocation) -> int:
    from pymta.cli.postqueue import postqueue_main

    return postqueue_main([*_config(invocation), "-p"])


def _newaliases(invocation: Invocation) -> int:
    from pymta.cli.tables import newaliases_main

    return newaliases_main(_config(invocation))


def _dialogue(invocation: Invocation) -> int:
    from pymta.cli.stdio_smtp import serve

    return serve(invocation.config)


def _start(invocation: Invocation) -> int:
    from pymta.cli.main import main as pymta_main

    return pymta_main([*_config(invocation), "start"])


def _config(invocation: Invocation) -> list[str]:
    return ["-c", invocation.config] if invocation.config else []


_MODES: dict[str, Callable[[Invocation], int]] = {
    "m": _send,
    "v": _send,
    "q": _flush,
    "p": _list,
    "i": _newaliases,
    "s": _dialogue,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of the `sendmail` command; `mailq` and `newaliases` are its other names (sendmail(1))."""
    try:
        invocation = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    except UsageError as error:
        return _fail(os.EX_USAGE, str(error))
    name = os.path.basename(sys.argv[0]) if arguments is None else "sendmail"
    invocation.mode = {"mailq": "p", "newaliases": "i"}.get(name, invocation.mode)
    if invocation.verbose > 1 or (invocation.verbose and invocation.mode != "m"):
        invocation.warnings.append("-v: there is no verbose logging; the mail log has each delivery")
    for warning in invocation.warnings:
        sys.stderr.write(f"sendmail: warning: {warning}\n")
    try:
        return _MODES.get(invocation.mode, _start)(invocation)
    except PymtaError as error:
        return _fail(os.EX_CONFIG, str(error))
    except KeyboardInterrupt:
        return os.EX_TEMPFAIL
