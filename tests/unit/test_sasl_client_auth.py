"""AUTH in client sessions, and which account, mechanism and verdict a delivery gets."""

from __future__ import annotations

import json
import os
import stat
from base64 import b64decode, b64encode
from collections.abc import Mapping
from pathlib import Path

import pytest

from pymta.config import Config, build
from pymta.delivery.hosts import Host
from pymta.delivery.smtp_auth import LoginRefused, SmtpLogin
from pymta.delivery.smtp_auth_refused import RefusedLogins
from pymta.delivery.smtp_auth_settings import LmtpLoginSettings, SmtpLoginSettings, login_settings
from pymta.delivery.smtp_auth_token import TokenError, TokenSource
from pymta.model.address import NULL_SENDER, Address
from pymta.model.tls import TlsSession
from pymta.protocol.sasl.client import ClientRun, Credentials
from pymta.protocol.smtp.client import ClientSession
from pymta.protocol.smtp.client_events import Event, LoggedIn, LoginFailed, Lost, Ready
from pymta.protocol.smtp.client_options import ClientOptions
from pymta.runtime.verify_cache import VerifyCache
from pymta.tables import TableFactory
from pymta.testing import ManualClock, RecordingLog

SENDER = Address("ann", "example.org")
HOST = Host("mail.isp.example", "192.0.2.25", 587)
PLACE = "[mail.isp.example]:587"


def _session(offer: str = "AUTH PLAIN LOGIN CRAM-MD5") -> ClientSession:
    session = ClientSession(ClientOptions("client.example"))
    session.receive_data(b"220 mail.isp.example ESMTP\r\n")
    session.data_to_send()
    session.receive_data(f"250-mail.isp.example\r\n250 {offer}\r\n".encode())
    assert isinstance(session.next_event(), Ready)
    return session


class TestSession:
    def _run(self, mechanism: str, secret: str = "pw") -> ClientRun:
        return ClientRun(mechanism, Credentials("joe", secret), nonce="fyko")

    def test_plain_in_one_line(self) -> None:
        session = _session()
        session.authenticate(self._run("PLAIN"))
        assert session.data_to_send() == b"AUTH PLAIN " + b64encode(b"\0joe\0pw") + b"\r\n"
        session.receive_data(b"235 2.7.0 Authentication successful\r\n")
        assert session.next_event() == LoggedIn()
        assert session.can_begin

    def test_a_long_initial_response_waits_for_the_challenge(self) -> None:
        session = _session()
        session.authenticate(self._run("PLAIN", "x" * 600))
        assert session.data_to_send() == b"AUTH PLAIN\r\n"
        session.receive_data(b"334 \r\n")
        assert b64decode(session.data_to_send()) == b"\0joe\0" + b"x" * 600

    @pytest.mark.parametrize("challenges", [("VXNlcm5hbWU6", "UGFzc3dvcmQ6"), ("Username:", "Password:"), ("", "")])
    def test_login_answers_by_order(self, challenges: tuple[str, str]) -> None:
        session = _session()
        session.authenticate(self._run("LOGIN"))
        said = [session.data_to_send()]
        for challenge in challenges:
            session.receive_data(f"334 {challenge}\r\n".encode())
            said.append(session.data_to_send())
        assert said == [b"AUTH LOGIN\r\n", b64encode(b"joe") + b"\r\n", b64encode(b"pw") + b"\r\n"]

    def test_refused(self) -> None:
        session = _session()
        session.authenticate(self._run("PLAIN"))
        session.receive_data(b"535 5.7.8 No\r\n")
        event = session.next_event()
        assert isinstance(event, LoginFailed)
        assert event.reply is not None
        assert event.reply.line == "535 5.7.8 No"

    def test_a_server_that_says_yes_without_proof(self) -> None:
        session = _session("AUTH SCRAM-SHA-256")
        session.authenticate(self._run("SCRAM-SHA-256"))
        session.receive_data(b"235 2.7.0 come in\r\n")
        event = session.next_event()
        assert event == LoginFailed(None, "the server did not prove that it knows the password")

    @pytest.mark.parametrize("challenge", [b"!!!", b64encode(b"r=other,s=c2FsdA==,i=4096")])
    def test_a_challenge_that_makes_no_sense_is_answered_with_an_asterisk(self, challenge: bytes) -> None:
        session = _session("AUTH SCRAM-SHA-256")
        session.authenticate(self._run("SCRAM-SHA-256"))
        session.data_to_send()
        session.receive_data(b"334 " + challenge + b"\r\n")
        assert session.data_to_send() == b"*\r\n"
        session.receive_data(b"501 aborted\r\n")
        event = session.next_event()
        assert isinstance(event, LoginFailed)
        assert event.reply is None

    def test_a_server_that_never_stops_asking(self) -> None:
        session = _session()
        session.authenticate(self._run("LOGIN"))
        for _ in range(30):
            session.receive_data(b"334 \r\n")
        assert session.data_to_send().endswith(b"*\r\n")
        assert session.next_event() == LoginFailed(None, "the server asks for more than the mechanism has")
        assert not session.is_reusable

    def test_a_connection_that_breaks(self) -> None:
        session = _session()
        session.authenticate(self._run("PLAIN"))
        session.receive_eof()
        event = session.next_event()
        assert isinstance(event, Lost)
        assert event.phase.doing == "performing SASL authentication"


