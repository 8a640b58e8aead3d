"""A Postfix queue of any length: one message that Postfix deferred, copied under other names."""

from __future__ import annotations

import os
import pwd
import time
from functools import lru_cache
from pathlib import Path

from bench.case import place
from bench.systems import Postfix, smtp_source
from tests.support.peers import free_port

_SECONDS = 20.0
_DIGITS = "0123456789ABCDEF"


def fill(queue: Path, messages: int) -> None:
    """Write `messages` deferred messages and their reasons below `queue`, due in a day."""
    letter, reason = _deferred()
    owner = pwd.getpwnam("mail")
    for name, data, mode in (("deferred", letter, 0o700), ("defer", reason, 0o600)):
        for directory in (queue / name, *(queue / name / digit for digit in _DIGITS)):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.chown(directory, owner.pw_uid, owner.pw_gid)
        for number in range(messages):
            queue_id = f"{number % 16:X}{number:09X}"
            _write(queue / name / queue_id[0] / queue_id, data, mode, owner)


def _write(path: Path, data: bytes, mode: int, owner: pwd.struct_passwd) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    os.write(descriptor, data)
    os.fchown(descriptor, owner.pw_uid, owner.pw_gid)
    due = time.time() + 86_400  # a deferred file's time is that of its next attempt
    os.utime(descriptor, (due, due))
    os.close(descriptor)


@lru_cache(maxsize=1)
def _deferred() -> tuple[bytes, bytes]:
    """A queue file and its file of reasons, as Postfix writes them."""
    with place() as here, Postfix(here, {"relayhost": f"[127.0.0.1]:{free_port()}"}).running() as running:
        smtp_source(running.port, 1, size=600, sessions=1)
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline:
            found = [list((here / "spool" / name).glob("?/*")) for name in ("deferred", "defer")]
            if all(found):
                time.sleep(0.5)
                return found[0][0].read_bytes(), found[1][0].read_bytes()
            time.sleep(0.1)
        raise TimeoutError("Postfix deferred nothing")
