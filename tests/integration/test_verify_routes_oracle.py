"""Where probes go and who sends them: Debian's Postfix and pymta with the same parameters."""

from __future__ import annotations

import re
import smtplib
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from pymta.rewrite.probe_sender import _stamp
from tests.support.peers import RealPostfix, free_port
from tests.support.system import PymtaSystem, eventually

BASE = {
    "myhostname": "mail.example.com",
    "myorigin": "x.example",
    "mydestination": "x.example",
    "local_recipient_maps": "",
    "alias_maps": "",
    "address_verify_map": "",
    "address_verify_poll_delay": "1s",
    "smtpd_relay_restrictions": "",
    "smtpd_reject_unlisted_recipient": "no",
    "smtp_host_lookup": "native",
}
VERIFIED = {"smtpd_recipient_restrictions": "reject_unverified_recipient, permit_mynetworks, reject"}


def _rcpt(port: int, recipient: str) -> str:
    with smtplib.SMTP("127.0.0.1", port, local_hostname="c.example", timeout=60) as session:
        session.ehlo()
        session.mail("s@a.example")
        code, text = session.rcpt(recipient)
        # Of several at a time some find that another one has just failed.
        return f"{recipient}: {code} {text.decode()}".replace("delivery temporarily suspended: ", "")


def _ask(port: int, recipients: tuple[str, ...]) -> list[str]:
    with ThreadPoolExecutor(len(recipients)) as clients:
        return list(clients.map(partial(_rcpt, port), recipients))


CLASSES = {
    "relay_domains": "y.example",
    "virtual_mailbox_domains": "v.example",
    "local_transport": "discard:",
    "virtual_transport": "discard:",
    "relay_transport": "discard:",
    "default_transport": "smtp",
    "address_verify_local_transport": "error:5.2.1 probe of local",
    "address_verify_virtual_transport": "error:5.2.1 probe of virtual",
    "address_verify_relay_transport": "error:4.2.1 probe of relay",
    "address_verify_transport_maps": "inline:{{t.example=error:5.2.2 probe by table}}",
}
SENDERS = {
    "address_verify_sender_dependent_relayhost_maps": "inline:{{double-bounce@x.example=[127.0.0.1]:1}}",
    "address_verify_sender_dependent_default_transport_maps": "inline:{{double-bounce@x.example=lmtp}}",
}


@pytest.mark.parametrize("more", [CLASSES, SENDERS])
def test_probes_have_routes_of_their_own(tmp_path: Path, more: dict[str, str]) -> None:
    users = {"mydestination": "r.example", "local_recipient_maps": "inline:{{good=x}}", "local_transport": "discard"}
    addresses = ("u@x.example", "u@v.example", "u@y.example", "u@t.example", "good@r.example", "bad@r.example")
    with RealPostfix(tmp_path / "hop", users).running() as hop:
        hops = {"relayhost": f"[127.0.0.1]:{free_port()}", "address_verify_relayhost": f"[127.0.0.1]:{hop.port}"}
        parameters = {**BASE, **VERIFIED, **hops, **more}
        with RealPostfix(tmp_path / "postfix", parameters).running() as postfix:
            theirs = _ask(postfix.port, addresses)
        with PymtaSystem(tmp_path / "pymta", parameters).running() as pymta:
            ours = _ask(pymta.port, addresses)
            assert ours == theirs
            # Mail itself goes where it always went.
            if more is CLASSES:
                pymta.send("good@r.example")
                eventually(lambda: "status=deferred (connect to 127.0.0.1[127.0.0.1]:" in pymta.log)


def test_a_sender_that_changes_with_time(tmp_path: Path) -> None:
    ttl = 100_000
    parameters = {
        **BASE,
        "local_recipient_maps": "inline:{{root=x}}",
        "address_verify_sender": "probe",
        "address_verify_sender_ttl": f"{ttl}s",
        "smtpd_reject_unlisted_recipient": "yes",
        "smtpd_recipient_restrictions": "permit_mynetworks, reject",
    }
    while ttl - time.time() % ttl < 30:
        time.sleep(1)
    now = int(time.time()) // ttl
    stamps = ("", *(_stamp(now + delta) for delta in (-2, -1, 0, 1, 2)), _stamp(now).lower(), "0", "x", "z" * 40)
    addresses = (*(f"probe{stamp}@x.example" for stamp in stamps), f"PROBE{_stamp(now)}@X.example", "probe0@y.example")
    with RealPostfix(tmp_path / "postfix", parameters).running() as postfix:
        theirs = _ask(postfix.port, addresses)
    with PymtaSystem(tmp_path / "pymta", parameters).running() as pymta:
        assert _ask(pymta.port, addresses) == theirs
        with pymta.smtp() as session:
            session.sendmail("", [f"probe{_stamp(now)}@x.example"], "Subject: x\r\n\r\nbody\r\n")
        eventually(lambda: re.search(r" to=<probe@x\.example>, (?!orig_to)", pymta.log))


def test_probes_carry_the_stamp(tmp_path: Path) -> None:
    sender = {"address_verify_sender_ttl": "100s"}
    logs = []
    for start in (RealPostfix, PymtaSystem):
        parameters = {**BASE, **VERIFIED, **sender, "local_transport": "discard:"}
        with start(tmp_path / start.__name__, parameters).running() as system:
            before = int(time.time()) // 100
            assert ": 250 " in _rcpt(system.port, "u@x.example")
            log = system.log if isinstance(system.log, str) else system.log.read_text()
            found = re.search(r"from=<([^>]*)>, size=", log)
            assert found is not None
            assert found[1] in {f"double-bounce{_stamp(before + delta)}@x.example" for delta in (0, 1)}
            logs.append(found[1])
    assert len(logs[0]) == len(logs[1])
