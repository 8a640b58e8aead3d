"""How many files and sockets the process may have open (RLIMIT_NOFILE), and when new clients have to wait."""

from __future__ import annotations

import resource

# Beyond this nothing is gained, and programs that close every possible descriptor after a fork take their time.
_ENOUGH = 131072
_RESERVED = 256


def raise_limit() -> int:
    """Use what the system allows us: the soft limit of a login shell is 1024. Returns the limit in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def is_scarce(descriptor: int) -> bool:
    """Whether a socket's number, the lowest that was free, shows that the last quarter, or 256, is begun.

    These are kept for deliveries, content files and answers to clients who are in already.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft != resource.RLIM_INFINITY and descriptor >= soft - min(_RESERVED, soft // 4)
