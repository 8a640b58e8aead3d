"""Where a command finds its configuration."""

from __future__ import annotations

import os
from pathlib import Path

_CANDIDATES = ("/etc/pymta", "/etc/postfix")


def config_directory(given: str | None) -> Path:
    """`-c DIR`, else MAIL_CONFIG, else /etc/pymta where it has a main.cf, else /etc/postfix."""
    named = given or os.environ.get("MAIL_CONFIG")
    if named:
        return Path(named).absolute()
    for candidate in _CANDIDATES:
        if Path(candidate, "main.cf").exists():
            return Path(candidate)
    return Path(_CANDIDATES[0])
