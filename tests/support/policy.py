"""A policy daemon (SMTPD_POLICY_README) that writes down what it was asked and answers as a test wants."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Mapping
from types import TracebackType

Answer = Callable[[Mapping[str, str]], bytes | None]
"""From a request's attributes to what is sent back; None closes the connection."""


class PolicyServer:
    """Listens on 127.0.0.1:`port`. `requests` are as they came; `connections` counts."""

    def __init__(self, answer: Answer = lambda _: b"action=DUNNO\n\n") -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self.connections = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._open: list[socket.socket] = []

    def __enter__(self) -> PolicyServer:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in (self._socket, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.connections += 1
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        buffer = b""
        with contextlib.suppress(OSError, ValueError):
            while data := connection.recv(65536):
                buffer += data
                while b"\n\n" in buffer:
                    request, _, buffer = buffer.partition(b"\n\n")
                    self.requests.append(request)
                    answer = self.answer(attributes(request))
                    if answer is None:
                        connection.shutdown(socket.SHUT_RDWR)
                    else:
                        connection.sendall(answer)

    @property
    def stages(self) -> list[str]:
        return [attributes(request)["protocol_state"] for request in self.requests]


def attributes(request: bytes) -> dict[str, str]:
    return dict(line.split("=", 1) for line in request.decode().split("\n"))  # type: ignore[misc]


def comparable(request: bytes) -> str:
    """A request without what differs between two servers and sessions."""
    text = re.sub(r"(?m)^(client_port|server_port|queue_id|instance)=.+$", r"\1=SET", request.decode())
    return re.sub(r"(?m)^(compatibility_level|mail_version)=.*\n?", "", text).rstrip("\n")
