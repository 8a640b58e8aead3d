"""reject_unverified_*: Debian's Postfix and pymta, each with the same next hop that knows some users."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.support.peers import RealPostfix, free_port
from tests.support.system import PymtaSystem, eventually

CASES = (
    ("s@a.example", "good@r.example"),
    ("s@a.example", "bad@r.example"),
    ("s@a.example", "bad@r.example"),
    ("s@a.example", "u@dead.example"),
    ("good@r.example", "root@x.example"),
    ("bad@r.example", "root@x.example"),
    ("u@dead.example", "root@x.example"),
    ("", "root@x.example"),
    ("good@r.example", "nosuch-user-x@x.example"),
)


@pytest.fixture
def hop(tmp_path: Path) -> Iterator[RealPostfix]:
    users = {"mydestination": "r.example", "local_recipient_maps": "inline:{{good=x}}", "local_transport": "discard"}
    with RealPostfix(tmp_path / "hop", users).running() as running:
        yield running


def _parameters(folder: Path, hop: RealPostfix) -> dict[str, str]:
    (folder / "transport").write_text(
        f"r.example smtp:[127.0.0.1]:{hop.port}\ndead.example smtp:[127.0.0.1]:{free_port()}\n"
    )
    return {
        "mydestination": "x.example",
        "myhostname": "mail.example.com",
        "local_recipient_maps": "",
        "relay_domains": "r.example, dead.example",
        "transport_maps": f"texthash:{folder}/transport",
        "address_verify_map": "",
        "address_verify_poll_delay": "1s",
        "smtpd_relay_restrictions": "",
        "smtpd_reject_unlisted_recipient": "no",
        "smtp_host_lookup": "native",
        "alias_maps": "",
    }


def _reply(port: int, case: tuple[str, str]) -> str:
    sender, recipient = case
    with smtplib.SMTP("127.0.0.1", port, local_hostname="c.example", timeout=60) as session:
        session.ehlo()
        session.mail(sender)
        code, text = session.rcpt(recipient)
        return f"{sender} {recipient}: {code} {text.decode()}"


def _ask(port: int) -> list[str]:
    """All at once: each waits for a probe of its own."""
    with ThreadPoolExecutor(len(CASES)) as clients:
        return list(clients.map(partial(_reply, port), CASES))


@pytest.mark.parametrize(
    "more",
    [
        {"smtpd_recipient_restrictions": "reject_unauth_destination, reject_unverified_recipient"},
        {
            "smtpd_recipient_restrictions": "reject_unverified_sender, reject_unauth_destination",
            "unverified_sender_reject_code": "550",
            "unverified_sender_reject_reason": "Bad sender",
            "unverified_sender_defer_code": "451",
        },
    ],
)
def test_replies(tmp_path: Path, hop: RealPostfix, more: Mapping[str, str]) -> None:
    parameters = {**_parameters(tmp_path, hop), **more}
    with RealPostfix(tmp_path / "postfix", parameters).running() as postfix:
        theirs = _ask(postfix.port)
    with PymtaSystem(tmp_path / "pymta", parameters).running() as pymta:
        ours = _ask(pymta.port)
    assert ours == theirs
    assert "status=deliverable (250 2.1.5 Ok)" in pymta.log


@pytest.mark.parametrize("model", ["single", "roles"])
def test_findings_are_kept_and_shared(tmp_path: Path, hop: RealPostfix, model: str) -> None:
    parameters = {
        **_parameters(tmp_path, hop),
        "address_verify_map": "btree:$data_directory/verify_cache",
        "smtpd_recipient_restrictions": "reject_unauth_destination, reject_unverified_recipient",
        "process_model": model,
    }
    system = PymtaSystem(tmp_path / "pymta", parameters)
    for _ in range(2):
        with system.running():
            found = _ask(system.port)
            assert found[0].endswith("250 2.1.5 Ok")
            assert "550 5.1.1 <bad@r.example>" in found[1]
    eventually(lambda: system.log.count("to=<good@r.example>") == 1)
    assert system.log.count("to=<bad@r.example>") - system.log.count("NOQUEUE: reject") <= 1


def test_a_client_does_not_wait_for_ever(tmp_path: Path, hop: RealPostfix) -> None:
    parameters = {
        **_parameters(tmp_path, hop),
        "smtpd_recipient_restrictions": "reject_unauth_destination, reject_unverified_recipient",
        "address_verify_poll_count": "1",
    }
    with PymtaSystem(tmp_path / "pymta", parameters).running() as pymta:
        first = _ask(pymta.port)[0]
        assert first.endswith("Recipient address rejected: unverified address: Address verification in progress")
        eventually(lambda: _ask(pymta.port)[0].endswith("250 2.1.5 Ok"))