class Wire:
    """What `SmtpLogin` needs of a connection; `replies` come one after each line that we send."""

    def __init__(self, offer: str, replies: list[bytes], tls: TlsSession | None = None) -> None:
        self.session = _session(offer)
        self.host = HOST
        self.tls = tls
        self.said: list[bytes] = []
        self._replies = list(replies)

    async def next_event(self) -> Event:
        while not self.session.has_event:
            self.said.append(self.session.data_to_send())
            self.session.receive_data(self._replies.pop(0))
        event = self.session.next_event()
        assert not isinstance(event, str)
        return event  # type: ignore[return-value]  # no signal: there is an event


TLS = TlsSession("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256, 256)
GOOD, BAD = b"235 2.7.0 ok\r\n", b"535 5.7.8 bad password\r\n"


class Account:
    def __init__(self, folder: Path, table: str, **values: str) -> None:
        (folder / "accounts").write_text(table)
        raw = {f"smtp_{name}": value for name, value in values.items() if name != "recipient_delimiter"}
        raw["smtp_sasl_auth_enable"] = "yes"
        settings = login_settings(build(SmtpLoginSettings, Config.from_values(raw)))
        tables, self.log = TableFactory(folder), RecordingLog()
        names = tables.string_list(settings.sasl_mechanism_filter)
        maps = tables.maps("texthash:accounts")
        tokens = TokenSource(ManualClock(), self.log)
        self.login = SmtpLogin(settings, maps, names.matches if names else None, tokens, self.log)

    async def log_in(self, wire: Wire, sender: Address = SENDER, place: str = PLACE) -> LoginRefused | Lost | None:
        return await self.login.log_in(wire, sender, place)  # type: ignore[arg-type]  # all that it uses is there


def _plain(wire: Wire) -> list[str]:
    """User and password of `AUTH PLAIN`."""
    return b64decode(wire.said[0].split()[2]).decode().split("\0")[1:]


class TestAccounts:
    @pytest.mark.parametrize(
        ("table", "values", "sender", "expected"),
        [
            (f"{PLACE} joe:pw\n", {}, SENDER, ["joe", "pw"]),
            ("mail.isp.example joe:pw\n", {}, SENDER, ["joe", "pw"]),
            (f"mail.isp.example host:1\n{PLACE} place:2\n", {}, SENDER, ["host", "1"]),
            (f"{PLACE} joe:with:colon\n", {}, SENDER, ["joe", "with:colon"]),
            (f"{PLACE} joe\n", {}, SENDER, ["joe", ""]),
            (f"{PLACE} a:b|pw\n", {"sasl_password_result_delimiter": "|"}, SENDER, ["a:b", "pw"]),
            (f"ann@example.org ann:1\n{PLACE} joe:2\n", {}, SENDER, ["joe", "2"]),
            (
                f"ann@example.org ann:1\n{PLACE} joe:2\n",
                {"sender_dependent_authentication": "yes"},
                SENDER,
                ["ann", "1"],
            ),
            (f"@example.org all:1\n{PLACE} joe:2\n", {"sender_dependent_authentication": "yes"}, SENDER, ["all", "1"]),
            (
                f"ann@example.org ann:1\n{PLACE} joe:2\n",
                {"sender_dependent_authentication": "yes"},
                NULL_SENDER,
                ["joe", "2"],
            ),
        ],
    )
    async def test_whose(
        self, tmp_path: Path, table: str, values: Mapping[str, str], sender: Address, expected: list[str]
    ) -> None:
        account = Account(tmp_path, table, sasl_security_options="noanonymous", **values)
        wire = Wire("AUTH PLAIN", [GOOD])
        assert await account.log_in(wire, sender) is None
        assert _plain(wire) == expected

    async def test_no_account_or_no_offer_is_no_login(self, tmp_path: Path) -> None:
        account = Account(tmp_path, "other.example joe:pw\n")
        assert await account.log_in(Wire("AUTH PLAIN", [])) is None
        account = Account(tmp_path, f"{PLACE} joe:pw\n")
        assert await account.log_in(Wire("8BITMIME", [])) is None

    async def test_identity_for_kept_sessions(self, tmp_path: Path) -> None:
        table = "ann@example.org ann:1\n"
        assert await Account(tmp_path, table).login.identity(SENDER) == ""
        dependent = Account(tmp_path, table, sender_dependent_authentication="yes").login
        assert await dependent.identity(SENDER) == "ann"
        assert await dependent.identity(Address("bob", "example.org")) == ""

    def test_lmtp_has_its_own_parameters(self) -> None:
        raw = {"lmtp_sasl_auth_enable": "yes", "lmtp_sasl_mechanism_filter": "plain"}
        settings = login_settings(build(LmtpLoginSettings, Config.from_values(raw)))
        assert (settings.sasl_auth_enable, settings.sasl_mechanism_filter) == (True, "plain")


class TestVerdicts:
    @pytest.mark.parametrize(
        ("reply", "values", "status"),
        [
            (BAD, {}, "4.7.8"),
            (BAD, {"sasl_auth_soft_bounce": "no"}, "5.7.8"),
            (b"454 4.7.0 later\r\n", {}, "4.7.0"),
            (b"530 5.7.0 not you\r\n", {}, "5.7.0"),
        ],
    )
    async def test_refused(self, tmp_path: Path, reply: bytes, values: Mapping[str, str], status: str) -> None:
        account = Account(tmp_path, f"{PLACE} joe:pw\n", sasl_security_options="noanonymous", **values)
        refused = await account.log_in(Wire("AUTH PLAIN", [reply]))
        assert isinstance(refused, LoginRefused)
        said = reply.decode().strip()
        assert refused.failure.status == status
        assert refused.failure.reason == (
            f"SASL authentication failed; server mail.isp.example[192.0.2.25] said: {said}"
        )

    async def test_no_password_in_clear_unless_that_is_allowed(self, tmp_path: Path) -> None:
        account = Account(tmp_path, f"{PLACE} joe:pw\n")
        wire = Wire("AUTH PLAIN LOGIN", [])
        refused = await account.log_in(wire)
        assert isinstance(refused, LoginRefused)
        assert refused.failure.status == "4.7.0"
        assert refused.failure.reason.endswith(
            "cannot authenticate to server mail.isp.example[192.0.2.25]: no mechanism available"
        )
        assert wire.said == []

    async def test_with_tls_other_options_hold(self, tmp_path: Path) -> None:
        account = Account(tmp_path, f"{PLACE} joe:pw\n", sasl_tls_security_options="noanonymous")
        assert await account.log_in(Wire("AUTH PLAIN", [GOOD], TLS)) is None
        assert isinstance(await account.log_in(Wire("AUTH PLAIN", [])), LoginRefused)

    async def test_the_filter(self, tmp_path: Path) -> None:
        values = {"sasl_security_options": "noanonymous", "sasl_mechanism_filter": "plain, login"}
        wire = Wire("AUTH CRAM-MD5 LOGIN PLAIN", [GOOD])
        assert await Account(tmp_path, f"{PLACE} joe:pw\n", **values).log_in(wire) is None
        assert wire.said[0].startswith(b"AUTH PLAIN ")
        account = Account(tmp_path, f"{PLACE} joe:pw\n", **values)
        refused = await account.log_in(Wire("AUTH CRAM-MD5", []))
        assert isinstance(refused, LoginRefused)
        assert "offered no compatible authentication mechanisms" in refused.failure.reason
        assert account.log.lines == [
            "mail.isp.example[192.0.2.25]:587 offered no supported AUTH mechanisms: 'CRAM-MD5'"
        ]

    async def test_a_password_shows_nowhere(self, tmp_path: Path) -> None:
        account = Account(tmp_path, f"{PLACE} joe:verysecret\n", sasl_security_options="noanonymous")
        refused = await account.log_in(Wire("AUTH PLAIN", [BAD]))
        assert "verysecret" not in repr(refused) + " ".join(account.log.lines)
        assert "verysecret" not in repr(Credentials("joe", "verysecret"))


class TestTokens:
    async def test_from_a_file_each_time(self, tmp_path: Path) -> None:
        (tmp_path / "token").write_text("first\n")
        source = TokenSource(ManualClock(), RecordingLog())
        assert await source.token(f"oauth2:file:{tmp_path}/token") == "first"
        (tmp_path / "token").write_text("second\n")
        assert await source.token(f"oauth2:file:{tmp_path}/token") == "second"

    async def test_from_a_command(self) -> None:
        source = TokenSource(ManualClock(), RecordingLog())
        assert await source.token("oauth2:command:/bin/echo a-token") == "a-token"

    async def test_by_refresh_token(self, tmp_path: Path) -> None:
        account = {"token_endpoint": "https://login.example/token", "client_id": "me", "refresh_token": "old"}
        path = tmp_path / "account.json"
        path.write_text(json.dumps(account))
        asked: list[Mapping[str, str]] = []

        def fetch(endpoint: str, form: Mapping[str, str]) -> bytes:
            asked.append(form)
            return json.dumps({"access_token": f"t{len(asked)}", "expires_in": 600, "refresh_token": "new"}).encode()

        clock = ManualClock()
        source = TokenSource(clock, RecordingLog(), fetch)
        assert [await source.token(f"oauth2:refresh:{path}") for _ in range(2)] == ["t1", "t1"]
        assert asked == [{"grant_type": "refresh_token", "client_id": "me", "refresh_token": "old"}]
        assert json.loads(path.read_text())["refresh_token"] == "new"
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        source.forget(f"oauth2:refresh:{path}")
        assert await source.token(f"oauth2:refresh:{path}") == "t2"
        assert asked[-1]["refresh_token"] == "new"

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("oauth2:file:/no/such/file", "No such file"),
            ("oauth2:command:/bin/false", "exit status 1"),
            ("oauth2:command:/no/such/program", "No such file"),
            ("oauth2:pigeon:x", "is not known"),
            ("oauth2:file:", "expected"),
        ],
    )
    async def test_what_goes_wrong(self, source: str, message: str) -> None:
        with pytest.raises(TokenError, match=message):
            await TokenSource(ManualClock(), RecordingLog()).token(source)

    async def test_secrets_go_to_nobody_without_tls(self, tmp_path: Path) -> None:
        path = tmp_path / "account.json"
        path.write_text(json.dumps({"token_endpoint": "http://login.example/token", "refresh_token": "x"}))
        with pytest.raises(TokenError, match="https"):
            await TokenSource(ManualClock(), RecordingLog()).token(f"oauth2:refresh:{path}")

    async def test_a_token_logs_in(self, tmp_path: Path) -> None:
        (tmp_path / "token").write_text("good-token\n")
        account = Account(tmp_path, f"{PLACE} joe:oauth2:file:{tmp_path}/token\n")
        wire = Wire("AUTH PLAIN XOAUTH2", [GOOD])
        assert await account.log_in(wire) is None
        assert b64decode(wire.said[0].split()[2]) == b"user=joe\x01auth=Bearer good-token\x01\x01"


