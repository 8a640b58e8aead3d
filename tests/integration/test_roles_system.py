"""pymta as several processes: each may die at any moment, and nothing that was acknowledged is lost."""

import contextlib
import os
import re
import signal
import smtplib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.load import Load, Sink, account
from tests.support.peers import free_port
from tests.support.system import REPOSITORY, PymtaSystem, eventually, roles

Start = Callable[..., PymtaSystem]
ROLES = {"process_model": "roles", "smtpd_processes": "2", "delivery_processes": "2"}
RECIPIENTS = (["a@sink.example"], ["b@sink.example", "c@sink.example"], ["no-one@sink.example", "d@sink.example"])


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as server, server.running():
        yield server


@pytest.fixture
def system(pymta_system: Start, sink: Sink) -> PymtaSystem:
    started = pymta_system(
        {
            **ROLES,
            "relayhost": f"[127.0.0.1]:{sink.port}",
            "mydestination": "",
            "minimal_backoff_time": "1s",
            "maximal_backoff_time": "2s",
            "smtpd_client_connection_count_limit": "0",
        }
    )
    return up(started)


def up(system: PymtaSystem) -> PymtaSystem:
    """All processes are there, and the connection that looked for the first one is over."""
    eventually(lambda: "daemon started" in system.log and "disconnect from" in system.log)
    return system


def settled(system: PymtaSystem) -> None:
    eventually(lambda: system.command("postqueue", "-p").stdout == "Mail queue is empty\n", 45)


def test_the_processes_are_there_under_their_names(system: PymtaSystem, sink: Sink) -> None:
    assert list(roles(system)) == ["delivery-1", "delivery-2", "qmgr", "smtpd-1", "smtpd-2"]
    status = system.command("pymta", "status", "--json").stdout
    assert system.process is not None and f'"pid": {system.process.pid}' in status
    queue_id = system.send("x@sink.example", "X-Mark: <one>\r\n\r\nbody\r\n")
    eventually(lambda: [one.mark for one in sink.arrivals] == ["one"])
    eventually(lambda: f"{queue_id}: removed" in system.log)
    line = next(line for line in system.log.splitlines() if f"{queue_id}: to=" in line)
    assert "postfix/smtp[" in line and "status=sent (250 2.0.0 Ok)" in line


@pytest.mark.parametrize("victim", ["smtpd-1", "qmgr", "delivery-1"])
@pytest.mark.timeout(120)
def test_a_killed_process_comes_back_and_every_message_is_accounted_for(
    system: PymtaSystem, sink: Sink, victim: str
) -> None:
    load = Load(system, RECIPIENTS)
    with load.running():
        for _ in range(3):
            time.sleep(0.4)
            pid = roles(system)[victim]
            os.kill(pid, signal.SIGKILL)
            load.kills.append(time.time())
            eventually(lambda old=pid: roles(system).get(victim, old) != old)
        # So many that it means something.
        eventually(lambda: len(load.acknowledged) > 30, 30)
    settled(system)
    result = account(load, sink.arrivals)
    assert result.lost == []
    assert result.unexplained == []
    assert re.search(rf"warning: process {victim} pid \d+ killed by signal 9; next start in", system.log)
    assert not [error for error in load.refusals if error.smtp_code >= 500]
    # What the dead left goes while mail flows.
    eventually(lambda: not list((system.folder / "spool").rglob("drafts/*/*")))
    eventually(lambda: not [path for path in (system.folder / "spool").rglob("content/*/*") if path.is_file()])


def test_without_a_queue_manager_nothing_is_acknowledged(pymta_system: Start, sink: Sink) -> None:
    """It is stopped, not dead: the answer that does not come is no 250 either."""
    system = pymta_system({**ROLES, "relayhost": f"[127.0.0.1]:{sink.port}", "mydestination": ""})
    up(system)
    with system.smtp() as session:
        session.ehlo()
        session.mail("s@a.example")
        session.rcpt("x@sink.example")
        qmgr = roles(system)["qmgr"]
        os.kill(qmgr, signal.SIGSTOP)
        session.docmd("DATA")
        session.send(b"Subject: x\r\n\r\nbody\r\n.\r\n")
        time.sleep(0.5)
        os.kill(qmgr, signal.SIGKILL)
        code, reply = session.getreply()
        assert code == 451, reply
    eventually(lambda: roles(system).get("qmgr", qmgr) != qmgr)
    eventually(lambda: "queue file write error: the queue manager is not there" in system.log)
    eventually(lambda: _accepts(system))
    eventually(lambda: {one.mark for one in sink.arrivals} == {"later"})


def _accepts(system: PymtaSystem) -> bool:
    # `send` asserts that nothing else is refused.
    with contextlib.suppress(smtplib.SMTPDataError, AssertionError):
        return bool(system.send("x@sink.example", "X-Mark: <later>\r\n\r\nbody\r\n"))
    return False


@pytest.mark.timeout(90)
def test_a_reload_under_load_drops_no_connection(system: PymtaSystem, sink: Sink) -> None:
    load = Load(system, RECIPIENTS)
    with load.running(), system.smtp() as session:
        session.ehlo()
        for number in range(4):
            system.write_main({"message_size_limit": f"2000000{number}"})
            system.command("pymta", "reload")
            assert session.noop()[0] == 250
            for _ in range(4):
                # Both processes answer with the new configuration.
                with system.smtp() as later:
                    assert f"SIZE 2000000{number}".encode() in later.ehlo()[1]
    assert load.refusals == []
    settled(system)
    assert account(load, sink.arrivals) == account(
        load, list({(a.mark, a.recipient): a for a in sink.arrivals}.values())
    )
    assert account(load, sink.arrivals).lost == []


