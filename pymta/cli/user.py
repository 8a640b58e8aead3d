"""`pymta-user`: the accounts of a password file (`smtpd_sasl_type = file`)."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import getpass
import grp
import os
import pwd
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pymta.cli.places import config_directory
from pymta.errors import PymtaError

_MAX_PASSWORD = 1024


class UserError(PymtaError):
    """What stands in the way, for the person at the terminal."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 done, 1 not done or a wrong password, 2 bad usage."""
    options = _parser().parse_args(arguments)
    try:
        return _COMMANDS[options.command](options)
    except (PymtaError, OSError) as error:
        sys.stderr.write(f"pymta-user: {error}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pymta-user",
        description="Accounts that may log in over SMTP. Passwords are asked for, never taken from the command line.",
    )
    parser.add_argument("-c", dest="config", metavar="DIR", help="configuration directory (main.cf)")
    parser.add_argument("-f", dest="file", metavar="FILE", help="the password file; default: smtpd_sasl_path")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add = commands.add_parser("add", help="add an account, or give it another password")
    add.add_argument("-s", dest="scheme", default="", help="how to hash it; see docs/sasl.md")
    for name, text in (("remove", "remove an account"), ("check", "ask for a password and say whether it is right")):
        commands.add_parser(name, help=text).add_argument("user")
    add.add_argument("user")
    commands.add_parser("list", help="list the accounts and how their passwords are hashed")
    return parser


def _add(options: argparse.Namespace) -> int:
    from pymta.auth.passdb import DEFAULT_SCHEME, make_stored

    path, user = _path(options), _checked_name(options.user)
    try:
        stored = make_stored(_new_password(user), options.scheme or DEFAULT_SCHEME)
    except ValueError as error:
        raise UserError(str(error)) from None
    with _locked(path):
        lines = _lines(path)
        known = [number for number, line in enumerate(lines) if _name(line) == user]
        if known:
            # Dovecot's further fields stay.
            fields = lines[known[0]].split(":")
            lines[known[0]] = ":".join([user, stored, *fields[2:]])
        else:
            lines.append(f"{user}:{stored}")
        _write(path, lines, _owner_group(options))
    sys.stderr.write(f"pymta-user: {user} {'has a new password' if known else 'added'}\n")
    return 0


def _remove(options: argparse.Namespace) -> int:
    path, user = _path(options), options.user
    with _locked(path):
        lines = _lines(path)
        kept = [line for line in lines if _name(line) != user]
        if len(kept) == len(lines):
            raise UserError(f"{path} has no account {user}")
        _write(path, kept, _owner_group(options))
    return 0


def _list(options: argparse.Namespace) -> int:
    from pymta.auth.verify_file import parse_accounts

    path = _path(options)
    accounts = parse_accounts(path.read_bytes(), str(path))
    for name, stored in accounts.by_name.items():
        sys.stdout.write(f"{name}\t{stored.scheme}\n")
    for complaint in accounts.complaints:
        sys.stderr.write(f"pymta-user: warning: {complaint}\n")
    return 0


def _check(options: argparse.Namespace) -> int:
    from pymta.auth.verify_file import parse_accounts

    path = _path(options)
    stored = parse_accounts(path.read_bytes(), str(path)).by_name.get(options.user)
    password = _ask(f"Password of {options.user}: ")
    try:
        right = stored is not None and stored.matches(password)
    except ValueError as error:
        raise UserError(f"{options.user}: {error}") from None
    sys.stderr.write(f"pymta-user: {'right' if right else 'wrong'}\n")
    return 0 if right else 1


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "add": _add,
    "remove": _remove,
    "list": _list,
    "check": _check,
}


def _path(options: argparse.Namespace) -> Path:
    if options.file:
        return Path(options.file)
    from pymta.config import Config

    config = Config.load(config_directory(options.config))
    for scope in (config, *(config.for_service(service) for service in config.services)):
        if scope.text("smtpd_sasl_type").lower() == "file":
            return Path(scope.text("config_directory"), scope.text("smtpd_sasl_path"))
    raise UserError("no service has smtpd_sasl_type = file; name the file with -f")


def _owner_group(options: argparse.Namespace) -> int | None:
    """The group of `mail_owner`, who has to read the file; None where that cannot be told."""
    from pymta.config import Config

    with contextlib.suppress(PymtaError, KeyError):
        return pwd.getpwnam(Config.load(config_directory(options.config)).text("mail_owner")).pw_gid
    return None


def _checked_name(user: str) -> str:
    if not user or not user.isprintable() or ":" in user or user.startswith("#") or user != user.strip():
        raise UserError(f"{user!r} cannot be a name: no colon, no blank at its ends, no # first")
    return user


def _new_password(user: str) -> str:
    password = _ask(f"New password of {user}: ")
    if not password:
        raise UserError("an empty password lets anybody in")
    if password != _ask("Once more: "):
        raise UserError("the two passwords are not the same; nothing was changed")
    return password


def _ask(prompt: str) -> str:
    """From the terminal without echo; from a pipe one line, for scripts."""
    piped = not sys.stdin.isatty()
    password = sys.stdin.readline(_MAX_PASSWORD + 2).rstrip("\r\n") if piped else getpass.getpass(prompt)
    if len(password) > _MAX_PASSWORD or not password.isprintable():
        raise UserError(f"a password has up to {_MAX_PASSWORD} printable characters")
    return password


def _name(line: str) -> str | None:
    name, colon, _ = line.partition(":")
    return name.strip() if colon and not line.startswith("#") else None


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One change at a time; the lock is a file beside, as the file itself is replaced."""
    lock = path.with_name(f".{path.name}.lock")
    descriptor = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(path: Path, lines: list[str], group: int | None) -> None:
    """Replace the file as a whole, with its owner and mode; a new one only we and the mail system may read."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write("".join(f"{line}\n" for line in lines))
        file.flush()
        os.fsync(file.fileno())
        if path.exists():
            was = path.stat()
            os.fchmod(file.fileno(), was.st_mode & 0o7777)
            with contextlib.suppress(PermissionError):
                os.fchown(file.fileno(), was.st_uid, was.st_gid)
        elif group is not None and os.geteuid() == 0:
            os.fchown(file.fileno(), 0, group)
            os.fchmod(file.fileno(), 0o640)
            sys.stderr.write(f"pymta-user: {path} is new; group {grp.getgrgid(group).gr_name} may read it\n")
    new.replace(path)


if __name__ == "__main__":
    sys.exit(main())