# smtp_sasl_auth_cache_name: a password that a server refused is not shown to it again and again.

TABLE = f"{PLACE} joe:secret\n"
TRY_LATER = b"454 4.7.0 later\r\n"


class Remembering(Account):
    def __init__(self, folder: Path, clock: ManualClock, table: str = TABLE, **values: str) -> None:
        super().__init__(folder, table, sasl_tls_security_options="noanonymous", **values)
        cache = VerifyCache(folder / "refused")
        self.login._refused = RefusedLogins(cache, 90 * 86400.0, clock, self.log)

    async def attempt(self, *replies: bytes) -> LoginRefused | None:
        found = await self.log_in(Wire("AUTH PLAIN", list(replies), TLS))
        assert found is None or isinstance(found, LoginRefused)
        return found


async def test_not_tried_again_by_any_process_until_its_time_is_over(tmp_path: Path) -> None:
    clock = ManualClock()
    first = await Remembering(tmp_path, clock).attempt(BAD)
    assert first is not None
    assert first.reply is not None
    again = await Remembering(tmp_path, clock).attempt()
    assert again is not None
    assert again.failure.status == "4.7.8"
    said = "SASL [CACHED] authentication failed; server mail.isp.example said: 535 5.7.8 bad password"
    assert again.failure.reason == said
    clock.advance(90 * 86400.0 + 1)
    assert await Remembering(tmp_path, clock).attempt(GOOD) is None


