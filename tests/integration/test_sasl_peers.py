"""Logins with real programs on the other side: Dovecot's auth, saslpasswd2, smtplib, swaks, msmtp, openssl, Postfix."""

from __future__ import annotations

import base64
import os
import smtplib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pymta.auth.passdb import make_stored
from tests.support.peers import RealPostfix, environment, program
from tests.support.perl import perl_environment
from tests.support.sasl import dovecot_auth, saslauthd, saslpasswd2
from tests.support.system import PymtaSystem, eventually
from tests.support.tls import server_pair

USER, PASSWORD = "joe@example.com", "s3cret pass"
AUTH = {"smtpd_sasl_auth_enable": "yes", "smtpd_error_sleep_time": "0"}
Start = Callable[..., PymtaSystem]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="the peers need root")


@pytest.fixture
def reachable(tmp_path: Path) -> Path:
    """A folder that the unprivileged mail_owner can enter."""
    for folder in [tmp_path, *tmp_path.parents]:
        if str(folder) != "/" and folder.stat().st_uid == os.getuid():
            folder.chmod(folder.stat().st_mode | 0o055)
    return tmp_path


def passwords(folder: Path, *lines: str) -> dict[str, str]:
    path = folder / "passwd"
    path.write_text("".join(f"{line}\n" for line in lines))
    path.chmod(0o644)
    return {**AUTH, "smtpd_sasl_type": "file", "smtpd_sasl_path": str(path)}


def _pair() -> dict[str, str]:
    pair = server_pair("mail.example.com")
    return {"smtpd_tls_cert_file": str(pair.certificate), "smtpd_tls_key_file": str(pair.key)}


@pytest.fixture(scope="module")
def dovecot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with dovecot_auth(tmp_path_factory.mktemp("dovecot") / "d", {USER: PASSWORD}) as socket:
        yield socket


def _login(session: smtplib.SMTP, mechanism: str, password: str = PASSWORD) -> tuple[int, bytes]:
    session.user, session.password = USER, password  # type: ignore[attr-defined]  # smtplib keeps them so
    method = getattr(session, f"auth_{mechanism.lower().replace('-', '_')}")
    try:
        return session.auth(mechanism, method)
    except smtplib.SMTPAuthenticationError as error:
        return error.smtp_code, bytes(error.smtp_error) if isinstance(error.smtp_error, bytes) else b""


@needs_root
class TestDovecot:
    def test_every_mechanism(self, pymta_system: Start, dovecot: Path) -> None:
        system = pymta_system({**AUTH, "smtpd_sasl_type": "dovecot", "smtpd_sasl_path": str(dovecot)})
        for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5"):
            with system.smtp() as session:
                session.ehlo()
                assert session.esmtp_features["auth"].split() == ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"]
                assert _login(session, mechanism, "wrong")[0] == 535
                assert _login(session, mechanism) == (235, b"2.7.0 Authentication successful")
        eventually(
            lambda: f"SASL PLAIN authentication failed: (reason unavailable), sasl_username={USER}" in system.log
        )

    def test_a_service_that_is_not_there_is_temporary_and_comes_back(
        self, pymta_system: Start, reachable: Path
    ) -> None:
        folder = reachable / "late"
        path = folder / "run" / "auth-client"
        system = pymta_system({**AUTH, "smtpd_sasl_type": "dovecot", "smtpd_sasl_path": str(path)})
        with system.smtp() as session:
            session.ehlo()
            assert "auth" not in session.esmtp_features
            assert session.docmd("AUTH PLAIN AAAA")[0] == 454
        eventually(lambda: f"connect to Dovecot auth socket '{path}' failed" in system.log)

        def is_back() -> bool:
            with system.smtp() as session:
                session.ehlo()
                return "auth" in session.esmtp_features and _login(session, "PLAIN")[0] == 235

        with dovecot_auth(folder, {USER: PASSWORD}):
            eventually(is_back)

    def test_our_client_and_postfix_with_dovecot(self, pymta_system: Start, dovecot: Path, reachable: Path) -> None:
        """Debian's Postfix takes our SCRAM-SHA-256, and relays for nobody else."""
        server = RealPostfix(
            reachable / "postfix",
            {
                "smtpd_sasl_auth_enable": "yes",
                "smtpd_sasl_type": "dovecot",
                "smtpd_sasl_path": str(dovecot),
                "mynetworks": "192.0.2.0/24",
                "smtpd_recipient_restrictions": "permit_sasl_authenticated, reject",
                "local_recipient_maps": "",
            },
        )
        with server.running():
            (reachable / "accounts").write_text(f"[127.0.0.1]:{server.port} {USER}:{PASSWORD}\n")
            (reachable / "accounts").chmod(0o644)
            system = pymta_system(
                {
                    "relayhost": f"[127.0.0.1]:{server.port}",
                    "mydestination": "",
                    "smtp_sasl_auth_enable": "yes",
                    "smtp_sasl_password_maps": f"texthash:{reachable}/accounts",
                }
            )
            with system.smtp() as session:
                session.sendmail("a@example.org", ["root@postfix.example.com"], "Subject: x\r\n\r\nhi\r\n")
            eventually(lambda: "status=sent" in system.log)
            log = server.log.read_text()
            assert f"sasl_method=SCRAM-SHA-256, sasl_username={USER}" in log
            assert PASSWORD not in system.log


