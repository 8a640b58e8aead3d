"""Rates of clients over several processes: exact, and not forgotten when one of them ends."""

import os
import re
import signal
import smtplib
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
