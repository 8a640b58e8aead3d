"""bounce_template_file (bounce(5)): syntax, expansion, and that a broken one never stops a notice."""

from __future__ import annotations

from pathlib import Path

import pytest

from pymta.bounce import BounceService
from pymta.bounce.templates import BUILT_IN, Templates, expand, load_templates
from pymta.errors import ConfigError
from pymta.testing import ManualClock, RecordingLog
from tests.support.notices import MemoryIntake, Notices, StoredContent, bounce_settings, bounced, entry

GOOD = """\
# a comment

failure_template = <<EOF
charset: utf-8
From: Our Mail <MAILER-DAEMON>
Subject: It failed
Postmaster-Subject: Copy

Hällo from $myhostname, costs $$5.
  leading blanks and \\ stay
EOF
delay_template = <<STOP
Subject: It waits

EOF
STOP
"""


def load(folder: Path, text: str) -> tuple[Templates, list[str]]:
    (folder / "bounce.cf").write_text(text)
    log = RecordingLog()
    return load_templates(str(folder / "bounce.cf"), log), log.lines


async def test_a_template_file(tmp_path: Path) -> None:
    (tmp_path / "bounce.cf").write_text(GOOD)
    notices = Notices(bounce_template_file=str(tmp_path / "bounce.cf"), notify_classes=("bounce",))
    await notices.service.failed(entry(), [bounced()], StoredContent())
    text = notices.sent[0].text
    assert notices.sent[0].message["Subject"] == "It failed"
    assert "From: Our Mail <MAILER-DAEMON@example.com>\n" in text
    assert "Content-Type: text/plain; charset=utf-8\n" in text
    assert "\n\nHällo from mx.example.com, costs $5.\n  leading blanks and \\ stay\n\n<x@fail.example>: " in text
    assert notices.sent[1].message["Subject"] == "Copy"
    assert notices.log.lines[0].startswith("4QID")


def test_what_a_file_leaves_out_stays_built_in(tmp_path: Path) -> None:
    templates, complaints = load(tmp_path, GOOD)
    assert complaints == []
    assert templates.delay.text == "EOF\n"
    assert templates.delay.postmaster_subject == "Postmaster Warning: Delayed Mail"
    assert templates.success == BUILT_IN.success


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("nonsense\n", 'bounce.cf, line 1: syntax error: "nonsense"'),
        ("failure_template = <<\n", "bounce.cf, line 1: missing end marker after <<"),
        ("\nfailure_template = <<EOF\nx\n", 'bounce.cf, line 2: missing "EOF" end marker'),
        ("other_template = <<EOF\nx\nEOF\n", "unknown template name: other -- ignoring this template"),
        ("failure_template = <<EOF\nX-Head: y\n\nx\nEOF\n", 'unknown "X-Head" header label in failure template'),
        ("success_template = <<EOF\nPostmaster-Subject: y\n\nx\nEOF\n", 'inapplicable "Postmaster-Subject" header'),
        ("failure_template = <<EOF\nSubject:\n\nx\nEOF\n", 'empty "Subject" header value in failure template'),
        ("failure_template = <<EOF\nSubject: ü\n\nx\nEOF\n", 'non-ASCII "Subject" header value in failure template'),
        ("failure_template = <<EOF\nSubject: y\n\nEOF\n", "missing message text in failure template"),
        ("failure_template = <<EOF\n\nü\nEOF\n", "8-bit message text in failure template"),
    ],
)
def test_a_broken_template_is_named_and_left_out(tmp_path: Path, text: str, complaint: str) -> None:
    templates, complaints = load(tmp_path, text)
    assert templates == BUILT_IN
    assert complaint in complaints[0]


def test_a_missing_file_is_warned_about(tmp_path: Path) -> None:
    log = RecordingLog()
    assert load_templates(str(tmp_path / "none"), log) == BUILT_IN
    assert "No such file" in log.lines[0]


@pytest.mark.parametrize(
    ("text", "expanded", "complaint"),
    [
        ("$name ${name} $(name) $$name", "value value value $name", ""),
        ("$wait_seconds $wait_minutes $wait_hours", "9000 150 2", ""),
        ("${wait_days}", "0", 'zero result in failure template conversion of parameter "wait_days"'),
        ("$wait_years", "$wait_years", 'unrecognized suffix "years" in parameter "wait_years"'),
        ("$other", "$other", "undefined $name in failure template: other"),
        ("100 $", "100 $", "undefined $name in failure template: "),
    ],
)
def test_expansion(text: str, expanded: str, complaint: str) -> None:
    log = RecordingLog()
    assert expand("failure", text, {"name": "value"}.get, {"wait": 9000.0}, log) == expanded
    assert complaint in (log.lines or [""])[0]


async def test_a_parameter_that_is_unknown_stays_as_it_is(tmp_path: Path) -> None:
    def parameter(name: str) -> str:
        raise ConfigError("unknown parameter", name=name)

    (tmp_path / "bounce.cf").write_text("failure_template = <<END\n\nat $myhostname $mydomian\nEND\n")
    intake, log = MemoryIntake(), RecordingLog()
    settings = bounce_settings(bounce_template_file=str(tmp_path / "bounce.cf"))
    service = BounceService(settings, intake, ManualClock(), log, parameter=parameter)
    await service.failed(entry(), [bounced()], StoredContent())
    assert "\nat mx.example.com $mydomian\n" in intake.accepted[0].text
    assert log.lines[0] == "undefined $name in failure template: mydomian"
