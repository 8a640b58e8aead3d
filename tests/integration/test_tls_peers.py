"""TLS with real peers: Debian's Postfix in both directions, `openssl s_client`, swaks, smtplib."""

from __future__ import annotations

import asyncio
import contextlib
import os
import smtplib
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pymta.model.delivery import Outcome
from pymta.runtime.tls_certificate import parse_certificate
from pymta.testing import RecordingLog
from tests.support.peers import RealPostfix, free_port, program
from tests.support.perl import needs_perl, perl_environment
from tests.support.smtp_client import MESSAGE, open_folder, request, tls_agent
from tests.support.system import PymtaSystem, eventually
from tests.support.tls import Pair, authority, server_pair

Start = Callable[..., PymtaSystem]
PROCESS_MODEL = "roles"
OFFERS = {"smtpd_tls_security_level": "may", "smtpd_tls_loglevel": "1", "smtpd_tls_received_header": "yes"}


def _mailbox(system: PymtaSystem) -> str:
    return "".join(path.read_text() for path in system.mail.iterdir() if path.is_file())


def test_without_a_certificate_one_is_made_and_said_so(pymta_system: Start) -> None:
    system = pymta_system(OFFERS)
    with smtplib.SMTP("127.0.0.1", system.port, timeout=20) as session:
        session.starttls(context=ssl._create_unverified_context())
        session.ehlo()
        assert not session.has_extn("starttls")
        session.sendmail("s@a.example", ["root@example.com"], "Subject: x\r\n\r\nbody\r\n")
    eventually(lambda: "with ESMTPS id" in _mailbox(system))
    assert "(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)" in _mailbox(system)
    assert "(No client certificate requested)" in _mailbox(system)
    assert "no smtpd_tls_cert_file is set: made a certificate that nobody vouches for" in system.log
    key = system.folder / "spool/pymta/tls/key.pem"
    assert key.stat().st_mode & 0o777 == 0o600


