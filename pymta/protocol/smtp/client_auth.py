"""AUTH on the client's side (RFC 4954)."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass

from pymta.protocol.sasl.client import ClientRun
from pymta.protocol.smtp.client_capabilities import Capabilities
from pymta.protocol.smtp.client_events import Event, LoggedIn, LoginFailed
from pymta.protocol.smtp.client_replies import ServerReply

# RFC 4954 4: an initial response that would make the line longer waits for the server's empty challenge.
_LINE_LIMIT = 512
_MAX_CHALLENGES = 20


def offered_mechanisms(capabilities: Capabilities) -> tuple[str, ...]:
    """What the server's EHLO reply says behind AUTH, in upper case."""
    return tuple(capabilities.keywords.get("AUTH", "").upper().split())


@dataclass(slots=True)
class ClientAuth:
    """One AUTH command under way: `send` puts a line on the wire and expects the next reply here."""

    run: ClientRun
    send: Callable[[bytes], None]
    held: bytes | None = None
    challenges: int = 0

    def start(self) -> None:
        command = b"AUTH " + self.run.mechanism.encode()
        initial = self.run.initial
        if initial is not None:
            encoded = b64encode(initial) or b"="
            if len(command) + len(encoded) + 3 <= _LINE_LIMIT:
                command += b" " + encoded
            else:
                self.held = initial
        self.send(command)

    def take(self, reply: ServerReply) -> Event | None:
        """The outcome, or None where the exchange goes on."""
        if self.run.failure:
            # We said `*`; whatever the server makes of that, it is over.
            return LoginFailed(None, self.run.failure)
        if reply.code == 334:
            self._answer(reply)
            return None
        if reply.code == 235 and self.run.is_complete:
            return LoggedIn()
        if reply.code == 235:
            return LoginFailed(None, "the server did not prove that it knows the password")
        return LoginFailed(reply)

    def _answer(self, reply: ServerReply) -> None:
        self.challenges += 1
        response: bytes | None
        if self.held is not None:
            response, self.held = self.held, None
        else:
            response = self._respond(reply.text[4:].strip())
        self.send(b"*" if response is None else b64encode(response))

    def _respond(self, text: str) -> bytes | None:
        if self.challenges > _MAX_CHALLENGES:
            self.run.failure = "the server never stops asking"
            return None
        try:
            challenge = b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            if self.run.mechanism != "LOGIN":
                self.run.failure = "the server's challenge is not base64"
                return None
            # Some servers ask for name and password in clear; only the order counts.
            challenge = b""
        return self.run.respond(challenge)
