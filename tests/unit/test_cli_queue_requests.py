"""Whom queue commands ask: the program that runs, one that is about to, or the spool itself."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pymta.cli import queue_requests
from pymta.cli.client import DaemonDown
from pymta.cli.queue_requests import ask
from pymta.errors import SpoolLockedError
from pymta.runtime.places import SpoolPlaces
from pymta.spool.lock import SpoolLock
from pymta.spool.sqlite import Writer


@pytest.fixture
def where(tmp_path: Path) -> SpoolPlaces:
    """A spool without messages, of which nobody takes care."""
    places = SpoolPlaces.below(tmp_path)
    for folder in (places.queue, places.control_socket.parent):
        folder.mkdir(parents=True, exist_ok=True)
    Writer(places.queue / "queue.db").close()
    return places


@pytest.fixture
def lock(where: SpoolPlaces) -> Iterator[SpoolLock]:
    """Somebody has the spool."""
    held = SpoolLock(where.queue / "lock")
    held.acquire()
    yield held
    held.release()


def serve_once(path: Path, answer: bytes) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def serve() -> None:
        with server, server.accept()[0] as connection:
            connection.recv(65536)
            connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()


def test_a_spool_at_rest_is_read_at_once(where: SpoolPlaces) -> None:
    assert list(ask(where, "list", {})) == []


def test_a_program_that_is_starting_is_waited_for(where: SpoolPlaces, lock: SpoolLock) -> None:
    answer = b"".join(json.dumps(row).encode() + b"\n" for row in ({"queue_id": "A"}, {"ok": True}))
    start = threading.Timer(0.3, serve_once, (where.control_socket, answer))
    start.start()
    assert list(ask(where, "list", {})) == [{"queue_id": "A"}]
    start.join()


def test_another_command_on_the_spool_is_waited_for(where: SpoolPlaces, lock: SpoolLock) -> None:
    end = threading.Timer(0.3, lock.release)
    end.start()
    assert list(ask(where, "list", {})) == []
    end.join()


def test_who_holds_the_spool_and_never_answers_is_named(
    where: SpoolPlaces, lock: SpoolLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_requests, "_START_SECONDS", 0.2)
    with pytest.raises(SpoolLockedError, match="is in use by process"):
        list(ask(where, "list", {}))


def test_an_answer_that_breaks_off_does_not_begin_anew(where: SpoolPlaces) -> None:
    serve_once(where.control_socket, b'{"queue_id": "A"}\n')
    rows = ask(where, "list", {})
    assert next(rows) == {"queue_id": "A"}
    with pytest.raises(DaemonDown):
        next(rows)
