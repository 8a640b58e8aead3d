# ruff: noqa: E501 - tables of rows
"""Delivery over TLS: against our own server with every kind of certificate, and servers that fail at STARTTLS."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path
from typing import Any, cast

import pytest

from pymta.model.delivery import DeliveryResult, Outcome
from pymta.runtime.tls_certificate import parse_certificate
from pymta.tables import TableFactory
from pymta.testing import RecordingLog, ScriptedPeer
from tests.support.smtp_client import MESSAGE, request, tls_agent
from tests.support.smtpd import Running, running
from tests.support.tls import Pair, authority, deputy, lone_pair, server_pair

SENT, DEFERRED = Outcome.SENT, Outcome.DEFERRED
NOT_VERIFIED = ("4.7.5", "Server certificate not verified")
NOT_STARTED = ("4.7.5", "Cannot start TLS: handshake failure")
TRUST = {"smtp_tls_CAfile": str(authority().file)}
OLD = 0.0
NEW = {"arrival_time": time.time() + 3600}


def _server(pair: Pair, **values: Any) -> Any:
    files = {"smtpd_tls_cert_file": pair.certificate, "smtpd_tls_key_file": pair.key}
    return running(**{"smtpd_tls_security_level": "may", **files, **values})


async def _deliver(
    port: int, log: RecordingLog, maps: Any = None, about: dict[str, Any] | None = None, **parameters: str
) -> DeliveryResult:
    agent = tls_agent(log, maps=maps, **{"smtp_tls_loglevel": "1", **parameters})
    nexthop = f"[127.0.0.1]:{port}"
    try:
        (result,) = await agent.deliver(request(nexthop, "user@example.com", **(about or NEW)), MESSAGE)
    finally:
        agent.close()
    return result


def _mail(server: Running) -> list[bytes]:
    return [draft.content for draft in server.intake.committed]


@pytest.mark.parametrize(
    ("parameters", "pair", "standing"),
    [
        ({"smtp_tls_security_level": "may"}, lone_pair, "Untrusted"),
        ({"smtp_tls_security_level": "encrypt"}, lone_pair, "Untrusted"),
        ({"smtp_tls_security_level": "may", **TRUST}, server_pair, "Trusted"),
        ({"smtp_tls_security_level": "encrypt", **TRUST}, server_pair, "Trusted"),
        ({"smtp_tls_security_level": "verify", "smtp_tls_verify_cert_match": "mx.example.com", **TRUST}, server_pair, "Verified"),
        ({"smtp_tls_security_level": "secure", "smtp_tls_secure_cert_match": ".example.com", **TRUST}, server_pair, "Verified"),
    ],
)  # fmt: skip
async def test_delivered_and_how_well_the_server_is_known(parameters: dict[str, str], pair: Any, standing: str) -> None:
    log = RecordingLog()
    async with _server(pair()) as server:
        result = await _deliver(server.port, log, **parameters)
        assert result.outcome is SENT, result
        (mail,) = _mail(server)
        assert b"with ESMTPS id" in mail
        lines = [line for line in log.lines if "TLS connection established" in line]
        start = f"{standing} TLS connection established to 127.0.0.1[127.0.0.1]:{server.port}: TLSv1.3 with cipher "
        assert len(lines) == 1 and lines[0].startswith(start), lines


@pytest.mark.parametrize(
    ("parameters", "pair", "why"),
    [
        ({"smtp_tls_security_level": "verify", "smtp_tls_verify_cert_match": "other.example.com", **TRUST}, server_pair, "none of its names (mx.example.com)"),
        ({"smtp_tls_security_level": "verify", **TRUST}, server_pair, "none of its names (mx.example.com)"),
        ({"smtp_tls_security_level": "secure", **TRUST}, server_pair, "none of its names"),
        ({"smtp_tls_security_level": "verify", "smtp_tls_verify_cert_match": "lone.example.com", **TRUST}, lone_pair, "self-signed certificate"),
        ({"smtp_tls_security_level": "verify", "smtp_tls_verify_cert_match": "mx.example.com"}, server_pair, "unable to get local issuer"),
        ({"smtp_tls_security_level": "verify", "smtp_tls_verify_cert_match": "old.example.com", **TRUST}, lambda: authority().issue("old.example.com", days=-1), "certificate has expired"),
    ],
)  # fmt: skip
async def test_nothing_is_sent_to_the_wrong_server(parameters: dict[str, str], pair: Any, why: str) -> None:
    log = RecordingLog()
    async with _server(pair()) as server:
        for about in (NEW, {"arrival_time": OLD}):
            result = await _deliver(server.port, log, about=about, **parameters)
            assert (result.outcome, result.status, result.reason) == (DEFERRED, *NOT_VERIFIED)
        assert _mail(server) == []
    assert any(line.startswith("certificate verification failed for") and why in line for line in log.lines), log.lines


async def test_a_fingerprint_names_the_server_whoever_vouches_for_it() -> None:
    certificate = parse_certificate(lone_pair().der)
    wrong = {"smtp_tls_security_level": "fingerprint", "smtp_tls_fingerprint_cert_match": "AA:BB"}
    async with _server(lone_pair()) as server:
        for digest in (certificate.fingerprint("sha256"), certificate.public_key_fingerprint("sha256").lower()):
            right = {"smtp_tls_fingerprint_digest": "sha256", **wrong, "smtp_tls_fingerprint_cert_match": digest}
            assert (await _deliver(server.port, RecordingLog(), **right)).outcome is SENT
        result = await _deliver(server.port, RecordingLog(), **wrong)
        assert (result.status, result.reason) == NOT_VERIFIED


async def test_a_trust_anchor_stands_for_all_authorities(tmp_path: Path) -> None:
    table = tmp_path / "policy"
    async with _server(lone_pair()) as server:
        for anchor, outcome in ((lone_pair().certificate, SENT), (authority().file, DEFERRED)):
            table.write_text(f"[127.0.0.1]:{server.port} verify match=lone.example.com tafile={anchor}\n")
            maps = TableFactory(base=tmp_path).maps(f"texthash:{table}", "policy")
            assert (await _deliver(server.port, RecordingLog(), maps)).outcome is outcome


@pytest.mark.parametrize(("depth", "outcome"), [("1", DEFERRED), ("2", SENT)])
async def test_how_long_a_servers_chain_may_be(depth: str, outcome: Outcome) -> None:
    values = {"smtp_tls_security_level": "secure", "smtp_tls_secure_cert_match": "deep.example.com", **TRUST}
    async with _server(deputy().issue("deep.example.com")) as server:
        result = await _deliver(server.port, RecordingLog(), smtp_tls_scert_verifydepth=depth, **values)
        assert result.outcome is outcome


# Without TLS.


async def test_a_server_without_starttls() -> None:
    async with ScriptedPeer() as peer:
        assert (await _deliver(peer.port, RecordingLog(), smtp_tls_security_level="may")).outcome is SENT
        result = await _deliver(peer.port, RecordingLog(), smtp_tls_security_level="encrypt")
    assert (result.outcome, result.status) == (DEFERRED, "4.7.4")
    assert result.reason == "TLS is required, but was not offered by host 127.0.0.1[127.0.0.1]"


OFFER = {"EHLO": "250-peer.example\r\n250 STARTTLS"}


@pytest.mark.parametrize(
    ("level", "outcome", "status"),
    [("may", SENT, "2.0.0"), ("encrypt", DEFERRED, "4.7.0"), ("verify", DEFERRED, "4.7.0")],
)
async def test_a_server_that_refuses_starttls(level: str, outcome: Outcome, status: str) -> None:
    async with ScriptedPeer({**OFFER, "STARTTLS": "454 4.7.0 TLS not available"}) as peer:
        result = await _deliver(peer.port, RecordingLog(), smtp_tls_security_level=level)
    assert result.outcome is outcome
    if outcome is DEFERRED:
        refusal = "refused to start TLS: 454 4.7.0 TLS not available"
        assert result.status == status
        assert result.reason == f"TLS is required, but host 127.0.0.1[127.0.0.1] {refusal}"
        assert peer.messages == []


@pytest.mark.parametrize(
    ("level", "age", "outcome"),
    [("may", NEW, DEFERRED), ("may", {"arrival_time": OLD}, SENT), ("encrypt", {"arrival_time": OLD}, DEFERRED)],
)
async def test_a_handshake_that_fails_is_tried_in_clear_later_and_only_where_tls_is_optional(
    level: str, age: dict[str, Any], outcome: Outcome
) -> None:
    async with ScriptedPeer({**OFFER, "STARTTLS": ["220 ready\r\nthis is no TLS", "220 go"]}) as peer:
        result = await _deliver(peer.port, RecordingLog(), about=age, smtp_tls_security_level=level)
        assert result.outcome is outcome, result
        if outcome is DEFERRED:
            assert (result.status, result.reason) == NOT_STARTED
            assert peer.messages == []
        else:
            assert len(peer.messages) == 1


async def test_a_server_that_stops_in_mid_handshake() -> None:
    log = RecordingLog()
    async with ScriptedPeer({**OFFER, "STARTTLS": "220 go"}) as peer:
        started = time.monotonic()
        result = await _deliver(peer.port, log, smtp_tls_security_level="encrypt", smtp_starttls_timeout="1s")
        assert time.monotonic() - started < 8
    assert (result.status, result.reason) == NOT_STARTED
    assert any("SSL_connect error to" in line for line in log.lines)


async def test_the_servers_words_behind_its_220_are_not_believed() -> None:
    """A reply injected in clear must not be taken for the answer to EHLO under TLS."""
    async with _server(server_pair()) as server:

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            behind, ahead = await asyncio.open_connection("127.0.0.1", server.port)

            async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
                while data := await source.read(65536):
                    if data.startswith(b"220 2.0.0"):
                        data += b"250-injected.example\r\n250 SIZE 1\r\n"
                    sink.write(data)
                sink.close()

            await asyncio.gather(pump(reader, ahead), pump(behind, writer), return_exceptions=True)

        middle = await asyncio.start_server(relay, "127.0.0.1", 0)
        port = middle.sockets[0].getsockname()[1]
        result = await _deliver(port, RecordingLog(), smtp_tls_security_level="encrypt")
        assert "exceeds size limit" not in result.reason
        assert result.outcome is SENT or (result.status, result.reason) == NOT_STARTED
        middle.close()


async def test_tls_before_the_greeting() -> None:
    async with _server(server_pair(), smtpd_tls_wrappermode="yes") as server:
        values = {"smtp_tls_wrappermode": "yes", "smtp_tls_security_level": "encrypt"}
        assert (await _deliver(server.port, RecordingLog(), **values)).outcome is SENT


async def test_sessions_are_kept_under_their_policy_only(tmp_path: Path) -> None:
    log = RecordingLog()
    table = tmp_path / "policy"
    async with _server(server_pair()) as server:
        nexthop = f"[127.0.0.1]:{server.port}"
        table.write_text(f"{nexthop} encrypt\n")
        maps = TableFactory(base=tmp_path).maps(f"texthash:{table}", "policy")
        agent = tls_agent(log, maps=maps, smtp_tls_loglevel="1")
        uses = [
            (await agent.deliver(request(nexthop, "user@example.com", **NEW), MESSAGE))[0].connection_use
            for _ in range(3)
        ]
        assert uses == [1, 1, 2] or uses == [1, 2, 3]
        agent.close()
    assert sum("Untrusted TLS connection" in line for line in log.lines) < 3


async def test_starttls_offers_are_noted() -> None:
    log = RecordingLog()
    async with _server(server_pair()) as server:
        await _deliver(server.port, log, smtp_tls_security_level="none", smtp_tls_note_starttls_offer="yes")
    assert "Host offered STARTTLS: [127.0.0.1]" in log.lines


async def test_the_server_asks_and_we_show_our_certificate() -> None:
    pair = server_pair("client.example.net")
    own = {"smtp_tls_cert_file": str(pair.certificate), "smtp_tls_key_file": str(pair.key)}
    asks = {"smtpd_tls_ask_ccert": "yes", "smtpd_tls_CAfile": str(authority().file), "smtpd_tls_loglevel": "1"}
    async with _server(server_pair(), **asks) as server:
        assert (await _deliver(server.port, RecordingLog(), smtp_tls_security_level="may", **own)).outcome is SENT
        assert any(line.startswith("Trusted TLS connection established from") for line in server.log.lines)


# Sessions that are resumed.

CACHE = {
    "smtp_tls_security_level": "verify",
    "smtp_tls_verify_cert_match": "mx.example.com",
    "smtp_tls_session_cache_database": "btree:${data_directory}/smtp_scache",
    "smtp_tls_loglevel": "1, cache",
    **TRUST,
}
NO_REUSE = {"smtp_connection_cache_on_demand": False}


async def _uses(agent: Any, nexthop: str, count: int) -> list[DeliveryResult]:
    return [(await agent.deliver(request(nexthop, "user@example.com", **NEW), MESSAGE))[0] for _ in range(count)]


@pytest.mark.parametrize("protocols", ["<=TLSv1.3", "<=TLSv1.2"])
@pytest.mark.parametrize("wrapper", ["no", "yes"])
async def test_a_server_that_we_come_back_to(protocols: str, wrapper: str) -> None:
    log = RecordingLog()
    versions = {"smtp_tls_mandatory_protocols": protocols, "smtp_tls_wrappermode": wrapper}
    async with _server(server_pair(), smtpd_tls_wrappermode=wrapper) as server:
        agent = tls_agent(log, settings=NO_REUSE, **CACHE, **versions)
        results = await _uses(agent, f"[127.0.0.1]:{server.port}", 3)
        assert [result.outcome for result in results] == [SENT] * 3
    assert [line.partition(" ")[0] for line in log.lines if "TLS connection" in line] == ["Verified"] * 3
    reused = f"127.0.0.1[127.0.0.1]:{server.port}: Reusing old session"
    assert [line for line in log.lines if "Reusing" in line] == [reused] * 2


@pytest.mark.parametrize(
    "values",
    [
        {"smtp_tls_session_cache_database": ""},
        {"smtp_tls_session_cache_timeout": "0"},
    ],
)
async def test_nothing_is_resumed_without_a_cache(values: dict[str, str]) -> None:
    log = RecordingLog()
    async with _server(server_pair()) as server:
        await _uses(tls_agent(log, settings=NO_REUSE, **{**CACHE, **values}), f"[127.0.0.1]:{server.port}", 2)
    assert sum("Verified TLS connection" in line for line in log.lines) == 2
    assert not any("Reusing" in line for line in log.lines)


@pytest.mark.parametrize("protocols", ["<=TLSv1.3", "<=TLSv1.2"])
async def test_a_resumed_session_is_held_against_the_policy_of_today(protocols: str) -> None:
    """Names are compared again, a session without a proven chain serves no policy that asks for one."""

    class Policy:
        entry = ""

        async def find(self, name: str, *, partial: bool = False) -> str:
            return self.entry

    log, maps = RecordingLog(), Policy()
    same = {"smtp_tls_mandatory_protocols": protocols, "smtp_tls_protocols": protocols}
    async with _server(server_pair()) as server:
        agent = tls_agent(log, maps=cast(Any, maps), settings=NO_REUSE, **CACHE, **same)
        nexthop = f"[127.0.0.1]:{server.port}"
        for entry, outcome, reused in (
            ("may", SENT, 0),
            ("may", SENT, 1),
            ("verify match=mx.example.com", SENT, 1),
            ("verify match=mx.example.com", SENT, 2),
            ("verify match=other.example.com", DEFERRED, 3),
            ("verify match=mx.example.com", SENT, 3),
        ):
            maps.entry = entry
            (result,) = await _uses(agent, nexthop, 1)
            assert result.outcome is outcome, (entry, result)
            assert sum("Reusing" in line for line in log.lines) == reused, entry


async def test_a_server_that_has_forgotten_us_begins_anew() -> None:
    log = RecordingLog()
    agent = tls_agent(log, settings=NO_REUSE, **CACHE)
    async with _server(server_pair()) as server:
        port = server.port
        await _uses(agent, f"[127.0.0.1]:{port}", 1)
    async with _server(server_pair(), listener=socket.create_server(("127.0.0.1", port))) as server:
        results = await _uses(agent, f"[127.0.0.1]:{port}", 2)
    assert [result.outcome for result in results] == [SENT] * 2
    assert sum("Reusing" in line for line in log.lines) == 1
