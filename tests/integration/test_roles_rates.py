"""Rates of clients over several processes: exact, and not forgotten when one of them ends."""

import functools
import os
import re
import signal
import smtplib
import socket
import ssl
from collections.abc import Callable

import pytest

from tests.support.system import PymtaSystem, eventually, roles

Start = Callable[..., PymtaSystem]
LIMITS = {
    "smtpd_client_message_rate_limit": "6",
    "smtpd_client_recipient_rate_limit": "4",
    "smtpd_client_event_limit_exceptions": "",
    "smtpd_client_connection_count_limit": "0",
    "anvil_rate_time_unit": "1h",
}


def mail(system: PymtaSystem) -> bytes:
    """Begin a message in a session of its own."""
    with system.smtp() as session:
        session.ehlo()
        code, text = session.mail("s@a.example")
        return b"%d %s" % (code, text)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_rates_hold_over_all_processes_and_their_ends(pymta_system: Start, processes: str) -> None:
    system = pymta_system({"process_model": "roles", "smtpd_processes": processes, **LIMITS})
    answers = [mail(system) for _ in range(3)]
    for victim in ("qmgr", "smtpd-1"):
        pid = roles(system)[victim]
        os.kill(pid, signal.SIGKILL)
        eventually(lambda pid=pid, victim=victim: roles(system).get(victim, pid) != pid)
        eventually(lambda: _answers(system))
    # While a process has not found the new queue manager yet it says 451, and counts nothing.
    while answers[-2:] != [b"450 4.7.1 Error: too much mail from 127.0.0.1"] * 2:
        answers.append(mail(system))
        assert len(answers) < 50
    assert answers.count(b"250 2.1.0 Ok") == 6
    eventually(lambda: _told(system)[:2] == [7, 8])


def _told(system: PymtaSystem) -> list[int]:
    """The numbers in the log's warnings."""
    return [int(found) for found in re.findall(r"Message delivery request rate limit exceeded: (\d+) ", system.log)]


def _answers(system: PymtaSystem) -> bool:
    """Clients are greeted again, and the queue manager is there."""
    try:
        with system.smtp() as session:
            return session.ehlo()[0] == 250 and b"queue" in system.command("postqueue", "-p").stdout.encode()
    except (OSError, smtplib.SMTPException):
        return False


@pytest.mark.parametrize("model", ["single", "roles"])
def test_recipients_are_counted_over_sessions(pymta_system: Start, model: str) -> None:
    system = pymta_system({"process_model": model, **LIMITS})
    codes = []
    for _ in range(3):
        with system.smtp() as session:
            session.ehlo()
            session.mail("s@a.example")
            codes += [session.rcpt("root@example.com")[0] for _ in range(2)]
    assert codes == [250] * 4 + [450] * 2
    line = "warning: Recipient address rate limit exceeded: 6 from localhost[127.0.0.1] for service "
    eventually(lambda: line in system.log)


def handshake(system: PymtaSystem, session: ssl.SSLSession | None = None) -> tuple[str, ssl.SSLSession | None]:
    """What is said to STARTTLS, or to EHLO behind it; and the session, to be resumed."""
    with socket.create_connection(("127.0.0.1", system.port), 10) as connection:
        connection.recv(1000)
        connection.sendall(b"STARTTLS\r\n")
        reply = connection.recv(1000)
        if not reply.startswith(b"220"):
            return reply.decode()[:9], None
        with _client().wrap_socket(connection, session=session) as secured:
            secured.sendall(b"EHLO x\r\n")
            return secured.recv(1000).decode()[:9].strip(), secured.session


@functools.cache
def _client() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    # Here the session is known when the handshake is done.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def test_who_resumes_a_tls_session_begins_no_new_one(pymta_system: Start) -> None:
    system = pymta_system(
        {
            "process_model": "roles",
            "smtpd_processes": "3",
            "smtpd_tls_security_level": "may",
            "smtpd_client_new_tls_session_rate_limit": "2",
            "smtpd_client_event_limit_exceptions": "",
        }
    )
    reply, session = handshake(system)
    assert reply.startswith("250") and session is not None
    assert [handshake(system, session)[0][:3] for _ in range(9)] == ["250"] * 9
    assert [handshake(system)[0][:9] for _ in range(3)] == ["250-mail.", "421 4.7.0", "454 4.7.0"]
