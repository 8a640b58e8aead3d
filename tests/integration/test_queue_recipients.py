"""A message of more recipients than a queue entry holds, as the listings show it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.system import PymtaSystem, eventually

COUNT = 2500


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PymtaSystem]:
    folder: Path = tmp_path_factory.mktemp("recipients")
    system = PymtaSystem(folder, {"transport_maps": "inline:{{* = retry:4.0.0 later}}", "queue_run_delay": "1h"})
    with system.running():
        system.command("sendmail", *(f"r{number}@x.example" for number in range(COUNT)), input="Subject: x\n\nb\n")
        eventually(lambda: system.log.count("status=deferred") == COUNT, 30)
        yield system


def _check(system: PymtaSystem) -> None:
    everyone = {f"r{number}@x.example" for number in range(COUNT)}
    listed = system.command("postqueue", "-p").stdout.splitlines()
    assert {line.strip() for line in listed if "@x.example" in line} == everyone
    assert listed[-1].endswith("in 1 Request.")
    (message,) = system.queue()
    recipients = message["recipients"]
    assert isinstance(recipients, list)
    assert {one["address"] for one in recipients} == everyone
    assert all("later" in one["delay_reason"] for one in recipients)
    shown = json.loads(system.command("pymta-queue", "show", "--json", str(message["queue_id"])).stdout)
    assert len(shown["recipients"]) == COUNT


def test_listings_show_every_recipient(system: PymtaSystem) -> None:
    _check(system)


def test_they_do_so_while_the_program_is_down(system: PymtaSystem) -> None:
    system.stop()
    _check(system)
