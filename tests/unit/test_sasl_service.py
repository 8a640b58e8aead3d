"""AUTH as one smtpd service offers it: mechanisms, rate, delays, and the choice of backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from pymta.auth.dovecot import DovecotAddress
from pymta.auth.verify_pool import HashPool
from pymta.config import Config, build
from pymta.errors import AuthUnavailableError, ConfigError
from pymta.model.envelope import Client
from pymta.model.sasl import Mechanism, SaslFailure, SaslStep, SaslSuccess
from pymta.protocol.sasl.mechanisms import known
from pymta.protocol.smtp.server_events import Authenticate
from pymta.smtpd.sasl import SaslService, open_backend
from pymta.smtpd.sasl_limits import FailureDelays, WindowCount, network_of
from pymta.smtpd.sasl_settings import SaslSettings
from pymta.tables import TableFactory
from pymta.testing import ManualClock, RecordingLog

CLIENT = Client(address="192.0.2.9", name="client.example.net")
INSIDE = Client(address="198.51.100.7", name="pc.example.com")


class Backend:
    """Everybody's password is wrong but joe's."""

    def __init__(self, *names: str) -> None:
        self.names = names or ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256", "EXTERNAL")
        self.failure: AuthUnavailableError | None = None
        self.temporary = False

    async def mechanisms(self) -> Sequence[Mechanism]:
        if self.failure:
            raise self.failure
        return [known(name) for name in self.names]

    def begin(self, mechanism: str, client: Client, bindings: Mapping[str, bytes]) -> Backend:
        return self

    async def step(self, response: bytes | None) -> SaslStep:
        good = response == b"joe"
        return SaslSuccess("joe") if good else SaslFailure("no", "x", is_temporary=self.temporary)

    def cancel(self) -> None:
        pass

    def close(self) -> None:
        pass


def service(backend: Backend, **values: str) -> tuple[SaslService, RecordingLog, ManualClock]:
    raw = {"myhostname": "mx.example.com", "mynetworks": "198.51.100.0/24", "smtpd_sasl_auth_enable": "yes", **values}
    log, clock = RecordingLog(), ManualClock()
    settings = build(SaslSettings, Config.from_values(raw))
    return SaslService(settings, backend, TableFactory(Path("/")), clock, log), log, clock


class TestRules:
    @pytest.mark.parametrize(
        ("values", "clear", "secured"),
        [
            ({}, "PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256", "PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256"),
            (
                {"smtpd_sasl_security_options": "noanonymous, noplaintext", "smtpd_sasl_tls_security_options": ""},
                "CRAM-MD5 SCRAM-SHA-256",
                "PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256",
            ),
            ({"smtpd_sasl_mechanism_filter": "plain, login"}, "PLAIN LOGIN", "PLAIN LOGIN"),
            ({"smtpd_sasl_mechanism_filter": "!cram-md5, !login, static:all"}, *["PLAIN SCRAM-SHA-256 EXTERNAL"] * 2),
        ],
    )
    async def test_mechanisms(self, values: dict[str, str], clear: str, secured: str) -> None:
        rules = await service(Backend(), **values)[0].rules(CLIENT)
        assert " ".join(rules.clear) == clear
        assert " ".join(rules.secured) == secured

    async def test_exceptions_are_not_told_but_may(self) -> None:
        sasl, _, _ = service(Backend(), smtpd_sasl_exceptions_networks="192.0.2.0/24")
        assert not (await sasl.rules(CLIENT)).is_announced
        assert (await sasl.rules(INSIDE)).is_announced
        assert (await sasl.rules(CLIENT)).clear

    async def test_a_backend_that_is_away_is_said_once_until_it_is_back(self) -> None:
        backend = Backend()
        sasl, log, _ = service(backend)
        backend.failure = AuthUnavailableError("no socket")
        for _ in range(3):
            assert not (await sasl.rules(CLIENT)).is_available
        assert log.lines == ["no socket"]
        backend.failure = None
        assert (await sasl.rules(CLIENT)).is_available
        backend.failure = AuthUnavailableError("no socket")
        await sasl.rules(CLIENT)
        assert log.lines == ["no socket", "no socket"]

    def test_an_unknown_option_stops_the_start(self) -> None:
        with pytest.raises(ConfigError, match="noplain"):
            service(Backend(), smtpd_sasl_security_options="noplain")


class TestDelays:
    async def _fail(self, sasl: SaslService, client: Client = CLIENT) -> float:
        step, _ = await sasl.step(Authenticate("PLAIN", b"x"), client)
        assert isinstance(step, SaslFailure)
        return step.delay

    async def test_they_grow_and_end(self) -> None:
        sasl, _, clock = service(Backend())
        assert [await self._fail(sasl) for _ in range(8)] == [0, 1, 2, 4, 8, 16, 16, 16]
        assert await self._fail(sasl, Client(address="192.0.2.10")) == 0
        clock.advance(601)
        assert await self._fail(sasl) == 0

    async def test_who_does_not_wait(self) -> None:
        backend = Backend()
        sasl, _, _ = service(backend)
        assert [await self._fail(sasl, INSIDE) for _ in range(4)] == [0] * 4
        backend.temporary = True
        assert [await self._fail(sasl) for _ in range(4)] == [0] * 4
        step, _ = await sasl.step(Authenticate("PLAIN", b"joe"), CLIENT)
        assert step == SaslSuccess("joe")

    def test_no_delays_where_errors_do_not_wait(self) -> None:
        delays = FailureDelays(0)
        assert [delays.failed("n", 0.0) for _ in range(5)] == [0] * 5

    def test_memory_is_bounded(self) -> None:
        counts = WindowCount(60.0, limit=100)
        for number in range(1000):
            counts.add(str(number), 1.0)
        assert len(counts._seen) <= 100
        assert counts.add("999", 2.0) == 2

    @pytest.mark.parametrize(
        ("address", "expected"),
        [("192.0.2.9", "192.0.2.9"), ("2001:db8::1", "2001:db8::/64"), ("2001:db8::ffff", "2001:db8::/64")],
    )
    def test_networks(self, address: str, expected: str) -> None:
        assert network_of(address, 32, 64) == expected


class TestBackends:
    def _open(self, **values: str) -> object:
        raw = {"myhostname": "mx.example.com", **values}
        return open_backend(build(SaslSettings, Config.from_values(raw)), HashPool(), RecordingLog())

    @pytest.mark.parametrize("kind", ["cyrus", "dovecot", "file", "FILE"])
    def test_known(self, kind: str) -> None:
        assert self._open(smtpd_sasl_type=kind)

    @pytest.mark.parametrize(
        ("values", "name"),
        [
            ({"smtpd_sasl_type": "gssapi"}, "smtpd_sasl_type"),
            ({"smtpd_sasl_type": "app"}, "smtpd_sasl_type"),
            ({"smtpd_sasl_type": "dovecot", "smtpd_sasl_path": "inet:host"}, "smtpd_sasl_path"),
        ],
    )
    def test_refused(self, values: dict[str, str], name: str) -> None:
        with pytest.raises(ConfigError, match=name):
            self._open(**values)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("private/auth", "/var/spool/x/private/auth"),
            ("unix:private/auth", "/var/spool/x/private/auth"),
            ("/run/dovecot/auth", "/run/dovecot/auth"),
            ("inet:127.0.0.1:12345", "inet:127.0.0.1:12345"),
            ("inet:[::1]:12345", "inet:::1:12345"),
        ],
    )
    def test_dovecot_addresses(self, text: str, expected: str) -> None:
        assert str(DovecotAddress.parse(text, "/var/spool/x")) == expected