def _openssl(port: int, *lines: str) -> list[str]:
    """What a person sees who types `lines` into `openssl s_client -starttls smtp`, each after the reply before."""
    command = [*["openssl", "s_client", "-quiet", "-starttls", "smtp", "-connect"], f"127.0.0.1:{port}"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        seen: list[str] = []
        for line in lines:
            process.stdin.write(f"{line}\r\n")
            process.stdin.flush()
            while answer := process.stdout.readline().rstrip():
                seen.append(answer)
                if answer[3:4] != "-":
                    break
        return seen


@needs_root
class TestCyrus:
    def test_walk_through_g(self, pymta_system: Start, reachable: Path, tmp_path: Path) -> None:
        """Accounts by saslpasswd2; `auth plain` inside `openssl s_client -starttls smtp`."""
        config, database = reachable / "sasl", reachable / "sasldb2"
        config.mkdir()
        saslpasswd2(database, "example.com", "postmaster", "123456")
        for number in range(60):
            saslpasswd2(database, "example.com", f"user{number}", "x" * number + "y")
        (config / "smtpd.conf").write_text(
            f"pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\nsasldb_path: {database}\n"
        )
        key, certificate = reachable / "key.pem", reachable / "cert.pem"
        subprocess.run(
            [
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-subj",
                "/CN=mail.example.com",
                "-days",
                "3",
                "-keyout",
                str(key),
                "-out",
                str(certificate),
            ],
            check=True,
            capture_output=True,
        )
        key.chmod(0o644)
        system = pymta_system(
            {
                **AUTH,
                "cyrus_sasl_config_path": str(config),
                "smtpd_tls_auth_only": "yes",
                "smtpd_tls_security_level": "may",
                "smtpd_tls_cert_file": str(certificate),
                "smtpd_tls_key_file": str(key),
            }
        )
        with system.smtp() as session:
            session.ehlo()
            assert "auth" not in session.esmtp_features
            code, text = session.docmd("AUTH PLAIN AAAA")
            assert (code, text) == (538, b"5.7.11 Encryption required for requested authentication mechanism")
        word = base64.b64encode(b"\0postmaster@example.com\x00123456").decode()
        said = _openssl(system.port, "ehlo me", f"auth plain {word}", "quit")
        assert "250-AUTH PLAIN LOGIN" in said
        assert "235 2.7.0 Authentication successful" in said
        with system.smtp() as session:
            session.starttls()
            session.ehlo()
            session.login("user59@example.com", "x" * 59 + "y")
            session.sendmail("a@example.com", ["root@localhost"], "Subject: x\r\n\r\nhi\r\n")
        eventually(lambda: "sasl_username=user59@example.com" in system.log)
        eventually(lambda: "status=sent" in system.log)
        mail = "".join(path.read_text() for path in system.mail.iterdir() if path.is_file())
        assert "with ESMTPSA id" in mail


@needs_root
class TestSaslauthd:
    def test_passwords_and_a_daemon_that_is_gone(self, pymta_system: Start, reachable: Path) -> None:
        config = reachable / "sasl"
        config.mkdir()
        with saslauthd(reachable / "daemon", USER.partition("@")[0], PASSWORD) as socket:
            (config / "smtpd.conf").write_text(
                f"pwcheck_method: saslauthd\nmech_list: PLAIN LOGIN CRAM-MD5\nsaslauthd_path: {socket}\n"
            )
            system = pymta_system(
                {**AUTH, "cyrus_sasl_config_path": str(config), "smtpd_sasl_login_cache_time": "0"},
            )
            with system.smtp() as session:
                session.ehlo()
                # A daemon that only says yes or no is no good for CRAM-MD5.
                assert session.esmtp_features["auth"].split() == ["PLAIN", "LOGIN"]
                assert _login(session, "PLAIN", "wrong")[0] == 535
                assert _login(session, "LOGIN")[0] == 235
        with system.smtp() as session:
            session.ehlo()
            assert _login(session, "PLAIN")[0] == 454
        eventually(lambda: "cannot connect to saslauthd server" in system.log)


class TestClients:
    """Programs that log in to us."""

    @pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
    @pytest.mark.parametrize(("password", "status"), [(PASSWORD, 0), ("wrong", 28)])
    def test_swaks(self, pymta_system: Start, reachable: Path, mechanism: str, password: str, status: int) -> None:
        system = pymta_system(passwords(reachable, f"{USER}:{{PLAIN}}{PASSWORD}"))
        done = subprocess.run(
            [
                program("swaks"),
                "--server",
                "127.0.0.1",
                "--port",
                str(system.port),
                "--to",
                "root@localhost",
                "--from",
                "a@example.com",
                "--helo",
                "client.example",
                "--auth",
                mechanism,
                "--auth-user",
                USER,
                "--auth-password",
                password,
            ],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env=perl_environment(),
        )
        if "not available" in done.stdout + done.stderr or "not installed" in done.stderr:
            pytest.skip(f"this swaks lacks a Perl module for {mechanism}")
        assert done.returncode == status, done.stdout + done.stderr

    @pytest.mark.parametrize("mechanism", ["plain", "login", "cram-md5", "scram-sha-256", "oauthbearer", "xoauth2"])
    def test_msmtp_over_tls(self, pymta_system: Start, reachable: Path, mechanism: str) -> None:
        """All that both sides know; tokens are refused there, as no program verifies them."""
        values = {"smtpd_tls_security_level": "may", "smtpd_tls_auth_only": "yes", **_pair()}
        system = pymta_system({**passwords(reachable, f"{USER}:{{PLAIN}}{PASSWORD}"), **values})
        call = [program("msmtp"), "--host=127.0.0.1", f"--port={system.port}", f"--auth={mechanism}", f"--user={USER}"]
        call += [f"--passwordeval=echo '{PASSWORD}'", "--tls=on", "--tls-starttls=on", "--tls-certcheck=off"]
        done = subprocess.run(
            [*call, "--from=a@example.com", "root@localhost"],
            input="Subject: x\n\nhi\n",
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env=environment(),
        )
        if mechanism in ("oauthbearer", "xoauth2"):
            assert "the server does not support authentication method" in done.stderr
        else:
            assert done.returncode == 0, done.stderr
            eventually(lambda: f"sasl_method={mechanism.upper()}, sasl_username={USER}" in system.log)

    @pytest.mark.parametrize("mechanism", ["plain", "login", "cram-md5", "scram-sha-256"])
    def test_msmtp(self, pymta_system: Start, reachable: Path, mechanism: str) -> None:
        system = pymta_system(passwords(reachable, f"{USER}:{{PLAIN}}{PASSWORD}"))
        done = subprocess.run(
            [
                program("msmtp"),
                "--host=127.0.0.1",
                f"--port={system.port}",
                f"--auth={mechanism}",
                f"--user={USER}",
                f"--passwordeval=echo '{PASSWORD}'",
                "--tls=off",
                "--from=a@example.com",
                "root@localhost",
            ],
            input="Subject: x\n\nhi\n",
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env=environment(),
        )
        assert done.returncode == 0, done.stderr
        eventually(lambda: f"sasl_method={mechanism.upper()}, sasl_username={USER}" in system.log)

    @needs_root
    def test_postfix(self, pymta_system: Start, reachable: Path) -> None:
        """Debian's Postfix relays through us with a login."""
        system = pymta_system(
            {**passwords(reachable, f"{USER}:{{PLAIN}}{PASSWORD}"), "mynetworks": "192.0.2.0/24"},
        )
        (reachable / "accounts").write_text(f"[127.0.0.1]:{system.port} {USER}:{PASSWORD}\n")
        sender = RealPostfix(
            reachable / "postfix",
            {
                "relayhost": f"[127.0.0.1]:{system.port}",
                "mydestination": "",
                "smtp_sasl_auth_enable": "yes",
                "smtp_sasl_password_maps": f"texthash:{reachable}/accounts",
                "smtp_sasl_security_options": "noanonymous",
                "import_environment": "LD_LIBRARY_PATH MAIL_CONFIG TZ LANG=C SASL_PATH="
                + str(Path(program("saslpasswd2")).parents[1] / "lib/x86_64-linux-gnu/sasl2"),
            },
        )
        with sender.running(), smtplib.SMTP("127.0.0.1", sender.port) as session:
            session.sendmail("a@example.org", ["root@mail.example.com"], "Subject: x\r\n\r\nhi\r\n")
            eventually(lambda: f"sasl_username={USER}" in system.log)
            eventually(lambda: "status=sent" in system.log)

    def test_hashes_that_only_plain_can_use_offer_nothing_else(self, pymta_system: Start, reachable: Path) -> None:
        system = pymta_system(passwords(reachable, f"{USER}:{make_stored(PASSWORD)}"))
        with system.smtp() as session:
            session.ehlo()
            assert session.esmtp_features["auth"].split() == ["PLAIN", "LOGIN"]
            assert session.login(USER, PASSWORD)[0] == 235
