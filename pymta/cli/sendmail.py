"""`sendmail`: Sendmail's command line onto our queue, as sendmail(1) of Postfix reads it.

While the program runs, the message goes through its control socket; else it waits in the maildrop directory. Exit
statuses are those of sysexits.h.
"""

from __future__ import annotations

import io
import os
import pwd
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import IO

from pymta.cli.client import CommandFailed, DaemonDown, run
from pymta.cli.places import config_directory
from pymta.model.frozen import frozen
from pymta.pickup.drop import write_drop
from pymta.pickup.submission import Submission
from pymta.runtime.places import SpoolPlaces

_MEMORY = 1 << 20

# Options with and without a value; both sets hold letters that sendmail(1) accepts and ignores.
_WITH_VALUE = frozenset("ABCFLNORVXbdfhopr")
_WITHOUT_VALUE = frozenset("GIUimntv")
_NOTIFY_WORDS = frozenset({"never", "success", "failure", "delay"})


class UsageError(Exception):
    """The command line makes no sense; the text is for the user."""


@frozen
class Invocation:
    """What one command line asks for. `mode` is the letter of `-b`: m (send), p (list), i (aliases), s (SMTP) ..."""

    mode: str = "m"
    config: str | None = None
    submission: Submission = field(default_factory=Submission)
    dot_ends: bool = True
    flush_id: str = ""
    flush_site: str = ""
    verbose: int = 0
    warnings: tuple[str, ...] = ()


def parse_arguments(arguments: Sequence[str]) -> Invocation:
    """Read Sendmail's options, which getopt(3) cannot: `-oi`, `-fuser`, `-f user`, `-q` alone, `-qIid`."""
    invocation = Invocation()
    words = list(arguments)
    recipients = []
    while words:
        word = words.pop(0)
        if word == "--":
            recipients += words
            break
        if word.startswith("-") and word != "-":
            invocation = _option_word(invocation, word[1:], words)
        else:
            recipients.append(word)
    submission = replace(invocation.submission, recipients=tuple(recipients), trace=_trace(invocation))
    return replace(invocation, submission=submission)


def _trace(invocation: Invocation) -> str:
    """What is to be reported to the sender: `-bv` what would become of the recipients, one `-v` what does."""
    if invocation.mode != "v":
        return "report" if invocation.mode == "m" and invocation.verbose == 1 else ""
    submission = invocation.submission
    for letter, given in (("t", submission.extract), ("N", submission.notify), ("v", invocation.verbose)):
        if given:
            raise UsageError(f"-{letter} option cannot be used with -bv")
    return "verify"


def _option_word(invocation: Invocation, letters: str, rest: list[str]) -> Invocation:
    """One word of options: letters without values may be joined, the first with one takes what is left."""
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter == "q":
            return _queue_option(invocation, letters)
        if letter in _WITHOUT_VALUE:
            invocation = _flag(invocation, letter)
        elif letter in _WITH_VALUE:
            if not letters and not rest:
                raise UsageError(f"option requires an argument -- '{letter}'")
            return _valued(invocation, letter, letters or rest.pop(0))
        else:
            raise UsageError(f"invalid option -- '{letter}'")
    return invocation


def _queue_option(invocation: Invocation, value: str) -> Invocation:
    if not value:
        return replace(invocation, mode="q")
    if value[0] == "I" and len(value) > 1:
        return replace(invocation, flush_id=value[1:], mode="q")
    if value[0] == "R" and len(value) > 1:
        return replace(invocation, flush_site=value[1:], mode="q")
    if value[0].isdigit():
        return invocation  # `-q30m`: the running program has its own schedule
    raise UsageError(f"-q{value}: -q must be followed by I, R or a time")


def _flag(invocation: Invocation, letter: str) -> Invocation:
    if letter == "t":
        return replace(invocation, submission=replace(invocation.submission, extract=True))
    if letter == "i":
        return replace(invocation, dot_ends=False)
    if letter == "I":
        return replace(invocation, mode="i")
    if letter == "v":
        return replace(invocation, verbose=invocation.verbose + 1)
    if letter == "G":
        return _warned(invocation, "-G: the message is taken as one of this host's users")
    return invocation


