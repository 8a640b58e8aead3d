"""Dovecot's auth protocol against a service that says what a test wants (real ones: the integration tests)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pymta.auth.dovecot import DovecotAddress, DovecotSasl
from pymta.errors import AuthUnavailableError
from pymta.model.envelope import Client
from pymta.model.sasl import MechanismFlag, SaslChallenge, SaslFailure, SaslStep, SaslSuccess
from pymta.testing import RecordingLog

HELLO = b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tSCRAM-SHA-256\tmutual-auth\nSPID\t1\nCUID\t1\nCOOKIE\tx\nDONE\n"
CLIENT = Client(address="192.0.2.9", port="4711", server_address="192.0.2.1", server_port="587", tls="TLSv1.3")


class Service:
    """Answers each AUTH and CONT with the next of `answers`; ID in it becomes the request's."""

    def __init__(self, *answers: str, hello: bytes = HELLO) -> None:
        self.answers = list(answers)
        self.hello = hello
        self.heard: list[str] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(self.hello)
        while line := (await reader.readline()).decode().rstrip("\n"):
            self.heard.append(line)
            words = line.split("\t")
            if words[0] in ("AUTH", "CONT"):
                answer = self.answers.pop(0) if self.answers else "hang up"
                if answer == "hang up":
                    break
                if answer != "silence":
                    writer.write(answer.replace("ID", words[1]).encode() + b"\n")
        writer.close()


@contextlib.asynccontextmanager
async def connected(service: Service, folder: Path) -> AsyncIterator[tuple[DovecotSasl, RecordingLog]]:
    path, log = str(folder / "auth"), RecordingLog()
    server = await asyncio.start_unix_server(service.serve, path)
    sasl = DovecotSasl(DovecotAddress(path), log, timeout=0.5)
    try:
        yield sasl, log
    finally:
        sasl.close()
        server.close()


async def test_mechanisms_and_their_flags(tmp_path: Path) -> None:
    async with connected(Service(), tmp_path) as (sasl, _):
        found = {one.name: one.flags for one in await sasl.mechanisms()}
    assert found == {"PLAIN": MechanismFlag.PLAINTEXT, "SCRAM-SHA-256": MechanismFlag.MUTUAL_AUTH}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("OK\tID\tuser=joe", SaslSuccess("joe")),
        ("OK\tID\tuser=joe\tresp=x\tuserdb_y=z", SaslSuccess("joe")),
        ("OK\tID\tuser=a\x01tb", SaslSuccess("a\tb")),
        ("OK\tID", SaslFailure()),
        ("CONT\tID\tVXNlcm5hbWU6", SaslChallenge(b"Username:")),
        ("CONT\tID\t", SaslChallenge(b"")),
        ("FAIL\tID\tuser=joe", SaslFailure("", "joe")),
        ("FAIL\tID\tuser=joe\treason=account locked", SaslFailure("account locked", "joe")),
        ("FAIL\tID\tuser=joe\ttemp", SaslFailure("", "joe", is_temporary=True)),
        ("FAIL\tID\tuser=joe\tcode=temp_fail", SaslFailure("", "joe", is_temporary=True)),
    ],
)
async def test_answers(tmp_path: Path, answer: str, expected: SaslStep) -> None:
    async with connected(Service(answer), tmp_path) as (sasl, _):
        assert await sasl.begin("PLAIN", CLIENT).step(b"x") == expected


async def test_what_it_is_told(tmp_path: Path) -> None:
    service = Service("CONT\tID\tYQ==", "OK\tID\tuser=joe", "OK\tID\tuser=ann")
    async with connected(service, tmp_path) as (sasl, _):
        exchange = sasl.begin("login", CLIENT)
        await exchange.step(None)
        await exchange.step(b"joe")
        await sasl.begin("PLAIN", Client(address="192.0.2.9")).step(b"")
    assert service.connections == 1
    assert service.heard[0] == "VERSION\t1\t1"
    assert service.heard[1].startswith("CPID\t")
    assert service.heard[2:] == [
        "AUTH\t1\tLOGIN\tservice=smtp\tnologin\tlip=192.0.2.1\trip=192.0.2.9\tlport=587\trport=4711\tsecured",
        "CONT\t1\tam9l",
        "AUTH\t2\tPLAIN\tservice=smtp\tnologin\trip=192.0.2.9\tresp==",
    ]


@pytest.mark.parametrize("answer", ["hang up", "silence", "CONT\tID\t!!!"])
async def test_what_goes_wrong_is_temporary_and_the_next_login_works(tmp_path: Path, answer: str) -> None:
    service = Service(answer, "OK\tID\tuser=joe")
    async with connected(service, tmp_path) as (sasl, _):
        step = await sasl.begin("PLAIN", CLIENT).step(b"x")
        assert isinstance(step, SaslFailure)
        assert step.is_temporary
        assert await sasl.begin("PLAIN", CLIENT).step(b"x") == SaslSuccess("joe")


@pytest.mark.parametrize("hello", [b"", b"VERSION\t2\t0\nDONE\n", b"x" * 100_000, b"MECH\tPLAIN\n"])
async def test_who_is_no_auth_service(tmp_path: Path, hello: bytes) -> None:
    async with connected(Service(hello=hello), tmp_path) as (sasl, _):
        with pytest.raises(AuthUnavailableError, match="connect to Dovecot auth socket"):
            await sasl.mechanisms()


async def test_many_at_once_each_get_their_own_answer(tmp_path: Path) -> None:
    service = Service(*["OK\tID\tuser=ID"] * 50)
    async with connected(service, tmp_path) as (sasl, _):
        steps = await asyncio.gather(*(sasl.begin("PLAIN", CLIENT).step(b"x") for _ in range(50)))
    assert {step.username for step in steps if isinstance(step, SaslSuccess)} == {str(n) for n in range(1, 51)}
    assert service.connections == 1


async def test_a_cancelled_exchange_is_told(tmp_path: Path) -> None:
    service = Service("CONT\tID\t", "OK\tID\tuser=joe")
    async with connected(service, tmp_path) as (sasl, _):
        exchange = sasl.begin("PLAIN", CLIENT)
        await exchange.step(None)
        exchange.cancel()
        await sasl.begin("PLAIN", CLIENT).step(b"x")
    assert "CANCEL\t1" in service.heard
