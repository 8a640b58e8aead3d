"""Concurrency windows beside those of Postfix's qmgr(8), as it logs them: the same answers, the same numbers."""

from __future__ import annotations

import random
import re
import smtplib
from pathlib import Path

from pymta.qmgr.feedback import ConcurrencyLimits, Feedback, Window
from pymta.testing import Act, ScriptedPeer
from tests.support.load import PeerThread
from tests.support.peers import RealPostfix
from tests.support.system import eventually

DELIVERIES = 120
# Two recipients each: with one, Postfix would schedule by recipient.
RECIPIENTS = DELIVERIES * 2
# Debian's Postfix is built without the third form, the one by the square root.
FORMS = {"smtp": ("1/concurrency", "0.5/concurrency"), "relay": ("0.7", "2/8")}
STEP = re.compile(r"qmgr_queue_(unthrottle|throttle): queue \S+: limit 20 window (\d+) success (\S+) failure")


def script(chance: random.Random) -> dict[str, list[str | Act]]:
    """A server that drops every third connection, in runs."""
    steps: list[str | Act] = []
    while len(steps) < DELIVERIES:
        steps += [chance.choice([Act.DROP, "220 peer", "220 peer"])] * chance.randint(1, 6)
    return {"GREETING": steps}


def postfix(folder: Path, ports: dict[str, int]) -> RealPostfix:
    places = ", ".join(f"{name}.example={name}:[127.0.0.1]:{port}" for name, port in ports.items())
    parameters = {
        "transport_maps": f"inline:{{{places}}}",
        "destination_concurrency_feedback_debug": "yes",
        "default_destination_concurrency_failed_cohort_limit": "1000",
        "smtp_connection_cache_on_demand": "no",
        "relay_domains": "",
    }
    for name, (positive, negative) in FORMS.items():
        parameters[f"{name}_destination_recipient_limit"] = "2"
        parameters[f"{name}_destination_concurrency_positive_feedback"] = positive
        parameters[f"{name}_destination_concurrency_negative_feedback"] = negative
    return RealPostfix(folder / "postfix", parameters)


def steps(real: RealPostfix, port: int) -> list[tuple[str, int, float]]:
    """Each answer about a destination, with the window and the count of successes behind it."""
    found = []
    for line in real.log.read_text().splitlines():
        if f":{port}: limit" in line and (match := STEP.search(line)) is not None:
            found.append((match[1], int(match[2]), float(match[3])))
    return found


def follow(window: Window, answers: list[tuple[str, int, float]]) -> list[int]:
    """The sizes of a window of ours after the same answers."""
    sizes = []
    before: tuple[int, float] = (window.size, 0.0)
    for kind, size, success in answers:
        if kind == "throttle":
            window.failed()
        else:
            # How many are under way is not in the log: too few for the window where a success counts for nothing.
            window.succeeded(window.size - 5 if (size, success) == before else window.size)
        before = size, success
        sizes.append(window.size)
    return sizes


def test_windows_are_postfix_s_step_by_step(tmp_path: Path) -> None:
    chance = random.Random(7)
    with PeerThread(ScriptedPeer(script(chance))) as one, PeerThread(ScriptedPeer(script(chance))) as two:
        ports = {"smtp": one.port, "relay": two.port}
        with postfix(tmp_path, ports).running() as real:
            for name in FORMS:
                with smtplib.SMTP("127.0.0.1", real.port, timeout=20) as session:
                    everyone = [f"u{number}@{name}.example" for number in range(RECIPIENTS)]
                    session.sendmail("s@a.example", everyone, "Subject: x\r\n")
            eventually(lambda: all(len(steps(real, port)) >= DELIVERIES for port in ports.values()), 30)
            answers = {name: steps(real, port) for name, port in ports.items()}
    for name, forms in FORMS.items():
        positive, negative = map(Feedback.parse, forms)
        sizes = follow(Window(ConcurrencyLimits(5, 20, positive, negative, 1000)), answers[name])
        assert sizes == [size for _, size, _ in answers[name]]
        assert len(set(sizes)) >= 4
