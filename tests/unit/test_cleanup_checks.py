"""What header_checks and body_checks make of content, whatever pieces it comes in."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymta.checks.content_checks import CheckRules, ContentChecks
from pymta.cleanup.check_actions import IntakeActions
from pymta.cleanup.checked_draft import intake_rules
from pymta.model.access import Effect, EffectKind
from pymta.tables import TableFactory
from pymta.testing import RecordingLog

TABLE = (
    "pcre:{ {/gone/ IGNORE} {/new/ REPLACE X-New: one} {/more/ PREPEND X-More: two} {/stop/ PASS} {/no$/ REJECT} "
    "{/note/ WARN} }"
)
MULTIPART = (
    b"Content-Type: multipart/mixed; boundary=AA\r\nSubject: x\r\n\r\npre\r\n--AA\r\nX-Part: gone\r\nX-Part: b\r\n\r\n"
    b"text\r\n--AA\r\nContent-Type: message/rfc822\r\n\r\nSubject: new\r\n\r\ninner\r\n--AA--\r\npost\r\n"
)


def _rules(**values: Any) -> CheckRules:
    parameters = {
        "header_checks": TABLE,
        "mime_header_checks": TABLE,
        "nested_header_checks": TABLE,
        "body_checks": "",
        "body_checks_size_limit": 51200,
        "line_length_limit": 2048,
        "header_size_limit": 102400,
        "disable_mime_input_processing": False,
        **values,
    }
    return intake_rules(SimpleNamespace(**parameters), TableFactory(Path("/")))  # type: ignore[arg-type]


RULES = _rules()
BODY_RULES = _rules(body_checks=TABLE, body_checks_size_limit=40)


class Run:
    """One message through the checks, in pieces of `by` bytes."""

    def __init__(self, rules: CheckRules = RULES) -> None:
        self.log = RecordingLog()
        self.actions = IntakeActions(self.log, "ID", lambda: "from here")
        self._checks = ContentChecks(rules, self.actions)

    async def through(self, content: bytes, by: int = 0) -> bytes:
        by = by or len(content) or 1
        written = [await self._checks.take(content[start : start + by]) for start in range(0, len(content), by)]
        return b"".join([*written, await self._checks.finish()])


@pytest.mark.parametrize(
    ("content", "result"),
    [
        (b"A: gone\r\nB: b\r\n\r\ngone\r\n", b"B: b\r\n\r\ngone\r\n"),
        (b"A: gone\r\n gone\r\nB: b\r\n\r\n", b"B: b\r\n\r\n"),
        (b"A: new\r\n\r\nx\r\n", b"X-New: one\r\n\r\nx\r\n"),
        (b"A: more\r\n\r\nx\r\n", b"X-More: two\r\nA: more\r\n\r\nx\r\n"),
        (b"A: stop\r\nB: gone\r\n\r\nx\r\n", b"A: stop\r\nB: gone\r\n\r\nx\r\n"),
        (b"A: gone\r\nno field gone\r\n", b"\r\nno field gone\r\n"),
        (b"A: gone\r\n", b""),
        (b"", b""),
        (b"\r\nonly text\r\n", b"\r\nonly text\r\n"),
        (MULTIPART, MULTIPART.replace(b"X-Part: gone\r\n", b"").replace(b"Subject: new", b"X-New: one")),
        (b"A: a\r\n\r\n--AA\r\nA: gone\r\n", b"A: a\r\n\r\n--AA\r\nA: gone\r\n"),
    ],
)
async def test_content(content: bytes, result: bytes) -> None:
    for by in (0, 1, 2, 3, 7):
        assert await Run().through(content, by) == result, by


@pytest.mark.parametrize(
    ("content", "result"),
    [
        (b"A: a\r\n\r\ngone\r\nb\r\n", b"A: a\r\n\r\nb\r\n"),
        (b"A: a\r\n\r\nmore\r\n", b"A: a\r\n\r\nX-More: two\r\nmore\r\n"),
        (b"A: a\r\n\r\ngone", b"A: a\r\n\r\n"),
        (b"A: a\r\n\r\n" + b"x" * 38 + b"\r\ngone\r\ngone\r\n", b"A: a\r\n\r\n" + b"x" * 38 + b"\r\ngone\r\n"),
    ],
)
async def test_bodies(content: bytes, result: bytes) -> None:
    for by in (0, 1, 2, 3, 7):
        assert await Run(BODY_RULES).through(content, by) == result, by


async def test_what_is_refused_is_looked_at_no_more() -> None:
    run = Run()
    content = b"A: note\r\nB: no\r\nC: note\r\n\r\nx\r\n"
    assert await run.through(content, 5) == content
    assert str(run.actions.refusal) == "550 5.7.1 message content rejected"
    assert run.log.lines == [
        "ID: warning: header A: note from here",
        "ID: reject: header B: no from here: 5.7.1 message content rejected",
    ]


async def test_effects_are_collected() -> None:
    table = "pcre:{ {/hold/ HOLD} {/copy/ BCC c@example.com} {/filter/ FILTER smtp:x} {/gone/ DISCARD} }"
    run = Run(_rules(header_checks=table))
    await run.through(b"A: hold\r\nB: hold\r\nC: copy\r\nD: filter\r\nE: gone\r\nF: copy\r\n\r\n")
    assert run.actions.effects == [
        Effect(EffectKind.HOLD),
        Effect(EffectKind.BCC, "c@example.com"),
        Effect(EffectKind.FILTER, "smtp:x"),
        Effect(EffectKind.DISCARD),
    ]


async def test_without_mime_parts_are_text() -> None:
    assert await Run(_rules(disable_mime_input_processing=True)).through(MULTIPART) == MULTIPART


PIECES = st.sampled_from(
    [
        *(
            b"--AA\r\n",
            b"--AA--\r\n",
            b"--BB\r\n",
            b"\r\n",
            b"text\r\n",
            b"\r",
            b"\n",
            b"A: gone\r\n",
            b"A: b\r\n c\r\n",
        ),
        *(b"Content-Type: message/rfc822\r\n", b'Content-Type: multipart/mixed; boundary="BB"\r\n', b"--A", b"x" * 50),
    ]
)


@settings(max_examples=80, deadline=None)
@given(st.lists(PIECES, max_size=30), st.integers(1, 40))
async def test_pieces_do_not_matter_and_nothing_is_lost(pieces: list[bytes], by: int) -> None:
    content = b"Content-Type: multipart/digest; boundary=AA\r\n\r\n" + b"".join(pieces)
    harmless = _rules(**dict.fromkeys(("header_checks", "mime_header_checks", "nested_header_checks"), "static:DUNNO"))
    if content.endswith(b"\n"):
        assert await Run(harmless).through(content, by) == content
    assert await Run().through(content, by) == await Run().through(content)


@pytest.mark.parametrize("line", [b"--AA\r\n", b"--AA\r\nA: b\r\n", b"-", b"--A\r\n", b"A: b\r\n", b"\r\n"])
async def test_a_megabyte_of_anything_takes_no_longer_than_that(line: bytes) -> None:
    content = b"Content-Type: multipart/mixed; boundary=AA\r\n\r\n" + line * (1_000_000 // len(line))
    begun = time.process_time()
    await Run(BODY_RULES).through(content, 65536)
    assert time.process_time() - begun < 4


async def test_nesting_ends() -> None:
    levels = b"".join(
        b"Content-Type: multipart/mixed; boundary=B%d-\r\n\r\n--B%d-\r\n" % (level, level) for level in range(3000)
    )
    begun = time.process_time()
    assert await Run().through(levels, 65536) == levels
    assert time.process_time() - begun < 4