def _valued(invocation: Invocation, letter: str, value: str) -> Invocation:
    submission = invocation.submission
    if letter == "b":
        return _mode(invocation, value)
    if letter == "C":
        return replace(invocation, config=_config_path(value))
    if letter in "fr":
        return replace(invocation, submission=replace(submission, sender=value))
    if letter == "F":
        return replace(invocation, submission=replace(submission, full_name=value))
    if letter == "B":
        return _body(invocation, value)
    if letter == "N":
        return _notify(invocation, value)
    if letter == "R":
        return _ret(invocation, value)
    if letter == "V":
        return replace(invocation, submission=replace(submission, envid=value))
    if letter == "X" and value.startswith("V"):
        return replace(invocation, submission=replace(submission, verp=value[1:] or "+="))
    if letter == "o":
        return _o_option(invocation, value)
    return invocation


def _config_path(value: str) -> str:
    # Sendmail's -C names sendmail.cf; a file means its folder.
    return str(Path(value).parent) if value.endswith(".cf") else value


def _mode(invocation: Invocation, value: str) -> Invocation:
    if value not in ("d", "i", "l", "m", "p", "s", "v", "D", "h", "H"):
        raise UsageError(f"unsupported: -b{value}")
    return invocation if value in "hH" else replace(invocation, mode=value)


def _body(invocation: Invocation, value: str) -> Invocation:
    if value.upper() not in ("7BIT", "8BITMIME"):
        return _warned(invocation, f"unknown option: -B {value} -- ignored")
    return replace(invocation, submission=replace(invocation.submission, body=value.upper()))


def _notify(invocation: Invocation, value: str) -> Invocation:
    words = {word.strip().lower() for word in value.split(",")}
    if not words <= _NOTIFY_WORDS or ("never" in words and len(words) > 1):
        return _warned(invocation, "bad -N option value -- ignored")
    return replace(invocation, submission=replace(invocation.submission, notify=",".join(sorted(words))))


def _ret(invocation: Invocation, value: str) -> Invocation:
    if value.lower() not in ("full", "hdrs"):
        return _warned(invocation, "bad -R option value -- ignored")
    return replace(invocation, submission=replace(invocation.submission, ret=value.lower()))


def _o_option(invocation: Invocation, value: str) -> Invocation:
    """`-oi`; every other `-o` is Sendmail's and means nothing here (sendmail(1))."""
    return replace(invocation, dot_ends=False) if value[0] == "i" else invocation


def _warned(invocation: Invocation, text: str) -> Invocation:
    return replace(invocation, warnings=(*invocation.warnings, text))


def read_message(stream: IO[bytes], *, dot_ends: bool) -> IO[bytes]:
    """Standard input up to its end or, unless `-i` was given, up to a line that is a single dot.

    Large input goes to an unnamed temporary file.
    """
    message = tempfile.SpooledTemporaryFile(_MEMORY)  # noqa: SIM115 - handed to the caller
    if dot_ends:
        at_line_start = True
        while line := stream.readline(65536):
            if at_line_start and line in (b".\n", b".\r\n", b"."):
                break
            message.write(line)
            at_line_start = line.endswith(b"\n")
    else:
        while chunk := stream.read(65536):
            message.write(chunk)
    return message


def _chunks(message: IO[bytes]) -> Iterator[bytes]:
    message.seek(0)
    while chunk := message.read(65536):
        yield chunk


def places(config: str | None) -> SpoolPlaces:
    """The running program's places, by `queue_directory` of main.cf."""
    from pymta.config import Config

    return SpoolPlaces.below(Config.load(config_directory(config)).text("queue_directory"))


def _send(invocation: Invocation) -> int:
    submission = replace(invocation.submission, full_name=invocation.submission.full_name or os.environ.get("NAME", ""))
    if not submission.recipients and not submission.extract:
        return _fail(os.EX_USAGE, "Recipient addresses must be specified on the command line or via the -t option")
    where = places(invocation.config)
    sender = _login_name() if submission.sender is None else submission.sender
    text = sys.stdin.buffer if invocation.mode == "m" else probe_message(sender, submission.recipients)
    with read_message(text, dot_ends=invocation.dot_ends) as message:
        try:
            hand_over(where, submission, lambda: _chunks(message))
        except CommandFailed as refused:
            status = os.EX_TEMPFAIL if refused.temporary else os.EX_UNAVAILABLE
            return _fail(os.EX_DATAERR if "too big" in str(refused) else status, str(refused))
    if submission.trace:
        sys.stdout.write(f"Mail Delivery Status Report will be mailed to <{sender}>.\n")
    return os.EX_OK