async def test_another_password_is_tried_at_once(tmp_path: Path) -> None:
    clock = ManualClock()
    assert await Remembering(tmp_path, clock).attempt(BAD)
    assert await Remembering(tmp_path, clock, f"{PLACE} joe:other\n").attempt(GOOD) is None
    assert b"secret" not in (tmp_path / "refused").read_bytes()
    assert (tmp_path / "refused").stat().st_mode & 0o777 == 0o600


async def test_what_is_temporary_is_not_remembered(tmp_path: Path) -> None:
    clock = ManualClock()
    assert await Remembering(tmp_path, clock).attempt(TRY_LATER)
    assert await Remembering(tmp_path, clock).attempt(GOOD) is None


@pytest.mark.parametrize(("soft", "status"), [("yes", "4.7.8"), ("no", "5.7.8")])
async def test_whether_it_bounces_is_as_the_first_time(tmp_path: Path, soft: str, status: str) -> None:
    clock = ManualClock()
    for replies in ([BAD], []):
        refused = await Remembering(tmp_path, clock, sasl_auth_soft_bounce=soft).attempt(*replies)
        assert refused is not None
        assert refused.failure.status == status


async def test_a_file_that_cannot_be_used_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "refused").mkdir()
    account = Remembering(tmp_path, ManualClock())
    assert await account.attempt(BAD)
    assert any("refused logins cannot be" in line for line in account.log.lines)
