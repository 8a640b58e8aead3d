"""check_policy_service: the same daemon is asked by Debian's Postfix and by pymta, in the same dialogue."""

from __future__ import annotations

import re
import smtplib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.support.peers import RealPostfix, free_port
from tests.support.policy import PolicyServer, attributes, comparable
from tests.support.system import PymtaSystem

LISTS = (
    "smtpd_client_restrictions",
    "smtpd_helo_restrictions",
    "smtpd_sender_restrictions",
    "smtpd_recipient_restrictions",
    "smtpd_data_restrictions",
    "smtpd_end_of_data_restrictions",
    "smtpd_etrn_restrictions",
)
ANSWERS: dict[str, bytes | None] = {
    "dunno": b"action=dunno\n\n",
    "ok": b"action=OK\n\n",
    "reject": b"action=REJECT go away\n\n",
    "defer": b"action=DEFER_IF_PERMIT come back\n\n",
    "code": b"action=550 5.7.1 Not you\n\n",
    "status": b"action=550 5.1.1 Not here\n\n",
    "prepend": b"action=PREPEND X-Policy: yes\n\n",
    "no-action": b"foo=bar\n\n",
    "garbage": b"hello world\n\n",
    "extra": b"action=REJECT first\nfoo=bar\n\n",
    "order": b"foo=bar\naction=REJECT second\n\n",
    "two": b"action=REJECT first\naction=dunno\n\n",
    "empty": b"\n",
    "list": b"action=reject_unauth_destination, reject\n\n",
    "unknown": b"action=whatever\n\n",
    "table": b"action=hash:/etc/x\n\n",
    "nul": b"action=REJECT a\0b\n\n",
    "blank": b"action=\n\n",
    "close": None,
}
COMMON = {"mydestination": "x.example", "local_recipient_maps": "", "local_transport": "discard"}


@pytest.fixture
def daemon() -> Iterator[PolicyServer]:
    with PolicyServer() as server:
        yield server


def _session(port: int) -> smtplib.SMTP:
    return smtplib.SMTP("127.0.0.1", port, local_hostname="client.example.com", timeout=30)


def _dialogue(port: int) -> None:
    """One session with every stage, two transactions and addresses that need quotes."""
    with _session(port) as session:
        session.ehlo()
        session.docmd("ETRN", "x.example")
        session.mail('"a b"@sender.example', ["SIZE=100"])
        for recipient in ("root@x.example", '"x y"@x.example'):
            session.rcpt(recipient)
        session.data("Subject: x\r\n\r\nhello\r\n")
        session.docmd("VRFY", "root@x.example")
        session.helo("old.example")
        session.mail("")
        session.rcpt("root@x.example")
        session.docmd("RSET")
        session.mail("one@sender.example")
        session.rcpt("root@x.example")
        session.data("Subject: x\r\n\r\nhello\r\n")


def _asked(server: PolicyServer, port: int) -> list[str]:
    server.requests.clear()
    _dialogue(port)
    return [comparable(request) for request in server.requests]


@pytest.mark.parametrize("delayed", ["no", "yes"])
def test_requests_are_postfix_s_byte_for_byte(tmp_path: Path, daemon: PolicyServer, delayed: str) -> None:
    parameters = {
        **dict.fromkeys(LISTS, f"check_policy_service inet:127.0.0.1:{daemon.port}"),
        **COMMON,
        "smtpd_delay_reject": delayed,
        "smtpd_policy_service_policy_context": "here",
        "fast_flush_domains": "x.example",
    }
    with RealPostfix(tmp_path / "postfix", parameters).running() as postfix:
        _asked(daemon, postfix.port)
        theirs = _asked(daemon, postfix.port)
    with PymtaSystem(tmp_path / "pymta", parameters).running() as pymta:
        _asked(daemon, pymta.port)
        ours = _asked(daemon, pymta.port)
        instances = [attributes(request)["instance"] for request in daemon.requests if b"=RCPT\n" in request]
    assert ours == theirs
    assert len(set(instances)) == 3
    assert len(instances) > 3


def _reply(port: int, case: tuple[str, str]) -> str:
    sender, name = case
    with _session(port) as session:
        session.ehlo()
        session.mail(sender)
        return str(session.rcpt(f"{name}@x.example"))


def _replies(port: int, cases: Sequence[tuple[str, str]]) -> list[str]:
    """One for each sender and user, all at once: many wait for a daemon that does not answer."""
    with ThreadPoolExecutor(len(cases)) as clients:
        return list(clients.map(partial(_reply, port), cases))


