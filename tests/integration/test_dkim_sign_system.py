"""Walk-through I: the guides' OpenDKIM set-up, signed in-process; what arrives elsewhere verifies."""

import os
import re
import shutil
import smtplib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.support import dkim_judges
from tests.support.dkim_signing import record, write_key
from tests.support.peers import environment, free_port, program
from tests.support.system import PymtaSystem, eventually

Start = Callable[..., PymtaSystem]
PROCESS_MODEL = "roles"
TEXT = (
    "From: Joe <joe@example.com>\r\nTo: a@remote.example\r\nSubject: dkim\r\n\r\n"
    "Hello,\r\n\r\n.dots  and blanks \r\n\r\n"
)


class Sink:
    """Another host's MTA; keeps what it is sent, byte for byte."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.port = free_port()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.original_content, bytes)
        self.messages.append(envelope.original_content)
        return "250 2.0.0 Ok"


@pytest.fixture
def sink() -> Iterator[Sink]:
    handler = Sink()
    controller = Controller(handler, hostname="127.0.0.1", port=handler.port, data_size_limit=50_000_000)
    controller.start()
    yield handler
    controller.stop()


def hand_over(*paths: Path) -> None:
    """What guides do with chown: the account that signs owns its files."""
    for path in paths:
        if os.geteuid() == 0:
            shutil.chown(path, "mail", "mail")


def received(sink: Sink, count: int = 1) -> list[bytes]:
    eventually(lambda: len(sink.messages) >= count)
    return sink.messages


@pytest.fixture
def opendkim_folder(tmp_path: Path) -> Path:
    """`opendkim-genkey`, KeyTable, SigningTable and opendkim.conf as the guides have them."""
    folder = tmp_path / "opendkim"
    folder.mkdir()
    genkey = [program("opendkim-genkey"), "-s", "mail", "-d", "example.com", "-D", str(folder)]
    subprocess.run(genkey, env=environment(), check=True, capture_output=True)
    (folder / "KeyTable").write_text(f"mail._domainkey.example.com example.com:mail:{folder}/mail.private\n")
    (folder / "SigningTable").write_text("*@example.com mail._domainkey.example.com\n")
    (folder / "TrustedHosts").write_text("127.0.0.1\nlocalhost\n192.168.0.1/24\n")
    (folder / "opendkim.conf").write_text(
        "Syslog yes\nUMask 007\nCanonicalization relaxed/simple\nMode sv\nOversignHeaders From\n"
        f"KeyTable {folder}/KeyTable\nSigningTable refile:{folder}/SigningTable\n"
        f"ExternalIgnoreList refile:{folder}/TrustedHosts\nInternalHosts refile:{folder}/TrustedHosts\n"
        "Socket inet:8891@localhost\nPidFile /run/opendkim/opendkim.pid\nUserID opendkim\n"
    )
    hand_over(folder, folder / "mail.private")
    return folder


def published(folder: Path) -> dict[str, str]:
    """What a zone with mail.txt says."""
    strings = re.findall(r'"([^"]*)"', (folder / "mail.txt").read_text())
    return {"mail._domainkey.example.com": "".join(strings)}


def test_opendkim_files_sign_as_they_are(pymta_system: Start, sink: Sink, opendkim_folder: Path) -> None:
    system = pymta_system(
        {
            "dkim_opendkim_config": str(opendkim_folder / "opendkim.conf"),
            "default_transport": f"smtp:[127.0.0.1]:{sink.port}",
        }
    )
    system.send("a@remote.example", TEXT, sender="joe@example.com")
    system.command("sendmail", "-f", "joe@example.com", "a@remote.example", input=TEXT.replace("\r\n", "\n"))
    for message in received(sink, 2):
        assert message.startswith(b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/simple; d=example.com; s=mail;")
        assert dkim_judges.opendkim(message, published(opendkim_folder)) == ["pass"]
        assert dkim_judges.mail_dkim(message, published(opendkim_folder)) == ["pass"]
        assert dkim_judges.dkimpy(message, published(opendkim_folder)) == ["pass"]
    eventually(lambda: "DKIM-Signature field added (s=mail, d=example.com)" in system.log)


def test_mail_that_passes_is_not_signed(pymta_system: Start, sink: Sink, tmp_path: Path) -> None:
    key = write_key(tmp_path / "mail.private")
    hand_over(key)
    system = pymta_system(
        {
            "dkim_keys": f"example.com:mail:{key}",
            "mynetworks": "192.0.2.0/24",
            "relay_domains": "remote.example",
            "relay_transport": f"smtp:[127.0.0.1]:{sink.port}",
            "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
        }
    )
    system.send("a@remote.example", TEXT, sender="joe@example.com")
    assert b"DKIM-Signature" not in received(sink)[0]


def test_no_milters_means_no_signature(pymta_system: Start, sink: Sink, tmp_path: Path) -> None:
    key = write_key(tmp_path / "mail.private")
    hand_over(key)
    system = pymta_system(
        {
            "dkim_keys": f"example.com:mail:{key}",
            "default_transport": f"smtp:[127.0.0.1]:{sink.port}",
            "receive_override_options": "no_milters",
        }
    )
    system.send("a@remote.example", TEXT, sender="joe@example.com")
    assert b"DKIM-Signature" not in received(sink)[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs an account that may not read the key")
def test_a_key_that_may_not_be_read_is_named_and_mended_without_restart(
    pymta_system: Start, sink: Sink, tmp_path: Path
) -> None:
    # Root opens no file for mail_owner where another user could put a link to it (docs/processes.md).
    folder = tmp_path / "keys"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    key = write_key(folder / "mail.private")
    values = {
        "dkim_keys": f"example.com:mail:{key}",
        "default_transport": f"smtp:[127.0.0.1]:{sink.port}",
    }
    system = pymta_system(values)
    with system.smtp() as session, pytest.raises(smtplib.SMTPDataError) as refused:
        session.sendmail("joe@example.com", ["a@remote.example"], TEXT)
    assert refused.value.smtp_code == 451
    assert str(key) not in str(refused.value)
    reason = f"{key}: user mail may not read this key file (owner root:root, mode 0600); chown mail {key}"
    eventually(lambda: reason in system.log)
    hand_over(key)

    def accepted() -> bool:
        try:
            system.send("a@remote.example", TEXT, sender="joe@example.com")
        except AssertionError:
            return False
        return True

    eventually(accepted)
    keys = {"mail._domainkey.example.com": record(key.read_bytes())}
    assert dkim_judges.opendkim(received(sink)[0], keys) == ["pass"]


def test_large_mail_has_its_signature_on_top(pymta_system: Start, sink: Sink, tmp_path: Path) -> None:
    key = write_key(tmp_path / "mail.private")
    hand_over(key)
    system = pymta_system(
        {
            "dkim_keys": f"example.com:mail:{key}",
            "default_transport": f"smtp:[127.0.0.1]:{sink.port}",
            "message_size_limit": "20000000",
        }
    )
    text = TEXT + "line of text with  blanks\t and more of it \r\n" * 100_000
    system.send("a@remote.example", text, sender="joe@example.com")
    message = received(sink)[0]
    assert message.startswith(b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;")
    keys = {"mail._domainkey.example.com": record(key.read_bytes())}
    assert dkim_judges.mail_dkim(message, keys) == ["pass"]
