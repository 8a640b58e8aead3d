"""Whose rights local delivery acts with; root's never reach a command or a file that mail names."""

from __future__ import annotations

import pwd

from pymta.delivery.local_users import User
from pymta.delivery.mailbox_jobs import Identity
from pymta.errors import ConfigError


def identity_of(user: User | None, default_user: User) -> Identity:
    """The rights of `user`; those of default_privs where there is none, or where it is root."""
    chosen = default_user if user is None or user.uid == 0 else user
    return Identity(chosen.uid, chosen.gid)


def reading_identity(user: User) -> Identity:
    """Who reads a user's `.forward`: himself; for root the keeper, which reads nothing else there."""
    return Identity(user.uid, user.gid, is_keeper=user.uid == 0)


def default_user(name: str) -> User:
    """The user of default_privs; raises ConfigError where it is unknown or privileged (postconf(5))."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise ConfigError(f"unknown user {name!r}", name="default_privs") from None
    if entry.pw_uid == 0 or entry.pw_gid == 0:
        raise ConfigError(f"user {name!r} has root's user or group id", name="default_privs")
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid, "")
