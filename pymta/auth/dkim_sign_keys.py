"""Key files: read once, looked at again about once a second, and every way in which one can be unusable, in words."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pymta.auth.dkim_sign_rules import PATH_STARTS
from pymta.auth.keys import KeyProblem, SigningKey, parse_private_key
from pymta.model.frozen import frozen
from pymta.runtime.root_files import open_file, status

CHECK_INTERVAL = 1.0
"""Seconds between two looks at a key file."""

_LARGEST_FILE = 65536
# With `%` in a KeyTable there are as many key files as senders' domains, so the oldest readings go at some point.
_MOST_KEYS = 10_000
_Stamp = tuple[int, int, int, int, int]


@frozen
class KeyPolicy:
    """What a key must be. `safe` refuses key files that others may read or write; `base` is where `./` paths begin."""

    base: Path
    safe: bool
    minimum_bits: int


@dataclass(slots=True)
class _Known:
    """The last reading of one key: a key, or why there is none."""

    stamp: _Stamp | None
    checked: float
    key: SigningKey | None
    problem: str


class KeyStore:
    """The keys of one configuration. A file that changed is read again; one that fails then counts as unusable."""

    def __init__(self, policy: KeyPolicy, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._policy = policy
        self._monotonic = monotonic
        self._known: dict[str, _Known] = {}

    def get(self, source: str) -> SigningKey:
        """The key in the file `source`, or that `source` itself is. Raises KeyProblem."""
        known = self._known.get(source)
        now = self._monotonic()
        if known is None or (known.stamp is not None and now - known.checked >= CHECK_INTERVAL):
            if len(self._known) >= _MOST_KEYS:
                self._known.clear()
            known = self._known[source] = self._look(source, known, now)
        if known.key is None:
            raise KeyProblem(known.problem)
        return known.key

    def _look(self, source: str, known: _Known | None, now: float) -> _Known:
        if not source.startswith(PATH_STARTS):
            return self._read(None, source.encode("utf-8", "surrogateescape"), "key in the KeyTable", now)
        path = self._policy.base / source
        try:
            stamp = _stamp(status(path))
            if known is not None and known.stamp == stamp:
                known.checked = now
                return known
            return self._read(stamp, read_key_file(path, safe=self._policy.safe), str(path), now)
        except OSError as error:
            return _Known((0, 0, 0, 0, 0), now, None, unreadable(path, error))
        except KeyProblem as error:
            return _Known((0, 0, 0, 0, 0), now, None, str(error))

    def _read(self, stamp: _Stamp | None, data: bytes, name: str, now: float) -> _Known:
        try:
            key = parse_private_key(data)
            if key.kind == "rsa" and key.bits < self._policy.minimum_bits:
                raise KeyProblem(f"{key.bits} bits are fewer than dkim_minimum_key_bits ({self._policy.minimum_bits})")
        except KeyProblem as error:
            return _Known(stamp, now, None, f"{name}: {error}")
        return _Known(stamp, now, key, "")


def read_key_file(path: Path, *, safe: bool) -> bytes:
    """A private key file; with `safe`, one that others may neither read nor write. Raises OSError and KeyProblem."""
    with open_file(path) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise KeyProblem(f"{path}: not a regular file")
        if safe and found.st_mode & 0o027 & ~_allowed(found):
            raise KeyProblem(
                f"{path}: other users may read or change this private key ({_ownership(found)}); "
                f"chmod 0600 {path}, or set dkim_require_safe_keys = no"
            )
        data = file.read(_LARGEST_FILE + 1)
    if len(data) > _LARGEST_FILE:
        raise KeyProblem(f"{path}: larger than any key")
    return data


def _allowed(found: os.stat_result) -> int:
    """A group that this process is in may do what it likes, as OpenDKIM has it."""
    return 0o070 if found.st_gid in {os.getegid(), *os.getgroups()} else 0


def unreadable(path: Path, error: OSError) -> str:
    """Why this process may not read a file: its owner and mode, who we are, and the directory that bars the way."""
    if isinstance(error, FileNotFoundError):
        return f"{path}: there is no such key file"
    if not isinstance(error, PermissionError):
        return f"{path}: {error.strerror}"
    me = user_name(os.geteuid())
    for parent in reversed(path.parents):
        if not os.access(parent, os.X_OK, effective_ids=True):
            return _closed(path, parent, me)
    return _closed(path, path, me)


def barred(path: Path, account: pwd.struct_passwd) -> str:
    """Why `account` may not read a file, by owners and modes; empty where it may. Raises OSError."""
    groups = os.getgrouplist(account.pw_name, account.pw_gid)
    places = [(parent, stat.S_IXOTH) for parent in reversed(path.resolve().parents)]
    for place, wanted in [*places, (path, stat.S_IROTH)]:
        found = place.stat()
        shift = 6 if found.st_uid == account.pw_uid else 3 if found.st_gid in groups else 0
        if not found.st_mode >> shift & wanted:
            return _closed(path, place, account.pw_name)
    return ""


def _closed(path: Path, place: Path, user: str) -> str:
    ownership = _ownership(place.stat())
    if place != path:
        return f"{path}: user {user} may not enter {place} ({ownership})"
    return f"{path}: user {user} may not read this key file ({ownership}); chown {user} {path}"


def _ownership(found: os.stat_result) -> str:
    return f"owner {user_name(found.st_uid)}:{_group_name(found.st_gid)}, mode {stat.S_IMODE(found.st_mode):04o}"


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _stamp(found: os.stat_result) -> _Stamp:
    return found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size, found.st_mode
