"""What reads Postfix's log reads ours: fail2ban's filters and pflogsumm find the same in both for the same traffic."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.log_traffic import CONFIG, play
from tests.support.peers import ROOT, RealPostfix, missing, program
from tests.support.perl import perl_environment
from tests.support.sasl import dovecot_auth
from tests.support.system import PymtaSystem, eventually

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the peers need root")

MODES = ("normal", "auth", "ddos", "aggressive", "errors")


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """The logs of Postfix and of pymta after the same traffic."""
    folder = tmp_path_factory.mktemp("logs")
    with dovecot_auth(folder / "dovecot", {"joe@example.com": "right"}) as auth:
        values = {**CONFIG, "smtpd_sasl_path": str(auth)}
        postfix = RealPostfix(folder / "postfix", values)
        pymta = PymtaSystem(folder / "pymta", values)
        with postfix.running(), pymta.running(), ThreadPoolExecutor(2) as players:
            theirs = players.submit(_played, postfix.port, postfix.log, folder / "theirs.log")
            ours = players.submit(_played, pymta.port, pymta.log_file, folder / "ours.log")
    yield theirs.result(), ours.result()


def _played(port: int, log: Path, copy: Path) -> Path:
    """What a system logs of the traffic, without its start. Queue ids have one length in the copy."""
    eventually(lambda: _settled(log))
    start = log.stat().st_size
    play(port)
    eventually(lambda: _settled(log))
    text = log.read_bytes()[start:].decode()
    # Postfix has the queue id in front of these since 3.10; Debian's has none, nor does its fail2ban expect one.
    copy.write_text(re.sub(r"\b[0-9A-Za-z]{10,20}: (?=lost connection after )", "", text))
    return copy


def _settled(log: Path) -> bool:
    if not log.exists():
        return False
    size = log.stat().st_size
    time.sleep(0.7)
    return log.stat().st_size == size


def _matched(log: Path, mode: str) -> list[str]:
    """The lines that fail2ban's postfix filter finds, without what differs from run to run."""
    regex = program("fail2ban-regex")
    config = ROOT / "etc/fail2ban"
    done = subprocess.run(
        [
            sys.executable,
            regex,
            "-c",
            config,
            "--print-all-matched",
            log,
            f"{config}/filter.d/postfix.conf[mode={mode}]",
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT / "usr/lib/python3/dist-packages")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode not in (0, 255) or "Lines:" not in done.stdout:
        missing(f"fail2ban-regex does not run here: {done.stderr[-500:]}")
    listed = done.stdout.partition("Matched line(s):")[2]
    return sorted(_plain(line[3:]) for line in listed.splitlines() if line.startswith("|  "))


def _plain(line: str) -> str:
    line = re.sub(r"^\S+ +\S+ \S+ \S+ ", "", line)
    return re.sub(r"\[\d+\]: [0-9A-Za-z]{9,20}: ", "[N]: ID: ", re.sub(r"\[\d+\]: (?!\w{9,20}: )", "[N]: ", line))


@pytest.mark.parametrize("mode", MODES)
def test_fail2ban_finds_what_it_finds_in_postfix_log(logs: tuple[Path, Path], mode: str) -> None:
    theirs, ours = (_matched(log, mode) for log in logs)
    assert theirs
    assert ours == theirs


def _summary(log: Path) -> list[str]:
    pflogsumm = program("pflogsumm")
    done = subprocess.run(
        ["perl", pflogsumm, "--problems-first", log],
        env=perl_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "Grand Totals" not in done.stdout:
        missing(f"pflogsumm does not run here: {done.stderr[-500:]}")
    # Sizes count the Received: field, whose queue ids differ in length; no count has three digits here. Delays differ.
    lines = [re.sub(r"\b\d{3,}\b|\b\d+\.\d (?=s\b)", "N", line) for line in done.stdout.splitlines()]
    # Of equal figures the order is that of a hash.
    return sorted(line for line in lines if not re.search(r"^ +N-N ", line))


def test_pflogsumm_counts_the_same(logs: tuple[Path, Path]) -> None:
    theirs, ours = map(_summary, logs)
    assert ours == theirs