def test_a_reload_with_an_error_leaves_everybody_with_the_old_configuration(system: PymtaSystem) -> None:
    system.write_main({"message_size_limit": "many"})
    done = system.command("pymta", "reload", check=False)
    assert done.returncode == 1 and "message_size_limit" in done.stderr
    for _ in range(4):
        with system.smtp() as session:
            assert b"SIZE 10240000" in session.ehlo()[1]


def test_a_reload_opens_and_closes_ports(system: PymtaSystem) -> None:
    second = free_port()
    master = system.config / "master.cf"
    before = master.read_text()
    master.write_text(before + f"127.0.0.1:{second} inet n - n - - smtpd\n")
    assert system.process is not None
    system.process.send_signal(signal.SIGHUP)
    eventually(lambda: "reload -- configuration" in system.log)
    for _ in range(4):
        with smtplib.SMTP("127.0.0.1", second, timeout=10) as session:
            assert session.noop()[0] == 250
    master.write_text(before)
    system.command("pymta", "reload")
    with pytest.raises(ConnectionRefusedError):
        smtplib.SMTP("127.0.0.1", second, timeout=10)


def test_a_second_instance_on_the_same_spool_is_refused(system: PymtaSystem, tmp_path: Path) -> None:
    other = PymtaSystem(tmp_path / "other", {**ROLES, "queue_directory": str(system.folder / "spool")})
    other.prepare()
    done = subprocess.run(
        [sys.executable, "-m", "pymta.cli", "-c", str(other.config), "run"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert f"is in use by process {roles(system)['qmgr']}" in done.stderr
    system.send("x@sink.example")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_with_the_supervisor_all_processes_end(system: PymtaSystem, how: signal.Signals) -> None:
    pids = roles(system).values()
    assert system.process is not None
    system.process.send_signal(how)
    eventually(lambda: not [pid for pid in pids if Path(f"/proc/{pid}").exists()], 10)
    system.stop()
    system.start()
    system.send("x@sink.example")


def test_a_stop_lets_a_message_under_way_end(system: PymtaSystem, sink: Sink) -> None:
    session = system.smtp()
    session.ehlo()
    session.mail("s@a.example")
    session.rcpt("x@sink.example")
    assert session.docmd("DATA")[0] == 354
    assert system.process is not None
    system.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    session.send(b"X-Mark: <last>\r\n\r\nbody\r\n.\r\n")
    assert session.getreply()[0] == 250
    session.close()
    assert system.process.wait(20) == 0
    system.start()
    eventually(lambda: [one.mark for one in sink.arrivals] == ["last"])


def test_connection_limits_hold_over_all_processes(pymta_system: Start) -> None:
    system = pymta_system(
        {**ROLES, "smtpd_client_connection_count_limit": "5", "smtpd_client_event_limit_exceptions": ""}
    )
    up(system)
    greetings = []
    connections = [socket.create_connection(("127.0.0.1", system.port), 10) for _ in range(12)]
    for connection in connections:
        greetings.append(connection.recv(1000)[:3])
    assert sorted(greetings) == [b"220"] * 5 + [b"421"] * 7
    for connection in connections:
        connection.close()
    eventually(lambda: _welcome(system))


def test_the_limits_survive_the_queue_manager(pymta_system: Start) -> None:
    system = pymta_system(
        {**ROLES, "smtpd_client_connection_count_limit": "3", "smtpd_client_event_limit_exceptions": ""}
    )
    up(system)
    held = [socket.create_connection(("127.0.0.1", system.port), 10) for _ in range(3)]
    assert [connection.recv(1000)[:3] for connection in held] == [b"220"] * 3
    qmgr = roles(system)["qmgr"]
    os.kill(qmgr, signal.SIGKILL)
    eventually(lambda: roles(system).get("qmgr", qmgr) != qmgr)
    time.sleep(1.5)
    assert not _welcome(system)
    held.pop().close()
    eventually(lambda: _welcome(system))


def _welcome(system: PymtaSystem) -> bool:
    with socket.create_connection(("127.0.0.1", system.port), 10) as connection:
        return connection.recv(1000).startswith(b"220")


def test_lines_of_all_processes_come_out_whole(tmp_path: Path, sink: Sink) -> None:
    """Standard output is a pipe that five processes write to."""
    parameters = {**ROLES, "relayhost": f"[127.0.0.1]:{sink.port}", "mydestination": "", "maillog_file": "/dev/stdout"}
    system = PymtaSystem(tmp_path / "stdout", parameters)
    system.prepare()
    system.start()
    load = Load(system, RECIPIENTS)
    with load.running():
        eventually(lambda: len(load.acknowledged) > 20, 30)
    output = system.stop()
    line = re.compile(r"\w{3} [ \d]\d \d\d:\d\d:\d\d mail postfix/[\w-]+\[\d+\]: .+")
    broken = [text for text in output.splitlines() if not line.fullmatch(text)]
    assert [text for text in broken if "pymta: warning" not in text] == []
    assert output.count("client=") >= len(load.acknowledged) > 20


def test_large_content_goes_through_as_a_file(system: PymtaSystem, sink: Sink) -> None:
    text = "X-Mark: <large>\r\n\r\n" + ("y" * 70 + "\r\n") * 40_000
    system.send("x@sink.example", text)
    eventually(lambda: [one.mark for one in sink.arrivals] == ["large"])
    settled(system)
    assert [path for path in (system.folder / "spool").rglob("content/*/*") if path.is_file()] == []
