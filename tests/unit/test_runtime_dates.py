"""Dates in headers."""

import time

import pytest

from pymta.runtime.dates import mail_date


def test_the_form_that_postfix_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    try:
        assert mail_date(1795263677.9) == "Sat, 21 Nov 2026 12:21:17 +0000 (UTC)"
        assert mail_date(1793491200) == "Sun, 01 Nov 2026 00:00:00 +0000 (UTC)"
    finally:
        monkeypatch.undo()
        time.tzset()
