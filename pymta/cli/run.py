"""The running program's start: what needs root first, then never again."""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from pymta.app import MTA, ListenPlan, NoActions, listen_plan, make_plan, open_actions, report_problems
from pymta.app.actions import close_actions
from pymta.app.named_files import NamedFiles
from pymta.app.process_plan import is_shared
from pymta.app.sasl import open_shadow
from pymta.app.system import System
from pymta.app.tls import read_keys
from pymta.config import Config
from pymta.delivery.mailbox_jobs import UserActions
from pymta.dns.resolver import load_late_modules
from pymta.errors import ConfigError, PymtaError
from pymta.model.frozen import frozen
from pymta.pickup.drop import DIRECTORY_MODE
from pymta.runtime.descriptors import raise_limit
from pymta.runtime.garbage import seldom_collections
from pymta.runtime.logging import FileSink, MailLog, Sink, open_sink
from pymta.runtime.loop import log_strays, loop_factory, run
from pymta.runtime.places import SpoolPlaces
from pymta.runtime.privileges import become, make_directory, owner
from pymta.runtime.root_files import RootFiles, use
from pymta.runtime.root_server import RootServer
from pymta.runtime.sockets import bind, inherited_sockets, notify_systemd
from pymta.runtime.tls_files import PemFiles
from pymta.spool.faults import from_environment

Ready = Callable[[], None]
_READY = b"ready"


@frozen
class Prepared:
    """All that was opened while we could: the configuration is good, the ports are ours."""

    config: Config
    log: MailLog
    sockets: dict[str, list[socket.socket]]
    actions: UserActions
    keys: PemFiles
    shadow: RootServer | None


def check(directory: Path) -> int:
    """Read the configuration and build everything from it but sockets; problems go to standard error."""
    config = Config.load(directory)
    if report_problems(config, sys.stderr):
        return 1
    _warn_of_services(config)
    MTA(config, actions=NoActions())
    return 0


def _warn_of_services(config: Config) -> None:
    for warning in make_plan(config).warnings:
        sys.stderr.write(f"pymta: warning: {warning}\n")


def run_foreground(directory: Path, ready: Ready = lambda: None) -> int:
    """Run until SIGTERM, SIGINT or `pymta stop`; SIGHUP reloads. Raises ConfigError before anything was opened."""
    prepared = _prepare(directory)
    if is_shared(prepared.config):
        return _run_processes(prepared, ready)
    return run(_serve(prepared, ready))


def _run_processes(prepared: Prepared, ready: Ready) -> int:
    """The same by several processes: this one starts them, and starts them again."""
    system = System(
        prepared.config,
        log=prepared.log,
        open_log=lambda: _log_in_child(prepared),
        sockets=prepared.sockets,
        actions=prepared.actions,
        keys=prepared.keys,
    )

    def is_up() -> None:
        ready()
        notify_systemd("READY=1")

    try:
        return system.run(is_up, lambda: notify_systemd("STOPPING=1"))
    finally:
        close_actions(prepared.actions)
        _close_shadow(prepared)
        prepared.log.close()


def _close_shadow(prepared: Prepared) -> None:
    if prepared.shadow:
        prepared.shadow.close()


def _log_in_child(prepared: Prepared) -> MailLog:
    """A file is written through the descriptor that we opened, with what rights it took; a pipe by a thread of ours."""
    if prepared.config.text("maillog_file") != "/dev/stdout":
        return prepared.log
    return MailLog(_open_sink(prepared.config))


def _prepare(directory: Path) -> Prepared:
    config = Config.load(directory)
    if report_problems(config, sys.stderr):
        raise ConfigError("the configuration has errors; nothing was started")
    _warn_of_services(config)
    account = _account(config)
    places = SpoolPlaces.below(config.text("queue_directory"))
    raise_limit()
    make_places(places, account)
    _make_mail_directory(config)
    log = _open_log(config, account)
    sockets = _bind(listen_plan(config))
    actions = open_actions(config)
    shadow = open_shadow(config, account)
    keys = read_keys(config)
    if account is not None:
        use(RootFiles.start(NamedFiles(directory)))
        # A virtual environment below /root is closed to everybody else.
        loop_factory()
        load_late_modules()
        become(account)
    return Prepared(config, log, sockets, actions, keys, shadow)


