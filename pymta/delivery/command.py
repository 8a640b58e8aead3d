"""Running delivery commands, and what their ends mean (local(8), pipe(8), sysexits(3))."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Iterator

from pymta.delivery.mailbox_copy import LineFilter, converted
from pymta.delivery.mailbox_errors import error_text
from pymta.delivery.mailbox_jobs import CommandExit, CommandJob
from pymta.model.reply import split_status
from pymta.runtime.children import run_child

OUTPUT_LIMIT = 4096
# What a command finds its programs by: never the caller's own PATH.
SAFE_PATH = "/usr/bin:/bin"

_PLAIN = re.compile(r"[A-Za-z0-9!@%_=+:,./ \t-]*")
# fmt: off
_BUILTINS = frozenset((
    "alias", "bg", "break", "case", "cd", "command", "continue", "do", "done", "echo", "else", "esac",
    "eval", "exec", "exit", "export", "false", "fc", "fg", "fi", "for", "getopts", "if", "jobs",
    "kill", "printf", "pwd", "read", "readonly", "return", "set", "shift", "test", "then", "times", "trap",
    "true", "type", "ulimit", "umask", "unalias", "unset", "until", "wait", "while", ".", ":", "[",
    "{",
))
# fmt: on

# sysexits(3) as Postfix reports them: code -> (status, text).
_SYSEXITS = {
    64: ("5.3.0", "command line usage error"),
    65: ("5.6.0", "data format error"),
    66: ("5.3.0", "cannot open input"),
    67: ("5.1.1", "user unknown"),
    68: ("5.1.2", "host name unknown"),
    69: ("5.3.0", "service unavailable"),
    70: ("5.3.0", "internal software error"),
    71: ("4.3.0", "system resource problem"),
    72: ("5.3.0", "critical OS file missing"),
    73: ("5.2.0", "can't create user output file"),
    74: ("5.3.0", "input/output error"),
    75: ("4.3.0", "temporary failure"),
    76: ("5.5.0", "remote error in protocol"),
    77: ("5.7.0", "permission denied"),
    78: ("5.3.5", "local configuration error"),
}


def run_command(job: CommandJob, pieces: Iterable[bytes], watch: int | None = None) -> CommandExit:
    """Run a command with the message on standard input; blocks until it ends. Raises only what `pieces` raise."""
    try:
        ended = run_child(
            job.argv,
            _input(job, pieces),
            environment=dict(job.environment),
            directory=job.directory or None,
            time_limit=job.time_limit,
            output_limit=OUTPUT_LIMIT,
            file_size_limit=job.file_size_limit,
            watch=watch,
        )
    except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
        return CommandExit(failure=_start_failure(job, error))
    except OSError as error:
        return CommandExit(failure=f"cannot run {job.argv[0]}: {error_text(error)}")
    return CommandExit(ended.code, ended.signal, ended.timed_out, ended.output.decode("utf-8", "replace"))


def _start_failure(job: CommandJob, error: OSError) -> str:
    if job.directory and error.filename == job.directory:
        return f"cannot change directory to {job.directory}: {error_text(error)}"
    return f"cannot run {job.argv[0]}: {error_text(error)}"


def _input(job: CommandJob, pieces: Iterable[bytes]) -> Iterator[bytes]:
    if job.header:
        yield job.header.replace(b"\n", job.eol)
    last = b""
    for data in converted(pieces, LineFilter(job.eol, quote_from=job.quote_from, quote_dot=job.quote_dot)):
        last = data[-len(job.eol) :] if job.eol else b""
        yield data
    if last != job.eol and job.eol:
        yield job.eol
    if job.blank_line and job.eol:
        yield job.eol


def shell_argv(
    command: str, shell: str = "", which: Callable[[str], str | None] = lambda name: shutil.which(name, path=SAFE_PATH)
) -> tuple[str, ...]:
    """How to run a command line: by `shell` (local_command_shell) where one is set, directly where no character or
    word of it means anything to a shell, else with `/bin/sh -c`.
    """
    if shell:
        return (*shell.split(), command)
    words = command.split()
    if words and _PLAIN.fullmatch(command) and "=" not in words[0] and words[0] not in _BUILTINS:
        # A path is what it is; only a bare name may turn out to be the shell's.
        program = words[0] if "/" in words[0] else which(words[0])
        if program:
            return (program, *words[1:])
    return ("/bin/sh", "-c", command)


def command_failure(ended: CommandExit, command: str) -> tuple[str, str] | None:
    """The status and reason of a command that did not succeed, None where it did.

    Output that begins with an enhanced status code decides both; else an exit code of sysexits(3) decides.
    Being killed is temporary, an unknown exit code is not.
    """
    if ended.failure:
        return "4.3.0", ended.failure
    output = _one_line(ended.output)
    tail = f". Command output: {output}" if output else ""
    if ended.timed_out:
        return "4.3.0", f'Command time limit exceeded: "{command}"{tail}'
    if ended.signal:
        return "4.3.0", f'Command died with signal {ended.signal}: "{command}"{tail}'
    if ended.code == 0:
        return None
    status, text = split_status(output)
    if status and status[0] in "45":
        return status, text
    if ended.code in _SYSEXITS:
        status, text = _SYSEXITS[ended.code]
        return status, f"{text}{tail}"
    return "5.3.0", f'Command died with status {ended.code}: "{command}"{tail}'


def _one_line(output: str) -> str:
    """Command output fit for a log line and a notice: one line, no control characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in output).split())
