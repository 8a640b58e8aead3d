"""A process that hangs is killed and started again; what it had in hand goes back to the queue."""

import re
import time
from collections.abc import Callable

import pytest

from tests.support.load import Load, Sink, account
from tests.support.system import PymtaSystem, eventually

Start = Callable[..., PymtaSystem]
KILLING = r"warning: process (\S+) pid (\d+) gave no sign of life for \d+ s; killing it"


@pytest.mark.parametrize(
    ("role", "step"),
    [("qmgr", "delivered"), ("delivery-1", "delivery made"), ("smtpd-1", "message stored")],
)
@pytest.mark.timeout(90)
def test_a_process_that_hangs_is_killed_and_its_work_is_done(pymta_system: Start, role: str, step: str) -> None:
    with Sink() as sink, sink.running():
        system = pymta_system(
            {
                "process_model": "roles",
                "delivery_processes": "1",
                "process_watchdog_time": "1s",
                "relayhost": f"[127.0.0.1]:{sink.port}",
                "mydestination": "",
                "minimal_backoff_time": "1s",
                "maximal_backoff_time": "1s",
                "smtpd_client_connection_count_limit": "0",
            },
            environment={"PYMTA_FAULT": f"{step}:5:hang"},
        )
        load = Load(system, (["a@sink.example"], ["no-one@sink.example", "d@sink.example"]))
        with load.running():
            eventually(lambda: re.search(KILLING, system.log), 20)
            load.kills.append(time.time())
            before = len(load.acknowledged)
            eventually(lambda: len(load.acknowledged) > before + 5, 20)
        eventually(lambda: system.command("postqueue", "-p").stdout == "Mail queue is empty\n", 30)
        result = account(load, sink.arrivals)
    assert result.lost == [] and result.unexplained == []
    [(name, pid)] = re.findall(KILLING, system.log)
    assert name == role
    death = f"warning: process {name} pid {pid} killed by signal 9; next start in 0.1 s"
    eventually(lambda: death in system.log)


def test_nobody_who_is_well_is_killed(pymta_system: Start) -> None:
    system = pymta_system({"process_model": "roles", "process_watchdog_time": "1s"})
    time.sleep(3)
    system.send("root@example.com")
    assert "sign of life" not in system.log and "killed" not in system.log
