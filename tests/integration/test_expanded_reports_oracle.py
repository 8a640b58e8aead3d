"""NOTIFY=SUCCESS for an alias of virtual_alias_maps: the report as Debian's Postfix sends it (RFC 3461 5.2.7.3)."""

from __future__ import annotations

import json
import os
import re
import smtplib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.peers import RealPostfix, environment, program
from tests.support.system import PymtaSystem, eventually

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="Postfix's master needs root")

# recipients and NOTIFY of one message each; reports stay in the queue, where they are read.
MESSAGES = (
    (("many",), "SUCCESS"),
    (("one",), "SUCCESS"),
    (("self",), "SUCCESS,FAILURE"),
    (("nest",), "SUCCESS"),
    (("x", "many"), "SUCCESS"),
    (("failing",), "SUCCESS"),
    (("waits", "many"), "SUCCESS,DELAY"),
    (("many", "one"), "SUCCESS"),
)


def _config(folder: Path) -> dict[str, str]:
    aliases = folder / "virtual"
    aliases.write_text(
        "many@example.com a@example.com, b@example.com\n"
        "one@example.com c@example.com\n"
        "self@example.com self@example.com, d@example.com\n"
        "nest@example.com many@example.com\n"
        "failing@example.com a@example.com, never@example.com\n"
        "waits@example.com late@example.com\n"
    )
    return {
        "mydestination": "",
        "relay_domains": "example.com",
        "relay_recipient_maps": "",
        "local_recipient_maps": "",
        "alias_maps": "",
        "virtual_alias_maps": f"texthash:{aliases}",
        "transport_maps": "inline:{{sender@sender.example=retry:later}, {never@example.com=error:no}, "
        "{late@example.com=retry:late}, {example.com=discard:}}",
    }


def _send(port: int) -> None:
    for recipients, notify in MESSAGES:
        with smtplib.SMTP("127.0.0.1", port, timeout=20) as session:
            session.ehlo("client.example.com")
            session.mail("sender@sender.example", ["RET=HDRS"])
            for one in recipients:
                session.rcpt(f"{one}@example.com", [f"NOTIFY={notify}", "ORCPT=rfc822;said@o.example"])
            session.data(f"Subject: {' '.join(recipients)}\r\n\r\nbody\r\n")


def _told(reports: list[str]) -> dict[str, list[str]]:
    """By the subject of the message that was sent: who is named for people, and the fields of each recipient."""
    found: dict[str, list[str]] = {}
    for report in reports:
        subject = re.findall(r"^Subject: (.*)$", report, re.MULTILINE)[-1]
        lines = re.findall(
            r"^(?:<.*>: .*|(?:Final-Recipient|Original-Recipient|Action|Status|Diagnostic-Code): .*)$",
            report,
            re.MULTILINE,
        )
        assert subject not in found, f"two reports of {subject}"
        found[subject] = lines
    return found


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[str]]]:
    folder = tmp_path_factory.mktemp("postfix")
    postfix = RealPostfix(folder, _config(folder))

    def reports() -> list[str]:
        files = [path for path in (postfix.queue / "deferred").rglob("*") if path.is_file()]
        texts = [
            subprocess.run(
                [program("postcat"), "-c", str(postfix.config), str(path)],
                env=environment(),
                capture_output=True,
                text=True,
                check=False,
            ).stdout
            for path in files
        ]
        return [text for text in texts if "Successful Mail Delivery Report" in text]

    with postfix.running():
        _send(postfix.port)
        eventually(lambda: len(reports()) == len(MESSAGES), 30)
        yield _told(reports())


@pytest.mark.parametrize("model", ["single", "roles"])
def test_an_alias_is_reported_as_expanded(
    theirs: dict[str, list[str]], model: str, tmp_path: Path, pymta_system: Callable[..., PymtaSystem]
) -> None:
    system = pymta_system({**_config(tmp_path), "process_model": model, "queue_run_delay": "1s"})
    _send(system.port)

    def reports() -> list[str]:
        listed = [json.loads(line) for line in system.command("postqueue", "-j").stdout.splitlines()]
        ids = [one["queue_id"] for one in listed if one["sender"] == "MAILER-DAEMON"]
        return [system.command("postcat", "-q", one).stdout for one in ids]

    eventually(lambda: len(reports()) >= len(MESSAGES), 30)
    assert _told(reports()) == theirs


def test_a_report_is_not_repeated_by_later_attempts(tmp_path: Path, pymta_system: Callable[..., PymtaSystem]) -> None:
    system = pymta_system({**_config(tmp_path), "queue_run_delay": "1s", "minimal_backoff_time": "1s"})
    with system.smtp() as session:
        session.ehlo("client.example.com")
        session.mail("sender@sender.example")
        for one in ("waits", "many"):
            session.rcpt(f"{one}@example.com", ["NOTIFY=SUCCESS"])
        session.data("Subject: x\r\n\r\nbody\r\n")
    eventually(lambda: system.log.count("to=<late@example.com>") >= 3, 30)
    assert system.log.count("sender delivery status notification") == 1
