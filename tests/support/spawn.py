"""spawn(8) for tests: a command per connection, which speaks on its standard input and output."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping


@contextlib.contextmanager
def spawned(*command: str, environment: Mapping[str, str]) -> Iterator[int]:
    """The port that leads to `command`; what was started is ended."""
    listener = socket.create_server(("127.0.0.1", 0))
    processes: list[subprocess.Popen[bytes]] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    variables = {**os.environ, **environment}
                    processes.append(subprocess.Popen(command, stdin=connection, stdout=connection, env=variables))

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for process in processes:
            process.terminate()
            process.wait(10)
