"""Giving up root for good once the ports are bound."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from pymta.errors import ConfigError
from pymta.runtime.root_files import is_safe


def owner(name: str) -> pwd.struct_passwd:
    """The account that `mail_owner` names; raises ConfigError telling how to make it."""
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        raise ConfigError(
            f"no such user; make it with `useradd --system --no-create-home --shell /usr/sbin/nologin {name}`",
            name="mail_owner",
        ) from None
    if account.pw_uid == 0:
        raise ConfigError("the mail system must not run as root", name="mail_owner")
    return account


def become(account: pwd.struct_passwd) -> None:
    """Take the account's uid, gid and groups, and make sure that there is no way back to root."""
    os.setgroups(os.getgrouplist(account.pw_name, account.pw_gid))
    os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
    os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
    if 0 in os.getresuid():
        raise OSError("root privileges could not be given up")


def make_directory(path: Path, mode: int, account: pwd.struct_passwd | None) -> None:
    """A directory with exactly this mode, owned by `account` where we are root; its parents as the umask says.

    What lies in another user's directory root does not follow if it is a link: the user could have put it there to be
    given what it points to. Raises ConfigError naming the directory and the cause.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        follows = os.geteuid() != 0 or is_safe(str(path.absolute()))
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (0 if follows else os.O_NOFOLLOW))
        try:
            _take(directory, mode, account)
        finally:
            os.close(directory)
    except OSError as error:
        raise ConfigError(f"cannot make the directory: {_reason(path, error)}", name=str(path)) from error


def _take(directory: int, mode: int, account: pwd.struct_passwd | None) -> None:
    found = os.fstat(directory)
    if account is not None and found.st_uid != account.pw_uid:
        os.fchown(directory, account.pw_uid, account.pw_gid)
    if found.st_mode & 0o7777 != mode:
        os.fchmod(directory, mode)


def _reason(path: Path, error: OSError) -> str:
    """What stands in the way: for a lack of permission, which directory refuses which user."""
    if path.is_symlink():
        return f"it is a link that others than root can change ({error.strerror})"
    closed = [parent for parent in reversed(path.parents) if not os.access(parent, os.X_OK)]
    if not isinstance(error, PermissionError) or not closed:
        return str(error.strerror)
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = str(os.geteuid())
    return f"user {user} may not enter {closed[0]} (chmod o+x, or another queue_directory)"
