"""Compatibility levels: `MAJOR[.MINOR[.PATCH]]`, compared number by number (COMPATIBILITY_README)."""

from __future__ import annotations

import re

_LEVEL = re.compile(r"([0-9]+)(?:\.([0-9]+)(?:\.([0-9]+))?)?")
_LARGEST_MAJOR = 2047
_LARGEST_PART = 1023


def parse_level(text: str) -> tuple[int, int, int]:
    """Read `3`, `3.6` or `3.6.1`; missing parts are zero. Raises ValueError for anything else."""
    match = _LEVEL.fullmatch(text)
    if match and all(len(part or "") <= 5 for part in match.groups()):
        major, minor, patch = (int(part or 0) for part in match.groups())
        if major <= _LARGEST_MAJOR and minor <= _LARGEST_PART and patch <= _LARGEST_PART:
            return major, minor, patch
    raise ValueError(f'malformed compatibility level syntax: "{text}"')


def format_level(level: tuple[int, int, int]) -> str:
    """The shortest usual spelling: a patch or, from 3 on, a minor number is always shown."""
    major, minor, patch = level
    if patch:
        return f"{major}.{minor}.{patch}"
    return f"{major}.{minor}" if minor or major > 2 else str(major)
