"""`sendmail -bv` and `-v` on a running pymta: who is told what, and what is delivered (sendmail(1), trace(8))."""

import mailbox
import os
import re
from collections.abc import Callable
from email.message import Message

import pytest

from tests.support.peers import free_port, program, started
from tests.support.system import PymtaSystem, eventually

Start = Callable[..., PymtaSystem]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mail to several system users needs root")
TEXT = "From: root\nSubject: asked\n\nbody\n"
ME = "games"  # Who asks; a system user that Debian and most others have.


def _box(system: PymtaSystem, user: str) -> list[mailbox.mboxMessage]:
    path = system.mail / user
    return list(mailbox.mbox(path)) if path.exists() else []


def _reports(system: PymtaSystem) -> list[mailbox.mboxMessage]:
    return [one for one in _box(system, ME) if one["Subject"] == "Mail Delivery Status Report"]


def _parts(report: Message) -> list[Message]:
    parts = report.get_payload()
    assert isinstance(parts, list)
    return [part for part in parts if isinstance(part, Message)]


def _told(report: Message) -> dict[str, tuple[str, str, str]]:
    """Action, Status and Diagnostic-Code by Final-Recipient."""
    groups = _parts(report)[1].get_payload()
    assert isinstance(groups, list)
    return {
        str(group["Final-Recipient"]).removeprefix("rfc822; "): (
            str(group["Action"]),
            str(group["Status"]),
            re.sub(r"\n\s+", " ", str(group["Diagnostic-Code"])),
        )
        for group in groups[1:]
        if isinstance(group, Message)
    }


def _asks(system: PymtaSystem, *arguments: str) -> Message:
    """Run `sendmail` and wait for the one report that comes of it."""
    done = system.command("sendmail", "-f", ME, *arguments, input=TEXT)
    assert done.stdout == f"Mail Delivery Status Report will be mailed to <{ME}>.\n"
    assert done.stderr == ""
    eventually(lambda: _reports(system))
    (report,) = _reports(system)
    return report


def _sink() -> tuple[list[str], int]:
    port = free_port()
    return [program("smtp-sink"), "-u", "nobody", f"127.0.0.1:{port}", "100"], port


@pytest.mark.parametrize("model", ["single", "roles"])
def test_a_probe_tells_of_everybody_and_delivers_to_nobody(pymta_system: Start, model: str) -> None:
    command, port = _sink()
    with started(*command, port=port):
        system = pymta_system(
            {
                "default_transport": f"smtp:[127.0.0.1]:{port}",
                "local_recipient_maps": "",
                "content_filter": "smtp:[127.0.0.1]:1",
                "process_model": model,
                "soft_bounce": "yes",
            }
        )
        report = _asks(system, "-bv", "root", "nobody-here@localhost", "postmaster", "x@outside.example")
        mail_id = re.search(r"X-Postfix-Queue-ID: (\w+)", str(_parts(report)[1]))
        assert mail_id
        eventually(lambda: f"{mail_id[1]}: removed" in system.log)
    local = "X-Postfix; delivery via local:"
    assert _told(report) == {
        "root@example.com": ("deliverable", "2.0.0", f"{local} delivers to mailbox"),
        "nobody-here@localhost": ("undeliverable", "5.1.1", f'{local} unknown user: "nobody-here"'),
        "x@outside.example": ("deliverable", "2.1.5", "smtp; 250 2.1.5 Ok"),
    }
    text = str(_parts(report)[0].get_payload())
    assert "<root@example.com> (expanded from <postmaster@example.com>): delivery via" in text
    assert "Enclosed is the mail delivery report that you requested." in text
    assert f"<x@outside.example>: delivery via 127.0.0.1[127.0.0.1]:{port}: 250 2.1.5 Ok" in text
    header = str(_parts(report)[2].get_payload())
    assert "Subject: probe\n" in header and f"From: {ME}@example.com\n" in header and "asked" not in header
    statuses = re.findall(r"to=<([^>]+)>.* status=(\w+)", system.log)
    assert {one for one in statuses if one[1] != "sent"} == {
        ("root@example.com", "deliverable"),
        ("nobody-here@localhost", "undeliverable"),
        ("x@outside.example", "deliverable"),
    }
    eventually(lambda: "sender delivery status notification: " in system.log)
    assert _box(system, "root") == [] and len(_box(system, ME)) == 1
    assert system.queue() == []


def test_one_v_delivers_and_reports_the_first_attempt_once(pymta_system: Start) -> None:
    command, port = _sink()
    with started(*command, port=port):
        system = pymta_system(
            {
                "local_recipient_maps": "",
                "default_transport": f"smtp:[127.0.0.1]:{port}",
                "transport_maps": "inline:{down.example=smtp:[127.0.0.1]:1}",
                "minimal_backoff_time": "1s",
                "maximal_backoff_time": "1s",
            }
        )
        everybody = ("root", "nobody-here@localhost", "x@outside.example", "x@down.example")
        report = _asks(system, "-v", *everybody)
        eventually(lambda: system.log.count("to=<x@down.example>") >= 3)
    assert {address: told[:2] for address, told in _told(report).items()} == {
        "root@example.com": ("delivered", "2.0.0"),
        "nobody-here@localhost": ("failed", "5.1.1"),
        "x@outside.example": ("relayed", "2.0.0"),
        "x@down.example": ("delayed", "4.4.1"),
    }
    assert "Subject: asked\n" in str(_parts(report)[2].get_payload())
    assert [one["Subject"] for one in _box(system, "root")] == ["asked"]
    # The failure is told in a notice of its own as well; later attempts are in the log only.
    subjects = sorted(str(one["Subject"]) for one in _box(system, ME))
    assert subjects == ["Mail Delivery Status Report", "Undelivered Mail Returned to Sender"]
    assert [entry["queue_name"] for entry in system.queue()] in (["deferred"], ["active"])


def test_the_request_survives_while_the_program_is_down(pymta_system: Start) -> None:
    system = pymta_system()
    system.stop()
    done = system.command("sendmail", "-f", ME, "-bv", "root")
    assert done.stdout == f"Mail Delivery Status Report will be mailed to <{ME}>.\n"
    system.start()
    eventually(lambda: _reports(system))
    assert _told(_reports(system)[0])["root@example.com"][0] == "deliverable"
    assert _box(system, "root") == []


def test_nobody_is_told_of_a_probe_without_a_sender(pymta_system: Start) -> None:
    system = pymta_system()
    system.command("sendmail", "-bv", "-f", "", "root")
    eventually(lambda: "removed" in system.log)
    assert "not sending trace/success notification for single-bounce message" in system.log
    assert "status=deliverable (delivers to mailbox)" in system.log


@pytest.mark.parametrize("option", ["-t", "-v", "-N never"])
def test_what_makes_no_sense_with_a_probe(pymta_system: Start, option: str) -> None:
    done = pymta_system().command("sendmail", "-bv", *option.split(), "root", check=False)
    assert done.returncode == os.EX_USAGE
    assert done.stderr == f"sendmail: fatal: {option[:2]} option cannot be used with -bv\n"