def _log_lines(text: str) -> list[str]:
    """What smtpd said, without time, process, queue ids and ports; sessions were beside each other."""
    lines = re.findall(r"smtpd\[\d+\]: (.*)", text)
    lines = [re.sub(r"127\.0\.0\.1:\d+", "DAEMON", re.sub(r"^\w{10,}: |NOQUEUE: ", "", line)) for line in lines]
    # Ours says where it stands, and what may have been meant.
    lines = [re.sub(r"access table result: (unknown .*?);.*", r"\1", line) for line in lines]
    return sorted(line for line in lines if line.startswith(("warning", "reject")))


def test_answers_and_failures_are_taken_as_postfix_takes_them(tmp_path: Path, daemon: PolicyServer) -> None:
    daemon.answer = lambda asked: ANSWERS[asked["recipient"].partition("@")[0]]
    parameters = {
        **COMMON,
        "smtpd_recipient_restrictions": f"check_policy_service inet:127.0.0.1:{daemon.port}, reject_unauth_destination",
        "smtpd_policy_service_retry_delay": "1s",
        "smtpd_error_sleep_time": "0",
    }
    cases = [("s@sender.example", name) for name in ANSWERS]
    with RealPostfix(tmp_path / "postfix", parameters).running() as postfix:
        theirs = _replies(postfix.port, cases)
        their_log = _log_lines(postfix.log.read_text())
    with PymtaSystem(tmp_path / "pymta", parameters).running() as pymta:
        ours = _replies(pymta.port, cases)
    our_log = _log_lines(pymta.log)
    assert ours == theirs
    assert our_log == their_log


def test_a_daemon_that_is_not_there_and_one_that_never_answers(tmp_path: Path, daemon: PolicyServer) -> None:
    daemon.answer = lambda asked: b""
    dead = free_port()
    own_terms = "{ unix:private/none, default_action=DUNNO, timeout=3s, try_limit=1 }"
    parameters = {
        **COMMON,
        "smtpd_policy_service_timeout": "1",
        "smtpd_restriction_classes": "dead, own, mute",
        "dead": f"check_policy_service inet:127.0.0.1:{dead}",
        "own": f"check_policy_service {own_terms}",
        "mute": f"check_policy_service {{ inet:127.0.0.1:{daemon.port}, {{ default_action = 450 4.7.1 later }} }}",
        "smtpd_sender_restrictions": "check_sender_access inline:{ {dead@s.example=dead} {own@s.example=own} "
        "{mute@s.example=mute} }",
    }
    cases = [(f"{name}@s.example", "root") for name in ("dead", "own", "mute")]
    with RealPostfix(tmp_path / "postfix", parameters).running() as postfix:
        theirs = _replies(postfix.port, cases)
        their_log = _log_lines(postfix.log.read_text())
    with PymtaSystem(tmp_path / "pymta", parameters).running() as pymta:
        ours = _replies(pymta.port, cases)
    our_log = _log_lines(pymta.log)
    assert ours == theirs
    assert our_log == their_log


def test_one_connection_serves_one_session_after_another(tmp_path: Path, daemon: PolicyServer) -> None:
    check = f"check_policy_service inet:127.0.0.1:{daemon.port}"
    parameters = {**COMMON, "process_model": "single", "smtpd_recipient_restrictions": check}
    with PymtaSystem(tmp_path, parameters).running() as pymta:
        for _ in range(10):
            pymta.send(["a@x.example", "b@x.example"])
    assert (daemon.connections, len(daemon.requests)) == (1, 20)


@pytest.mark.parametrize(("terms", "connections"), [("request_limit=3", 4), ("max_ttl=1s", 2), ("max_idle=1s", 2)])
def test_a_connection_s_limits(tmp_path: Path, daemon: PolicyServer, terms: str, connections: int) -> None:
    parameters = {
        **COMMON,
        "process_model": "single",
        "smtpd_recipient_restrictions": f"check_policy_service {{ inet:127.0.0.1:{daemon.port}, {terms} }}",
    }
    with PymtaSystem(tmp_path, parameters).running() as pymta:
        for _ in range(5):
            pymta.send("a@x.example")
        time.sleep(1.3)
        for _ in range(5):
            pymta.send("a@x.example")
    assert (daemon.connections, len(daemon.requests)) == (connections, 10)
