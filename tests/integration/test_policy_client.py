"""The client of policy services against a daemon on loopback and on a unix socket."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from pymta.access.policy_service import PolicyService
from pymta.runtime.policy_client import CONNECTION_LIMIT, PolicyDaemons
from pymta.testing import RecordingLog

REQUEST = b"request=smtpd_access_policy\n\n"


class Daemon:
    """Answers `action=...` with its connection's number, after `delay` seconds."""

    def __init__(self, path: Path, delay: float = 0.0, answer: bytes = b"action=%d\n\n") -> None:
        self.path = path
        self.delay = delay
        self.answer = answer
        self.connections = 0

    async def __aenter__(self) -> Daemon:
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        try:
            while await reader.readuntil(b"\n\n"):
                await asyncio.sleep(self.delay)
                writer.write(self.answer % number if b"%d" in self.answer else self.answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


def _service(path: Path, **terms: object) -> PolicyService:
    service = PolicyService(f"unix:{path}", timeout=1.0, retry_delay=0.01)
    return replace(service, **terms)  # type: ignore[arg-type]


async def test_requests_of_one_message_share_a_connection(tmp_path: Path) -> None:
    async with Daemon(tmp_path / "s", delay=0.01) as daemon:
        daemons = PolicyDaemons(tmp_path, RecordingLog())
        service = _service(tmp_path / "s")

        async def message(instance: str) -> set[str | None]:
            return {await daemons.ask(service, REQUEST, instance) for _ in range(5)}

        found = await asyncio.gather(*(message(f"i{number}") for number in range(8)))
        assert all(len(one) == 1 for one in found)
        assert 1 < daemon.connections <= 8
        daemons.close()


async def test_connections_are_bounded(tmp_path: Path) -> None:
    async with Daemon(tmp_path / "s", delay=0.05) as daemon:
        daemons = PolicyDaemons(tmp_path, RecordingLog())
        service = _service(Path("s"), timeout=30.0)
        asked = [daemons.ask(service, REQUEST, f"i{number}") for number in range(3 * CONNECTION_LIMIT)]
        assert None not in await asyncio.gather(*asked)
        assert daemon.connections == CONNECTION_LIMIT
        daemons.close()


async def test_a_daemon_that_was_started_anew_is_asked_at_once(tmp_path: Path) -> None:
    log = RecordingLog()
    daemons = PolicyDaemons(tmp_path, log)
    service = _service(tmp_path / "s", request_limit=0, retry_delay=100.0)
    async with Daemon(tmp_path / "s"):
        assert await daemons.ask(service, REQUEST, "") == "1"
    (tmp_path / "s").unlink(missing_ok=True)
    async with Daemon(tmp_path / "s"):
        for link in daemons._services[service.endpoint]._links:
            assert link._writer is not None
            link._writer.transport.abort()
        assert await daemons.ask(service, REQUEST, "") == "1"
    assert log.lines == []
    daemons.close()


@pytest.mark.parametrize(
    "answer",
    [b"action=" + b"x" * 100_000 + b"\n\n", b"a=b\n" * 10_000, b"\xff\xfe\n\n", b"\n", b"action"],
)
async def test_garbage_is_no_answer_and_no_burden(tmp_path: Path, answer: bytes) -> None:
    log = RecordingLog()
    async with Daemon(tmp_path / "s", answer=answer):
        daemons = PolicyDaemons(tmp_path, log)
        assert await daemons.ask(_service(tmp_path / "s", timeout=0.3), REQUEST, "i") is None
        assert any("problem talking to server" in line for line in log.lines)
        daemons.close()


async def test_a_late_answer_is_not_the_next_one_s(tmp_path: Path) -> None:
    async with Daemon(tmp_path / "s", delay=0.2) as daemon:
        daemons = PolicyDaemons(tmp_path, RecordingLog())
        assert await daemons.ask(_service(tmp_path / "s", timeout=0.05, try_limit=1), REQUEST, "i") is None
        assert await daemons.ask(_service(tmp_path / "s"), REQUEST, "i") == "2"
        assert daemon.connections == 2
        daemons.close()