def test_a_key_that_only_root_may_read(pymta_system: Start, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs to start as root")
    pair = server_pair("root.example.com")
    key = tmp_path / "root.key"
    key.write_bytes(pair.key.read_bytes())
    key.chmod(0o600)
    system = pymta_system({**OFFERS, "smtpd_tls_cert_file": str(pair.certificate), "smtpd_tls_key_file": str(key)})
    with smtplib.SMTP("127.0.0.1", system.port, timeout=20) as session:
        context = ssl.create_default_context(cafile=str(authority().file))
        context.check_hostname = False
        session.starttls(context=context)
        assert session.noop()[0] == 250


@pytest.mark.parametrize("model", ["single", "roles"])
def test_a_renewed_key_that_only_root_may_read(pymta_system: Start, tmp_path: Path, model: str) -> None:
    """As certbot does it: new files of root's in a folder of root's, while we have long given root up."""
    if os.geteuid() != 0:
        pytest.skip("needs to start as root")
    folder = tmp_path / "live"
    folder.mkdir(mode=0o700)

    def install(name: str) -> None:
        pair = server_pair(name)
        for target, source in (("privkey.pem", pair.key), ("fullchain.pem", pair.certificate)):
            new = folder / f"{name}.{target}"
            new.touch(0o600)
            new.write_bytes(source.read_bytes())
            new.rename(folder / target)

    def shown() -> str:
        with smtplib.SMTP("127.0.0.1", system.port, timeout=20) as session:
            session.starttls(context=ssl._create_unverified_context())
            assert isinstance(session.sock, ssl.SSLSocket)
            return parse_certificate(session.sock.getpeercert(binary_form=True) or b"").subject

    install("first.example.com")
    files = {"smtpd_tls_cert_file": f"{folder}/fullchain.pem", "smtpd_tls_key_file": f"{folder}/privkey.pem"}
    system = pymta_system({**OFFERS, **files, "process_model": model})
    assert shown() == "first.example.com"
    install("second.example.com")
    eventually(lambda: shown() == "second.example.com")
    eventually(lambda: "TLS certificate files have changed: the new ones are in use" in system.log)


def test_start_up_says_which_file_and_why(tmp_path: Path) -> None:
    system = PymtaSystem(tmp_path / "bad", {**OFFERS, "smtpd_tls_cert_file": "/nonexistent/cert.pem"})
    system.prepare()
    command = [sys.executable, "-m", "pymta.cli", "-c", str(system.config), "run"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "/nonexistent/cert.pem: cannot be read: No such file or directory" in done.stdout + done.stderr


def test_openssl_s_client(pymta_system: Start) -> None:
    pair = server_pair()
    files = {"smtpd_tls_cert_file": str(pair.certificate), "smtpd_tls_key_file": str(pair.key)}
    wrapped = free_port()
    service = f"127.0.0.1:{wrapped} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes"
    system = pymta_system({**OFFERS, **files}, services=(service,))
    for place in (("-starttls", "smtp", "-connect", f"127.0.0.1:{system.port}"), ("-connect", f"127.0.0.1:{wrapped}")):
        done = subprocess.run(
            ["openssl", "s_client", *place, "-quiet", "-verify_return_error", "-CAfile", str(authority().file)],
            input="QUIT\r\n",
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert "221 2.0.0 Bye" in done.stdout, done


@pytest.mark.parametrize("option", ["--tls", "--tls-on-connect"])
def test_swaks(pymta_system: Start, option: str) -> None:
    more = {"smtpd_tls_wrappermode": "yes"} if option == "--tls-on-connect" else {}
    system = pymta_system({**OFFERS, **more})
    needs_perl("Net/SSLeay.pm")
    command = [program("swaks"), option, "--server", f"127.0.0.1:{system.port}", "--to", "root@example.com"]
    done = subprocess.run(
        [*command, "--from", "s@a.example", "--helo", "client.example"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=perl_environment(),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    eventually(lambda: "with ESMTPS id" in _mailbox(system))


def _postfix(folder: Path, **parameters: str) -> RealPostfix:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    return RealPostfix(folder, parameters)


LEVELS = ["may", "encrypt", "fingerprint", "verify", "secure"]
WRONG_LEVELS = ["fingerprint", "verify", "secure"]


def _wants(level: str, name: str, pair: Pair) -> dict[str, str]:
    """A client's settings that ask for the certificate of `name`, or for the fingerprint of `pair`."""
    return {
        "smtp_tls_security_level": level,
        "smtp_tls_CAfile": str(authority().file),
        "smtp_tls_verify_cert_match": name,
        "smtp_tls_secure_cert_match": name,
        "smtp_tls_fingerprint_digest": "sha256",
        "smtp_tls_fingerprint_cert_match": parse_certificate(pair.der).fingerprint("sha256"),
        "smtp_tls_loglevel": "1",
    }


@contextlib.contextmanager
def _postfix_with_tls(pair: Pair, **more: str) -> Iterator[RealPostfix]:
    with open_folder() as folder:
        postfix = _postfix(
            folder / "postfix",
            smtpd_tls_security_level="encrypt",
            smtpd_tls_cert_file=str(pair.certificate),
            smtpd_tls_key_file=str(pair.key),
            local_transport="discard:",
            local_recipient_maps="",
            mydestination="elsewhere.example",
            **{"smtpd_tls_loglevel": "1", **more},
        )
        with postfix.running():
            yield postfix


@pytest.mark.parametrize("level", WRONG_LEVELS)
def test_we_send_nothing_to_a_postfix_that_is_another(pymta_system: Start, level: str) -> None:
    with _postfix_with_tls(server_pair("postfix.example.com")) as postfix:
        wants = _wants(level, "other.example.com", server_pair("other.example.com"))
        system = pymta_system({"relayhost": f"[127.0.0.1]:{postfix.port}", **wants})
        system.send("user@elsewhere.example")
        eventually(lambda: "status=deferred (Server certificate not verified)" in system.log)
        assert "from=<" not in postfix.log.read_text()


@pytest.mark.parametrize("level", WRONG_LEVELS)
def test_postfix_sends_us_nothing_where_it_wants_another(pymta_system: Start, level: str) -> None:
    pair = server_pair("mail.example.com")
    files = {"smtpd_tls_cert_file": str(pair.certificate), "smtpd_tls_key_file": str(pair.key)}
    system = pymta_system({**OFFERS, **files})
    with open_folder() as folder:
        wants = _wants(level, "other.example.com", server_pair("other.example.com"))
        relay = {"relayhost": f"[127.0.0.1]:{system.port}", "mydestination": "postfix.example.com"}
        postfix = _postfix(folder / "postfix", **relay, **wants)
        with postfix.running():
            with smtplib.SMTP("127.0.0.1", postfix.port, timeout=20) as session:
                session.sendmail("s@a.example", ["root@example.com"], "Subject: from postfix\r\n\r\nbody\r\n")
            eventually(lambda: "status=deferred (Server certificate not verified)" in postfix.log.read_text())
            assert "client=localhost" not in system.log


@pytest.mark.parametrize("level", LEVELS)
def test_we_deliver_to_postfix(pymta_system: Start, level: str) -> None:
    pair = server_pair("postfix.example.com")
    with _postfix_with_tls(pair) as postfix:
        wants = _wants(level, "postfix.example.com", pair)
        system = pymta_system({"relayhost": f"[127.0.0.1]:{postfix.port}", **wants})
        system.send("user@elsewhere.example")
        eventually(lambda: "status=sent" in system.log)
        word = "Verified" if level in WRONG_LEVELS else "Trusted"
        assert f"{word} TLS connection established to 127.0.0.1[127.0.0.1]:{postfix.port}: TLSv1.3" in system.log
        assert "TLS connection established from" in postfix.log.read_text()


@pytest.mark.parametrize("level", LEVELS)
def test_postfix_delivers_to_us(pymta_system: Start, level: str) -> None:
    pair = server_pair("mail.example.com")
    files = {"smtpd_tls_cert_file": str(pair.certificate), "smtpd_tls_key_file": str(pair.key)}
    system = pymta_system({**OFFERS, **files, "smtpd_tls_security_level": "encrypt"})
    with open_folder() as folder:
        postfix = _postfix(
            folder / "postfix",
            relayhost=f"[127.0.0.1]:{system.port}",
            **_wants(level, "mail.example.com", pair),
            mydestination="postfix.example.com",
        )
        with postfix.running():
            with smtplib.SMTP("127.0.0.1", postfix.port, timeout=20) as session:
                session.sendmail("s@a.example", ["root@example.com"], "Subject: from postfix\r\n\r\nbody\r\n")
            eventually(lambda: "with ESMTPS id" in _mailbox(system))
            word = "Verified" if level in WRONG_LEVELS else "Trusted"
            ours = next(line for line in system.log.splitlines() if "TLS connection established from" in line)
            theirs = next(line for line in postfix.log.read_text().splitlines() if f"{word} TLS connection" in line)
            # The same session, seen from both ends.
            assert ours.partition("bits) ")[2] == theirs.partition("bits) ")[2] != ""


@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_a_session_that_we_resume_with_postfix(kind: str) -> None:
    """Both ends say the same of it, and Postfix that it knew us."""
    pair = server_pair("postfix.example.com", kind)
    log = RecordingLog()
    own = {"smtp_tls_cert_file": str(pair.certificate), "smtp_tls_key_file": str(pair.key)}
    cache = {"smtp_tls_session_cache_database": "btree:${data_directory}/smtp_scache", "smtp_tls_ciphers": "medium"}
    asks = {"smtpd_tls_ask_ccert": "yes", "smtpd_tls_loglevel": "1, cache"}
    with _postfix_with_tls(pair, **asks) as postfix:
        wants = {**_wants("verify", "postfix.example.com", pair), **cache, **own}
        agent = tls_agent(log, settings={"smtp_connection_cache_on_demand": False}, **wants)

        async def deliver() -> None:
            for _ in range(2):
                (result,) = await agent.deliver(request(f"[127.0.0.1]:{postfix.port}", "u@elsewhere.example"), MESSAGE)
                assert result.outcome is Outcome.SENT, result

        asyncio.run(deliver())
        theirs = postfix.log.read_text()
    assert theirs.count("Reusing old session (RFC 5077 session ticket)") == 1
    ours = [line for line in log.lines if line.startswith("Verified TLS connection established to ")]
    full, resumed = (line.partition("bits) ")[2] for line in ours)
    seen = [line.partition("bits) ")[2] for line in theirs.splitlines() if "TLS connection established" in line]
    assert full == seen[0] and "client-signature" in full
    assert "server-signature" in resumed and "client-signature" not in resumed and "digest" not in resumed
    assert seen[1].startswith(f"{resumed} client-signature")


@pytest.mark.parametrize("versions", ["<=TLSv1.3", "<=TLSv1.2"])
def test_a_session_that_postfix_resumes_with_us(pymta_system: Start, versions: str) -> None:
    pair = server_pair("mail.example.com")
    files = {"smtpd_tls_cert_file": str(pair.certificate), "smtpd_tls_key_file": str(pair.key)}
    system = pymta_system(
        {**OFFERS, **files, "smtpd_tls_session_cache_database": "btree:${data_directory}/smtpd_scache"}
    )
    assert "smtpd_tls_session_cache_database" not in system.log
    with open_folder() as folder:
        postfix = _postfix(
            folder / "postfix",
            relayhost=f"[127.0.0.1]:{system.port}",
            smtp_tls_session_cache_database="btree:${data_directory}/smtp_scache",
            smtp_tls_mandatory_protocols=versions,
            smtp_connection_cache_on_demand="no",
            mydestination="postfix.example.com",
            **{**_wants("verify", "mail.example.com", pair), "smtp_tls_loglevel": "1, cache"},
        )
        with postfix.running():
            for number in (1, 2):
                with smtplib.SMTP("127.0.0.1", postfix.port, timeout=20) as session:
                    session.sendmail("s@a.example", ["root@example.com"], "Subject: from postfix\r\n\r\nbody\r\n")
                eventually(lambda: postfix.log.read_text().count("status=sent") == number)  # noqa: B023
            theirs = postfix.log.read_text()
        assert theirs.count("Reusing old session") == 1
        ours = [line.partition("bits) ")[2] for line in system.log.splitlines() if "TLS connection established" in line]
        seen = [line.partition("bits) ")[2] for line in theirs.splitlines() if "TLS connection established" in line]
        assert ours == seen and len(ours) == 2
