"""The attributes of a pipe(8) service in master.cf, and its command line for one delivery."""

from __future__ import annotations

import codecs
import grp
import pwd
import re
from collections.abc import Mapping, Sequence

from pymta.delivery.local_expand import ExpandError, expand
from pymta.errors import ConfigError
from pymta.model.frozen import frozen

FLAGS = frozenset("BDFORXhqu.>")
_PER_RECIPIENT = {"user", "extension", "recipient", "original_recipient", "mailbox", "domain"}
_FOR_MESSAGE = {
    "client_address",
    "client_helo",
    "client_hostname",
    "client_port",
    "client_protocol",
    "envid",
    "nexthop",
    "queue_id",
    "sasl_method",
    "sasl_sender",
    "sasl_username",
    "sender",
    "size",
}
_MACRO = re.compile(r"\$(?:\{([A-Za-z0-9_]+)|\(([A-Za-z0-9_]+)|([A-Za-z0-9_]+))")


@frozen
class PipeService:
    """One service: `flags=... user=... argv=...`. `size_limit` 0 means none; `null_sender` stands in for `<>`."""

    name: str
    argv: tuple[str, ...]
    uid: int
    gid: int
    flags: frozenset[str] = frozenset()
    directory: str = ""
    chroot: str = ""
    eol: bytes = b"\n"
    size_limit: int = 0
    null_sender: str = "MAILER-DAEMON"

    @classmethod
    def parse(cls, name: str, attributes: Sequence[str], mail_owner: str = "", where: str = "") -> PipeService:
        """Read the attributes; `argv=` takes all that follows. Raises ConfigError, also for privileged users."""
        values: dict[str, str] = {}
        argv: tuple[str, ...] = ()
        for index, item in enumerate(attributes):
            key, sign, value = item.partition("=")
            if key == "argv" and sign:
                argv = (value, *attributes[index + 1 :]) if value else tuple(attributes[index + 1 :])
                break
            if not sign or key not in _ATTRIBUTES:
                raise ConfigError(f"unknown attribute name: {item}", where=where, name=name)
            values[key] = value
        try:
            return cls._checked(name, argv, values, mail_owner)
        except ValueError as error:
            raise ConfigError(str(error), where=where, name=name) from error

    @classmethod
    def _checked(cls, name: str, argv: tuple[str, ...], values: Mapping[str, str], mail_owner: str) -> PipeService:
        if not argv:
            raise ValueError("missing argv= command-line attribute")
        if "user" not in values:
            raise ValueError("missing user= command-line attribute")
        uid, gid = _user(values["user"], mail_owner)
        flags = frozenset(values.get("flags", ""))
        if unknown := flags - FLAGS:
            raise ValueError(f"unknown flag: {''.join(sorted(unknown))}")
        size = values.get("size", "0")
        if not size.isdecimal():
            raise ValueError(f"bad size= value: {size}")
        for argument in argv:
            _check_argument(argument)
        return cls(
            name,
            argv,
            uid,
            gid,
            flags,
            values.get("directory", ""),
            values.get("chroot", ""),
            _eol(values["eol"]) if "eol" in values else b"\n",
            int(size),
            values.get("null_sender", "MAILER-DAEMON"),
        )

    def command_line(self, message: Mapping[str, str], recipients: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
        """The words of the command. A word with a macro of the recipient's is repeated for each recipient.

        A word stays one word whatever its macros expand to, also to nothing: arguments never shift.
        """
        words: list[str] = []
        for argument in self.argv:
            if _macros(argument) & _PER_RECIPIENT:
                words += [expand(argument, {**message, **recipient}).text for recipient in recipients]
            else:
                words.append(expand(argument, message).text)
        return tuple(word.replace("\0", "") for word in words)


_ATTRIBUTES = {"chroot", "directory", "eol", "flags", "null_sender", "size", "user"}


def _macros(argument: str) -> set[str]:
    return {name for match in _MACRO.finditer(argument.replace("$$", "")) for name in match.groups() if name}


def _check_argument(argument: str) -> None:
    for name in sorted(_macros(argument) - _PER_RECIPIENT - _FOR_MESSAGE):
        raise ValueError(f'unknown macro name: "{name}" in expansion request')
    try:
        expand(argument, {})
    except ExpandError as error:
        raise ValueError(f"bad argument {argument!r}: {error}") from error


def _user(text: str, mail_owner: str) -> tuple[int, int]:
    """`user` or `user:group`; never root, nor the mail system's own user."""
    user_name, colon, group_name = text.partition(":")
    try:
        user = pwd.getpwnam(user_name)
    except KeyError:
        raise ValueError(f"unknown username: {user_name}") from None
    gid = user.pw_gid
    if colon:
        try:
            gid = grp.getgrnam(group_name).gr_gid
        except KeyError:
            raise ValueError(f"unknown group: {group_name}") from None
    if user.pw_uid == 0:
        raise ValueError("user= command-line attribute specifies root privileges")
    if gid == 0:
        raise ValueError("user= command-line attribute specifies privileged group id 0")
    if mail_owner and user_name == mail_owner:
        raise ValueError(f"user= command-line attribute specifies mail system owner {mail_owner}")
    return user.pw_uid, gid


def _eol(text: str) -> bytes:
    r"""`eol=\r\n`: C escapes for the end of a line."""
    try:
        return codecs.escape_decode(text.encode())[0]
    except ValueError as error:
        raise ValueError(f"bad eol= value: {text}") from error