def _login_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def probe_message(sender: str, recipients: Sequence[str]) -> IO[bytes]:
    """The message that `-bv` sends: nobody gets it, but its header is in the report."""
    fields = [*([f"From: {sender}"] if sender else []), "Subject: probe", "To: " + ",\n\t".join(recipients)]
    return io.BytesIO(("\n".join(fields) + "\n\n").encode("utf-8", "surrogateescape"))


def hand_over(where: SpoolPlaces, submission: Submission, content: Callable[[], Iterator[bytes]]) -> None:
    """To the running program; where none answers, or it cannot now, into the maildrop directory.

    Raises CommandFailed where the message is refused for good, or could be put nowhere (then it is temporary).
    """
    try:
        run(where.control_socket, "submit", submission.to_record(), content())
        return
    except CommandFailed as refused:
        if not refused.temporary:
            raise
        reason = str(refused)
    except DaemonDown as down:
        reason = str(down)
    try:
        write_drop(where.maildrop, submission, content())
    except OSError as error:
        text = f"{reason}; {where.maildrop}: {error.strerror}; the message is not queued"
        raise CommandFailed(text, temporary=True) from error
    sys.stderr.write("sendmail: warning: the mail system is down; the message waits for it\n")


def _stdio(invocation: Invocation) -> int:
    from pymta.cli.stdio_smtp import StdioSession
    from pymta.config import Config, build
    from pymta.model.reply import Reply
    from pymta.smtpd.settings import SmtpdSettings, session_options

    config = Config.load(config_directory(invocation.config))
    where = SpoolPlaces.below(config.text("queue_directory"))

    def queue(submission: Submission, content: Iterator[bytes]) -> Reply:
        data = list(content)
        try:
            hand_over(where, submission, lambda: iter(data))
        except CommandFailed as refused:
            temporary = Reply.of(451, str(refused), "4.3.0")
            return temporary if refused.temporary else Reply.of(554, str(refused), "5.0.0")
        return Reply.of(250, "Ok: queued", "2.0.0")

    # A program on this host may well write all its commands at once.
    options = replace(session_options(build(SmtpdSettings, config)), forbid_unauth_pipelining=False)
    StdioSession(options, queue).run(0, 1)
    return os.EX_OK


def _fail(status: int, text: str) -> int:
    sys.stderr.write(f"sendmail: fatal: {text}\n")
    return status


def _flush(invocation: Invocation) -> int:
    from pymta.cli.queue import flush

    site = invocation.flush_site or None
    return flush(places(invocation.config), "sendmail", queue_id=invocation.flush_id, site=site)


def _other_mode(invocation: Invocation) -> int:
    config = ["-c", invocation.config] if invocation.config else []
    if invocation.mode == "p":
        from pymta.cli.queue import postqueue_main

        return postqueue_main([*config, "-p"])
    if invocation.mode == "i":
        from pymta.cli.tables import newaliases_main

        return newaliases_main(config)
    if invocation.mode == "s":
        return _stdio(invocation)
    from pymta.cli.main import main as pymta_main

    return pymta_main([*config, "start"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of the `sendmail` command; `mailq` and `newaliases` are its other names (sendmail(1))."""
    try:
        invocation = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    except UsageError as error:
        return _fail(os.EX_USAGE, str(error))
    name = Path(sys.argv[0]).name if arguments is None else "sendmail"
    invocation = replace(invocation, mode={"mailq": "p", "newaliases": "i"}.get(name, invocation.mode))
    if invocation.verbose > 1 or (invocation.verbose and invocation.mode != "m"):
        invocation = _warned(invocation, "-v: there is no verbose logging; the mail log has each delivery")
    for warning in invocation.warnings:
        sys.stderr.write(f"sendmail: warning: {warning}\n")
    from pymta.errors import PymtaError

    try:
        if invocation.mode == "q":
            return _flush(invocation)
        return _send(invocation) if invocation.mode in "mv" else _other_mode(invocation)
    except PymtaError as error:
        return _fail(os.EX_CONFIG, str(error))
    except KeyboardInterrupt:
        return os.EX_TEMPFAIL
