"""Sockets and readiness as systemd hands them over (sd_listen_fds(3), sd_notify(3))."""

import smtplib
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.peers import free_port
from tests.support.system import PymtaSystem, eventually

Start = Callable[..., PymtaSystem]
PROCESS_MODEL = "roles"

# What systemd does before it runs the program: listen, pass as descriptor 3, say so in the environment.
_SYSTEMD = """
import os, socket, sys
family = socket.AF_INET6 if sys.argv[1] == "::" else socket.AF_INET
server = socket.create_server((sys.argv[1], int(sys.argv[2])), family=family, dualstack_ipv6=sys.argv[1] == "::")
os.dup2(server.fileno(), 3)
os.set_inheritable(3, True)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.execv(sys.argv[3], sys.argv[3:])
"""


@pytest.mark.parametrize("place", ["127.0.0.1", "0.0.0.0", "::"])
def test_a_socket_from_systemd_is_used(pymta_system: Start, tmp_path: Path, place: str) -> None:
    if place == "::" and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    port = free_port()
    interfaces = {"127.0.0.1": "127.0.0.1", "0.0.0.0": "all", "::": "all"}[place]
    service = f"127.0.0.1:{port}" if place == "127.0.0.1" else str(port)
    ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    tmp_path.chmod(0o755)
    ready.bind(str(tmp_path / "notify"))
    (tmp_path / "notify").chmod(0o666)
    ready.settimeout(20)
    system = pymta_system(
        {"inet_interfaces": interfaces, "inet_protocols": "all" if place == "::" else "ipv4"},
        services=(f"{service} inet n - n - - smtpd",),
        wrapper=(sys.executable, "-c", _SYSTEMD, place, str(port)),
        environment={"NOTIFY_SOCKET": str(tmp_path / "notify")},
    )
    assert ready.recv(100) == b"READY=1"
    hosts = ["127.0.0.1", "::1"] if place == "::" else ["127.0.0.1"]
    for host in hosts:
        for _ in range(3):
            with smtplib.SMTP(host, port, timeout=10) as session:
                assert session.ehlo()[0] == 250
    # An IPv4 client is one also on a socket for both.
    eventually(lambda: "connect from localhost[127.0.0.1]" in system.log)
    assert "ffff" not in system.log
    system.command("pymta", "reload")
    with smtplib.SMTP(hosts[-1], port, timeout=10) as session:
        assert session.noop()[0] == 250
    system.command("pymta", "stop")
    assert ready.recv(100) in (b"STOPPING=1", b"RELOADING=1", b"READY=1")
    assert system.process is not None
    eventually(lambda: system.process is None or system.process.poll() == 0)
