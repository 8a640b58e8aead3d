"""`pymta-doctor` on a running host: its ports, and another server's, on loopback."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from pymta.cli import doctor_host
from pymta.cli.doctor import main
from pymta.cli.doctor_subject import Subject
from pymta.config import Config
from pymta.testing import FakeResolver
from tests.support.peers import free_port
from tests.support.system import PymtaSystem
from tests.support.tls import server_pair

Start = Callable[..., PymtaSystem]


@contextlib.asynccontextmanager
async def server(greeting: bytes) -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await reader.read(1)
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


async def outbound(target: str) -> tuple[str, str]:
    subject = Subject("example.com", "mail.example.com", (), FakeResolver())
    finding = (await doctor_host.check_outbound(subject, target))[0]
    return finding.health.value, finding.found


async def test_a_server_that_greets() -> None:
    async with server(b"220 mx.example.org ESMTP\r\n") as port:
        assert (await outbound(f"[127.0.0.1]:{port}"))[0] == "ok"


@pytest.mark.parametrize("greeting", [b"554 no\r\n", b"", b"\x00" * 5000, b"220"])
async def test_servers_that_do_not(greeting: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_host, "_CONNECT_SECONDS", 1.0)
    async with server(greeting) as port:
        health, found = await outbound(f"[127.0.0.1]:{port}")
    assert health == "problem", found


async def test_a_port_that_is_closed() -> None:
    health, found = await outbound(f"[127.0.0.1]:{free_port()}")
    assert health == "problem"
    assert "cannot be reached" in found


async def test_a_server_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_host, "_CONNECT_SECONDS", 0.2)
    async with server(b"") as port:
        health, found = await outbound(f"[127.0.0.1]:{port}")
    assert (health, "no answer in time" in found) == ("problem", True)


async def test_no_server_is_known() -> None:
    assert (await outbound("example.org"))[0] == "unknown"


async def test_nothing_listens_here() -> None:
    config = Config.from_values({"inet_interfaces": "127.0.0.1", "inet_protocols": "ipv4"})
    found = await doctor_host.check_listening(config)
    assert found[-1].found == "no service of master.cf listens there"


def test_a_running_host(pymta_system: Start, capsys: pytest.CaptureFixture[str]) -> None:
    system = pymta_system({"doctor_dns_blocklists": "", "doctor_outbound_probe": "", "mydestination": "example.com"})
    zones = {
        "example.com": {"MX": ["10 mail.example.com"], "TXT": ["v=spf1 mx -all"]},
        "mail.example.com": {"A": ["192.0.2.1"]},
        "192.0.2.1": {"PTR": ["mail.example.com"]},
        "_dmarc.example.com": {"TXT": ["v=DMARC1; p=quarantine"]},
    }
    status = main(["example.com", "-c", str(system.config), "--address", "192.0.2.1"], FakeResolver(zones))
    report = capsys.readouterr().out
    assert f"  ok  port {system.port} in: 127.0.0.1 answers: 220 mail.example.com ESMTP" in report
    assert "  ok  open relay: mail from strangers for strangers is refused" in report
    assert "  ok  SPF for 192.0.2.1: pass" in report
    assert " BAD  DKIM: no key is configured for example.com" in report
    assert status == 1


def test_a_port_with_tls_from_the_first_byte(
    pymta_system: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chain = tmp_path / "chain.pem"
    chain.write_text(server_pair("mail.example.com").text)
    chain.chmod(0o644)
    port = free_port()
    wrapped = f"127.0.0.1:{port} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes -o smtpd_tls_chain_files={chain}"
    system = pymta_system({"doctor_dns_blocklists": "", "doctor_outbound_probe": ""}, services=(wrapped,))
    main(["example.com", "-c", str(system.config), "--address", "192.0.2.1"], FakeResolver())
    report = capsys.readouterr().out
    assert f"  ok  port {port} in: 127.0.0.1 answers inside TLS: 220 mail.example.com ESMTP" in report


async def test_a_port_that_should_speak_tls_and_does_not() -> None:
    async with server(b"220 plain.example.com ESMTP\r\n") as port:
        finding = await doctor_host._check_port("submissions", "127.0.0.1", port, wrapped=True)
    assert finding.health.value == "problem"
    assert "does not speak TLS" in finding.found
    assert "smtpd_tls_chain_files" in finding.fix