def _account(config: Config) -> pwd.struct_passwd | None:
    """Whom to become once the ports are bound; None where we stay who we are."""
    if os.geteuid() != 0:
        return None
    name = config.text("mail_owner")
    if name == "root":
        sys.stderr.write("pymta: warning: mail_owner = root: root is kept, which is for trying out only\n")
        return None
    return owner(name)


def make_places(places: SpoolPlaces, account: pwd.struct_passwd | None) -> None:
    """The spool's directories with their modes; raises ConfigError."""
    make_directory(places.root, 0o755, account)
    make_directory(places.queue, 0o700, account)
    make_directory(places.public, 0o755, account)
    make_directory(places.maildrop, DIRECTORY_MODE, account)


def _make_mail_directory(config: Config) -> None:
    """mail_spool_directory, where it lies in our own queue directory: every user may have a mailbox there."""
    path = Path(config.text("mail_spool_directory"))
    if Path(config.text("queue_directory")) in path.parents and not path.exists():
        make_directory(path, 0o1777, None)


def _open_log(config: Config, account: pwd.struct_passwd | None) -> MailLog:
    path = config.text("maillog_file")
    prefixes = config.items("maillog_file_prefixes")
    if path and not any(path.startswith(prefix) for prefix in prefixes):
        raise ConfigError(f"{path} does not begin with one of maillog_file_prefixes", name="maillog_file")
    try:
        # Where processes are forked there must be no threads: the supervisor has little to say and needs none.
        sink = _open_sink(config, threads=not is_shared(config))
        if account is not None and isinstance(sink, FileSink):
            sink.give_to(account.pw_uid, account.pw_gid)
    except OSError as error:
        raise ConfigError(f"cannot open {path}: {error.strerror}", name="maillog_file") from error
    return MailLog(sink)


def _open_sink(config: Config, *, threads: bool = True) -> Sink:
    return open_sink(config.text("maillog_file"), config.text("myhostname").partition(".")[0], threads=threads)


def _bind(plan: ListenPlan) -> dict[str, list[socket.socket]]:
    inherited = inherited_sockets()
    return {name: [bind(place, inherited) for place in places] for name, places in plan.items()}


async def _serve(prepared: Prepared, ready: Ready) -> int:
    stop = asyncio.Event()
    mta = MTA(
        prepared.config,
        log=prepared.log,
        sockets=prepared.sockets,
        actions=prepared.actions,
        on_stop=stop.set,
        keys=prepared.keys,
        faults=from_environment(os.environ),
    )
    loop = asyncio.get_running_loop()
    log_strays(loop, prepared.log.service(f"{prepared.config.text('syslog_name')}/master"))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, mta.request_reload)
    try:
        await mta.start()
        ready()
        notify_systemd("READY=1")
        with seldom_collections():
            await stop.wait()
        notify_systemd("STOPPING=1")
    finally:
        await mta.stop()
        _close_shadow(prepared)
        prepared.log.close()
    return 0


def run_in_background(directory: Path) -> int:
    """Start a process of its own and return once it accepts mail, or with what kept it from that."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os._exit(_daemon(directory, writing))
    os.close(writing)
    text = _hear(reading)
    sys.stderr.write(text.removesuffix(_READY).decode(errors="replace"))
    if text.endswith(_READY):
        return 0
    os.waitpid(child, 0)
    return 1


def _hear(reading: int) -> bytes:
    """What start-up said, to `ready` or to its end: processes that it forked may keep the pipe open."""
    text = b""
    while not text.endswith(_READY) and (piece := os.read(reading, 4096)):
        text += piece
    os.close(reading)
    return text


def _daemon(directory: Path, answer: int) -> int:
    """The new process: no terminal, no standard files; `answer` hears `ready` or what went wrong."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    # What start-up prints goes to the one who waits; afterwards only the log is left.
    sys.stderr = os.fdopen(answer, "w", buffering=1, closefd=False)

    def ready() -> None:
        os.write(answer, _READY)
        sys.stderr = sys.__stderr__
        os.close(answer)

    try:
        if Config.load(directory).text("maillog_file") == "/dev/stdout":
            raise ConfigError("in the background there is no /dev/stdout: name a file or leave it empty for syslog")
        return run_foreground(directory, ready)
    except (PymtaError, OSError) as error:
        sys.stderr.write(f"pymta: fatal: {error}\n")
        return 1
