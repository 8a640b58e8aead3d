"""Repairs of content bytes as they stream by: stray CR and LF, unwanted characters (postconf(5))."""

from __future__ import annotations

import re

from pymta.cleanup.settings import CleanupSettings

# More than one CR before an LF is a line end of programs that convert twice; all but one go.
_STRAY = re.compile(rb"(\r+)(?=\r\n)|\r(?!\n)|(?<!\r)\n")
_MAX_HELD = 1000
_ESCAPE = re.compile(r"\\([0-7]{1,3}|.)", re.DOTALL)
_NAMED = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}


class CharacterRules:
    """Which characters are repaired, removed or refused; the same for every message of a configuration."""

    def __init__(self, settings: CleanupSettings) -> None:
        self.replaces_stray = settings.cleanup_replace_stray_cr_lf
        self.stripped = unescape(settings.message_strip_characters)
        refused = unescape(settings.message_reject_characters)
        self.refused = re.compile(b"[" + re.escape(refused) + b"]") if refused else None


class ContentCleaner:
    """One message's bytes. CRs at the end of a chunk wait in `held` for the next, since an LF may follow."""

    def __init__(self, rules: CharacterRules) -> None:
        self._rules = rules
        self.held = b""
        self.is_refused = False

    def take(self, data: bytes, *, is_tidy: bool = False) -> bytes:
        """The bytes to keep of `data`; `is_refused` turns true at a character that nobody may send.

        With `is_tidy` there is nothing stray in `data`.
        """
        rules = self._rules
        if rules.refused and not self.is_refused and rules.refused.search(data):
            self.is_refused = True
        if rules.stripped:
            data, is_tidy = data.translate(None, rules.stripped), False
        if not rules.replaces_stray or (is_tidy and not self.held):
            return data
        return self._without_stray(data)

    def finish(self) -> bytes:
        """What was held back."""
        held, self.held = self.held, b""
        return held.replace(b"\r", b" ")

    def _without_stray(self, data: bytes) -> bytes:
        if self.held:
            data, self.held = self.held + data, b""
        # To delete a character takes half the time of counting it.
        without_ends = len(data) - data.count(b"\r\n")
        if len(data.replace(b"\r", b"")) == without_ends == len(data.replace(b"\n", b"")):
            return data
        size = len(data) - len(data.rstrip(b"\r"))
        if 0 < size <= _MAX_HELD:
            data, self.held = data[:-size], data[-size:]
        return _STRAY.sub(_repair, data)


def _repair(match: re.Match[bytes]) -> bytes:
    return b"" if match[1] else b" "


def unescape(text: str) -> bytes:
    """Characters written with C's escapes (`\\0`, `\\t`, `\\377`), as bytes."""

    def character(match: re.Match[str]) -> str:
        code = match[1]
        return chr(int(code, 8) & 255) if code.isdigit() else chr(_NAMED.get(code, ord(code)))

    return _ESCAPE.sub(character, text).encode("latin-1", "ignore")
