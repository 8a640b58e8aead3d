"""An SMTP or LMTP server that does what a test tells it, right or wrong."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType


class Act(Enum):
    """What a peer may do instead of answering."""

    DROP = "close the connection"
    RESET = "reset the connection"
    SILENCE = "never answer"


Step = str | Act
Script = Mapping[str, Step | Sequence[Step]]

_DEFAULTS = {
    "GREETING": "220 peer.example ESMTP",
    "HELO": "250 peer.example",
    "MAIL": "250 2.1.0 Ok",
    "RCPT": "250 2.1.5 Ok",
    "DATA": "354 End data with <CR><LF>.<CR><LF>",
    ".": "250 2.0.0 Ok: queued as PEER",
    "RSET": "250 2.0.0 Ok",
    "NOOP": "250 2.0.0 Ok",
    "QUIT": "221 2.0.0 Bye",
}
_EXTENSIONS = ("PIPELINING", "SIZE 10240000", "ENHANCEDSTATUSCODES", "8BITMIME", "DSN", "SMTPUTF8")


@dataclass
class PeerMessage:
    """A message that the peer took; `content` has CRLF and no doubled dots."""

    mail: str
    rcpt: list[str] = field(default_factory=list)
    content: bytes = b""


class ScriptedPeer:
    """A server on a free port of loopback, or on the socket `path`.

    `script` maps a verb, `GREETING`, `BODY` (the first content) or `.` (the final dot) to a step or to a list of
    steps that are used up one by one; the last step of a list goes on for ever. A step is a reply, with lines
    separated by LF, or an `Act`. What is not in the script is answered as a well-meaning server would.

        async with ScriptedPeer({"RCPT": ["250 ok", "550 5.1.1 no such user"]}) as peer:
            ...  # connect to 127.0.0.1 peer.port
        assert peer.messages[0].rcpt == ["<a@example.com>"]
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        extensions: Sequence[str] = _EXTENSIONS,
        lmtp: bool = False,
        path: str | None = None,
    ) -> None:
        self.script = {
            verb: [steps] if isinstance(steps, str | Act) else list(steps) for verb, steps in (script or {}).items()
        }
        self.extensions = list(extensions)
        self.lmtp = lmtp
        self.path = path
        self.port = 0
        self.sessions = 0
        self.commands: list[str] = []
        self.messages: list[PeerMessage] = []
        self._used: defaultdict[str, int] = defaultdict(int)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def verbs(self) -> list[str]:
        return [command.split(" ")[0].split(":")[0].upper() for command in self.commands]

    async def __aenter__(self) -> ScriptedPeer:
        if self.path:
            self._server = await asyncio.start_unix_server(self._accept, self.path)
        else:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
            self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        self.sessions += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, _Dropped):
            await self._serve(reader, writer)
        writer.close()
        self._tasks.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._step("GREETING", writer)
        message: PeerMessage | None = None
        while True:
            line = (await reader.readuntil(b"\n")).decode("utf-8", "surrogateescape").rstrip("\r\n")
            self.commands.append(line)
            verb = line.split(" ")[0].split(":")[0].upper()
            reply = await self._step(verb, writer, _out_of_order(verb, message))
            if verb == "QUIT":
                return
            argument = line.partition(":")[2].strip()
            if verb in ("RSET", "EHLO", "HELO", "LHLO"):
                message = None
            elif verb == "MAIL" and reply.startswith("2"):
                message = PeerMessage(argument)
            elif verb == "RCPT" and reply.startswith("2"):
                # A script may accept a recipient of no message.
                message = message or PeerMessage("")
                message.rcpt.append(argument)
            elif verb == "DATA" and reply.startswith("354"):
                await self._take_content(reader, writer, message or PeerMessage(""))
                message = None

    async def _take_content(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: PeerMessage
    ) -> None:
        if "BODY" in self.script:
            await self._step("BODY", writer)
        lines: list[bytes] = []
        while (line := await reader.readuntil(b"\n")) != b".\r\n":
            lines.append(line.removeprefix(b"."))
        message.content = b"".join(lines)
        replies = [await self._step(".", writer) for _ in (message.rcpt if self.lmtp else [""])]
        if message.rcpt and any(reply.startswith("2") for reply in replies):
            self.messages.append(message)

    async def _step(self, verb: str, writer: asyncio.StreamWriter, otherwise: str = "") -> str:
        """Do the next step of the script for `verb`; without one, answer `otherwise` or as usual."""
        step = self._next_step(verb) if verb in self.script or not otherwise else otherwise
        if step is Act.RESET:
            writer.transport.abort()
            raise _Dropped
        if step is Act.DROP:
            raise _Dropped
        if step is Act.SILENCE:
            await asyncio.Event().wait()
        assert isinstance(step, str)
        writer.write(step.replace("\n", "\r\n").encode() + b"\r\n" if step else b"")
        await writer.drain()
        return step

    def _next_step(self, verb: str) -> Step:
        steps = self.script.get(verb)
        if steps:
            step = steps[min(self._used[verb], len(steps) - 1)]
            self._used[verb] += 1
            return step
        if verb in ("EHLO", "LHLO"):
            if self.lmtp != (verb == "LHLO"):
                return "500 5.5.1 Wrong protocol"
            lines = ["peer.example", *self.extensions]
            return "\n".join(f"250{' ' if line is lines[-1] else '-'}{line}" for line in lines)
        return _DEFAULTS.get(verb, "500 5.5.2 Command unrecognized")


def _out_of_order(verb: str, message: PeerMessage | None) -> str:
    if verb == "RCPT" and message is None:
        return "503 5.5.1 Error: need MAIL command"
    if verb == "DATA" and (message is None or not message.rcpt):
        return "554 5.5.1 Error: no valid recipients"
    return ""


class _Dropped(Exception):
    """The script ends the session."""
