"""Passwords of the system's own accounts (shadow(5)). Runs in the process that keeps root, and nowhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from pymta.auth.passdb import StoredPassword
from pymta.errors import AuthUnavailableError
from pymta.model.frozen import frozen

DEFAULT_PATH = "/etc/shadow"
_MAX_SIZE = 64 * 1024 * 1024
_DAY = 86400
_FIELDS = 9
_NO_HASH = "$6$rounds=5000$decoydecoydecoyd$" + "." * 86


def today() -> int:
    """Days since the epoch, as shadow(5) counts them."""
    return int(time.time() // _DAY)


@frozen
class ShadowEntry:
    """One account. Days are since the epoch; None where the field is empty."""

    hash: str
    changed: int | None
    lasts: int | None
    expires: int | None

    def is_usable(self, day: int) -> bool:
        """Neither account nor password have ended on `day`; whoever has to change his password first is kept out."""
        if self.expires is not None and day >= self.expires:
            return False
        if self.changed == 0:
            return False
        return self.changed is None or self.lasts is None or day <= self.changed + self.lasts


def parse_shadow(text: str) -> dict[str, ShadowEntry]:
    """Accounts by name; the first of a name counts, lines of another form do not."""
    found: dict[str, ShadowEntry] = {}
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) == _FIELDS and fields[0]:
            days = [int(field) if field.lstrip("-").isdecimal() else None for field in fields]
            found.setdefault(fields[0], ShadowEntry(fields[1], days[2], _positive(days[4]), _positive(days[7])))
    return found


def _positive(days: int | None) -> int | None:
    """-1 stands for no limit."""
    return None if days is None or days < 0 else days


class ShadowPasswords:
    """Checks passwords against a shadow file, which is read for each: it is small, and always as it is now."""

    def __init__(self, path: Path, day: Callable[[], int] = today) -> None:
        self._path = path
        self._day = day

    def check(self, username: str, password: str) -> bool:
        """Slow on purpose. Raises AuthUnavailableError."""
        try:
            with self._path.open("rb") as file:
                accounts = parse_shadow(file.read(_MAX_SIZE).decode("utf-8", "replace"))
        except OSError as error:
            raise AuthUnavailableError(f"{self._path}: {error.strerror}") from error
        entry = accounts.get(username)
        stored = _stored(entry.hash) if entry else None
        try:
            matches = (stored or _decoy(accounts)).matches(password)
        except ValueError as error:
            raise AuthUnavailableError(f"the password of {username}: {error}") from error
        return matches and stored is not None and entry is not None and entry.is_usable(self._day())


def _decoy(accounts: Mapping[str, ShadowEntry]) -> StoredPassword:
    """Somebody's hash, as the system makes them, for a name that has none: it is to cost the same."""
    usable = (_stored(entry.hash) for entry in accounts.values())
    return next((stored for stored in usable if stored), StoredPassword.parse(_NO_HASH))


def _stored(text: str) -> StoredPassword | None:
    """None for an account that is locked, or has no password, or one of a form that nobody knows."""
    try:
        return StoredPassword.parse(text) if text[:1] not in ("", "{") else None
    except ValueError:
        return None
