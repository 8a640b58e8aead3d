"""Dates in headers."""

import time
import types

import pytest

from pymta.runtime import dates


@pytest.mark.parametrize(
    ("zone", "now", "written"),
    [
        ("UTC", 1795263677.9, "Sat, 21 Nov 2026 12:21:17 +0000 (UTC)"),
        ("UTC", 1793491200, "Sun, 01 Nov 2026 00:00:00 +0000 (UTC)"),
        ("EST5EDT,M3.2.0,M11.1.0", 1795263677, "Sat, 21 Nov 2026 07:21:17 -0500 (EST)"),
        ("<+0545>-5:45", 1795263677, "Sat, 21 Nov 2026 18:06:17 +0545 (+0545)"),
        ("NST3:30", 1795263677, "Sat, 21 Nov 2026 08:51:17 -0330 (NST)"),
    ],
)
def test_the_form_that_postfix_writes(monkeypatch: pytest.MonkeyPatch, zone: str, now: float, written: str) -> None:
    monkeypatch.setattr(dates, "_latest", (-1, ""))
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert dates.mail_date(now) == written
        assert dates.mail_date(now) == written
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_zone_without_a_name_has_no_comment(monkeypatch: pytest.MonkeyPatch) -> None:
    nameless = types.SimpleNamespace(tm_wday=5, tm_mon=11, tm_zone="")
    monkeypatch.setattr(dates, "_latest", (-1, ""))
    monkeypatch.setattr(time, "localtime", lambda second: nameless)
    monkeypatch.setattr(time, "strftime", lambda form, local: form.replace("%z", "-0000"))
    assert dates.mail_date(0).endswith(" -0000")
