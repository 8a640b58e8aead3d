"""Start-up: who connects is served, however early; a port that is taken is told at once."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.system import REPOSITORY, PymtaSystem, eventually, roles

ROUNDS = int(os.environ.get("PYMTA_START_ROUNDS", "1"))
MODELS = ("single", "roles")


class EarlyClient(threading.Thread):
    """Connects over and over from before the start; what it was told, or how it was cut off."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.answers: list[bytes] = []
        self.refusals = 0
        self.ends = threading.Event()

    def run(self) -> None:
        while not self.ends.is_set():
            try:
                connection = socket.create_connection(("127.0.0.1", self.port), 20)
            except ConnectionRefusedError:
                self.refusals += 1
                time.sleep(0.002)
                continue
            self.answers.append(self._talk(connection))

    def _talk(self, connection: socket.socket) -> bytes:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(20)
            return connection.recv(1000)
        return b"cut off"


@contextlib.contextmanager
def hammering(port: int) -> Iterator[list[EarlyClient]]:
    clients = [EarlyClient(port) for _ in range(4)]
    for client in clients:
        client.start()
    try:
        yield clients
    finally:
        for client in clients:
            client.ends.set()
        for client in clients:
            client.join(25)


@pytest.mark.timeout(30 + 15 * ROUNDS)
@pytest.mark.parametrize("model", MODELS)
def test_who_connects_at_the_first_moment_is_served(tmp_path: Path, model: str) -> None:
    system = PymtaSystem(
        tmp_path / "early",
        {
            "process_model": model,
            "smtpd_processes": "2",
            "smtpd_client_connection_count_limit": "0",
        },
    )
    system.prepare()
    for _ in range(ROUNDS):
        with hammering(system.port) as clients:
            system.start()
            eventually(lambda: all(client.answers for client in clients))
        answers = [answer for client in clients for answer in client.answers]
        assert [answer for answer in answers if not answer.startswith(b"220 ")] == []
        system.stop()


@pytest.mark.parametrize("model", MODELS)
def test_a_start_in_the_background_returns_when_clients_are_served(tmp_path: Path, model: str) -> None:
    system = PymtaSystem(tmp_path / "background", {"process_model": model})
    system.prepare()
    done = _pymta(system, "start")
    try:
        assert done.returncode == 0, done.stderr
        system.send("root@example.com")
    finally:
        assert _pymta(system, "stop").returncode == 0


@pytest.mark.parametrize("model", MODELS)
def test_a_port_that_is_taken_is_told_at_once(tmp_path: Path, model: str) -> None:
    system = PymtaSystem(tmp_path / "taken", {"process_model": model})
    system.prepare()
    with socket.create_server(("127.0.0.1", system.port)):
        done = _pymta(system, "run")
    assert done.returncode == 1
    assert f"127.0.0.1:{system.port}: another program listens on port {system.port}" in done.stderr
    assert "process" not in system.log and not (system.folder / "spool" / "pymta" / "queue" / "queue.db").exists()


@pytest.mark.parametrize("role", ["qmgr", "delivery-1"])
def test_without_every_role_nobody_is_served(tmp_path: Path, role: str) -> None:
    """One role is stopped as soon as it is there: clients are refused until it goes on."""
    system = PymtaSystem(tmp_path / "held", {"process_model": "roles", "delivery_processes": "1"})
    system.prepare()
    system.process = subprocess.Popen(
        _command(system, "run"), cwd=REPOSITORY, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        eventually(lambda: role in roles(system))
        held = roles(system)[role]
        os.kill(held, signal.SIGSTOP)
        time.sleep(1.0)
        with pytest.raises(ConnectionRefusedError):
            system.smtp()
        os.kill(held, signal.SIGCONT)
        eventually(lambda: "daemon started" in system.log)
        system.send("root@example.com")
    finally:
        system.stop()


def _command(system: PymtaSystem, command: str) -> list[str]:
    return [sys.executable, "-m", "pymta.cli", "-c", str(system.config), command]


def _pymta(system: PymtaSystem, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(system, command), cwd=REPOSITORY, capture_output=True, text=True, timeout=30, check=False
    )
