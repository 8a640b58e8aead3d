"""`pymta`: run, start, stop, reload and check the mail system; also reached as `postfix`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pymta
from pymta.cli import client
from pymta.cli.places import config_directory, spool_places
from pymta.errors import ConfigError, PymtaError
from pymta.runtime.places import SpoolPlaces

_STOP_SECONDS = 90.0
_POSTFIX_LEVEL = "3.11"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pymta", description="A mail transfer agent that reads Postfix's configuration."
    )
    parser.add_argument("-c", dest="config", metavar="DIR", help="configuration directory (main.cf, master.cf)")
    parser.add_argument("-v", action="store_true", help=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("run", aliases=["start-fg"], help="run in the foreground until stopped")
    commands.add_parser("start", help="run in the background; returns once it accepts mail")
    commands.add_parser("stop", aliases=["abort"], help="finish what is under way and end")
    commands.add_parser("reload", help="read the configuration anew; open sessions go on")
    commands.add_parser("status", help="is it running, and what does the queue hold").add_argument(
        "--json", action="store_true"
    )
    commands.add_parser("check", help="read the configuration and say what is wrong with it")
    commands.add_parser("flush", help="try all deferred mail now")
    commands.add_parser("version", help="print the version")
    install = commands.add_parser("install-commands", help="put sendmail, postqueue, mailq, ... into a directory")
    install.add_argument("directory", type=Path)
    install.add_argument("--force", action="store_true", help="replace files that pymta did not write")
    return parser


def _say(text: str) -> None:
    sys.stderr.write(f"pymta: {text}\n")


def _running_pid(where: SpoolPlaces) -> int | None:
    """The running program's process id, as the program itself says."""
    try:
        rows = client.run(where.control_socket, "status", {})
    except (client.DaemonDown, client.CommandFailed):
        return None
    return int(rows[0]["pid"]) if rows else None


def _run(options: argparse.Namespace) -> int:
    from pymta.cli.run import run_foreground

    return run_foreground(config_directory(options.config))


def _start(options: argparse.Namespace) -> int:
    pid = _running_pid(spool_places(options.config))
    if pid is not None:
        _say(f"fatal: the mail system is already running, process {pid}")
        return 1
    from pymta.cli.run import run_in_background

    return run_in_background(config_directory(options.config))


def _stop(options: argparse.Namespace) -> int:
    where = spool_places(options.config)
    pid = _running_pid(where)
    if pid is None:
        _say("fatal: the mail system is not running")
        return 1
    client.run(where.control_socket, "stop", {})
    deadline = time.monotonic() + _STOP_SECONDS
    while time.monotonic() < deadline:
        if not _alive(pid):
            return 0
        time.sleep(0.05)
    _say(f"process {pid} does not end; killing it (nothing that was acknowledged is lost)")
    os.kill(pid, signal.SIGKILL)
    return 0


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # A child that ended and is not yet waited for is as good as gone.
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True


def _reload(options: argparse.Namespace) -> int:
    for row in client.call(spool_places(options.config).control_socket, "reload", {}):
        _say(row["message"])
    return 0


def _status(options: argparse.Namespace) -> int:
    where = spool_places(options.config)
    try:
        status = client.run(where.control_socket, "status", {})[0]
    except client.DaemonDown:
        _say("the mail system is not running")
        return 1
    if options.json:
        import json

        print(json.dumps(status))
        return 0
    _say(f"the mail system is running: process {status['pid']}, for {status['uptime']:.0f} seconds")
    for name, count in status["queues"].items():
        print(f"{name:>10} {count}")
    return 0


def _check(options: argparse.Namespace) -> int:
    from pymta.cli.run import check

    return check(config_directory(options.config))


def _flush(options: argparse.Namespace) -> int:
    from pymta.cli.queue_requests import flush

    return flush(spool_places(options.config), "pymta")


def _version(options: argparse.Namespace) -> int:
    print(f"pymta {pymta.__version__} (Postfix {_POSTFIX_LEVEL} configuration language)")
    return 0


def _install(options: argparse.Namespace) -> int:
    from pymta.cli.install import install_commands

    directory = config_directory(options.config) if options.config else None
    for path in install_commands(options.directory, directory, force=options.force):
        print(path)
    return 0


_COMMANDS = {
    "run": _run,
    "start-fg": _run,
    "start": _start,
    "stop": _stop,
    "abort": _stop,
    "reload": _reload,
    "status": _status,
    "check": _check,
    "flush": _flush,
    "version": _version,
    "install-commands": _install,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of `pymta`; exit status 0 done, 1 failed, 2 wrong usage."""
    options = _parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    try:
        return _COMMANDS[options.command](options)
    except ConfigError as error:
        _say(f"fatal: {error}")
    except client.DaemonDown as down:
        _say(f"fatal: the mail system is not running ({down})")
    except (client.CommandFailed, PymtaError) as error:
        _say(f"fatal: {error}")
    except KeyboardInterrupt:
        return 130
    return 1
