"""Real mail programs from Debian's packages, unpacked by tests/peers.sh: found here or in PATH, never installed."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / ".peers" / "root"
_QUEUES = (
    *("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "maildrop", "pid", "private"),
    *("public", "saved", "trace"),
)
_QUEUE_MODES = {"maildrop": 0o730, "pid": 0o755, "public": 0o710}
_OUR_PORTS = (20_000, 32_000)
# Two test runs beside each other must not draw the same.
_chance = random.SystemRandom()
_FOLDERS = ("usr/sbin", "usr/bin", "usr/lib/postfix/sbin")


def missing(message: str) -> None:
    """A missing peer fails in CI and skips elsewhere, with the same message."""
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def program(name: str) -> str:
    """The path of a peer's program."""
    for folder in _FOLDERS:
        path = ROOT / folder / name
        if path.exists():
            return str(path)
    found = shutil.which(name)
    if not found:
        missing(f"{name} is not here: run `make peers` (needs apt-get and Debian's packages)")
    assert found
    return found


def environment() -> dict[str, str]:
    """The environment in which unpacked programs find their libraries."""
    folders = ("usr/lib/postfix", "usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib")
    libraries = [ROOT / folder for folder in folders]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, libraries)), "LC_ALL": "C"}


def free_port() -> int:
    """One that nobody listens on, below those that the system gives to connections: none takes it before we do."""
    while True:
        port = _chance.randrange(*_OUR_PORTS)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("", port))
            return port


def wait_for_port(port: int, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port}")


def settle(folder: Path) -> None:
    """Make the files of `folder` look old: Postfix reads one again and again while it may still be being written."""
    past = time.time() - 10
    for path in folder.iterdir():
        if path.is_file():
            os.utime(path, (past, past))


@contextlib.contextmanager
def started(*command: str, port: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a peer in the background and end it, and only it, afterwards."""
    # Our own program keeps its own libraries: a peer's may be for another Python.
    settings = dict(os.environ) if command[0] == sys.executable else environment()
    process = subprocess.Popen(
        command, env=settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        if port is not None:
            wait_for_port(port)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)


@dataclass
class RealPostfix:
    """Debian's Postfix from .peers in a folder of its own, on a port of its own. Needs root (master(8) does).

    `parameters` go into main.cf. Its mail log is `log`. Start it with `with postfix.running():`.
    """

    folder: Path
    parameters: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    # What starts its master: a shell in a name space of its own that ends in `exec "$@"`.
    wrapper: tuple[str, ...] = ()

    @property
    def config(self) -> Path:
        return self.folder / "etc"

    @property
    def log(self) -> Path:
        return self.folder / "log" / "mail.log"

    @property
    def queue(self) -> Path:
        return self.folder / "spool"

    def prepare(self) -> None:
        if os.geteuid() != 0:
            missing("Debian's Postfix as a peer needs root: its master(8) refuses to run otherwise")
        share = ROOT / "usr/share/postfix"
        for folder in (self.config, self.queue, self.folder / "data", self.folder / "log"):
            folder.mkdir(parents=True, exist_ok=True)
        for parent in [self.folder, *self.folder.parents]:
            # Its daemons run as another user and must reach their folders.
            with contextlib.suppress(PermissionError):
                if parent.stat().st_uid == os.getuid() and str(parent) != "/":
                    parent.chmod(parent.stat().st_mode | 0o055)
        shutil.chown(self.folder / "data", "mail")
        values = {
            "compatibility_level": "3.6",
            "queue_directory": str(self.queue),
            "data_directory": str(self.folder / "data"),
            "command_directory": str(self._commands()),
            "daemon_directory": str(ROOT / "usr/lib/postfix/sbin"),
            "shlib_directory": str(ROOT / "usr/lib/postfix"),
            "meta_directory": str(ROOT / "etc/postfix"),
            "mail_owner": "mail",
            "setgid_group": "uucp",
            "import_environment": "LD_LIBRARY_PATH MAIL_CONFIG TZ LANG=C",
            "maillog_file": str(self.log),
            "maillog_file_prefixes": "/",
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "myhostname": "postfix.example.com",
            "mynetworks": "127.0.0.0/8",
            "alias_maps": "",
            "alias_database": "",
            "default_database_type": "texthash",
            "smtp_host_lookup": "native",
            "disable_dns_lookups": "yes",
            **self.parameters,
        }
        (self.config / "main.cf").write_text("".join(f"{name} = {value}\n" for name, value in values.items()))
        master = (share / "master.cf.dist").read_text()
        lines = []
        for line in master.splitlines():
            words = line.split()
            if line.startswith("smtp ") and "inet" in line:
                words[0] = f"127.0.0.1:{self.port}"
            if len(words) >= 8 and not line.startswith(("#", " ")):
                words[4] = "n"
                line = " ".join(words)
            lines.append(line)
        (self.config / "master.cf").write_text("\n".join(lines) + "\n")
        (self.config / "dynamicmaps.cf").write_text("")

    def _make_queue(self) -> None:
        """What `postfix check` makes, at once: owners and modes as in postfix-files(5)."""
        for name in _QUEUES:
            place = self.queue / name
            place.mkdir(exist_ok=True)
            shutil.chown(place, "root" if name == "pid" else "mail")
            place.chmod(_QUEUE_MODES.get(name, 0o700))
        for name in ("maildrop", "public"):
            shutil.chown(self.queue / name, group="uucp")

    def _commands(self) -> Path:
        """Its command directory: sendmail runs postdrop with an environment that has lost LD_LIBRARY_PATH."""
        place = self.folder / "commands"
        place.mkdir(exist_ok=True)
        for program_file in (ROOT / "usr/sbin").iterdir():
            with contextlib.suppress(FileExistsError):
                (place / program_file.name).symlink_to(program_file)
        wrapper = place / "postdrop"
        wrapper.unlink()
        libraries = environment()["LD_LIBRARY_PATH"]
        wrapper.write_text(
            f"#!/bin/sh\nLD_LIBRARY_PATH={libraries}\nexport LD_LIBRARY_PATH\n"
            f'exec {ROOT}/usr/sbin/postdrop -c {self.config} "$@"\n'
        )
        wrapper.chmod(0o755)
        return place

    @contextlib.contextmanager
    def running(self) -> Iterator[RealPostfix]:
        self.prepare()
        master = str(ROOT / "usr/lib/postfix/sbin/master")
        self._make_queue()
        settle(self.config)
        settle(self.folder)
        with started(*self.wrapper, master, "-d", "-c", str(self.config), port=self.port):
            yield self

    def run(self, name: str, *arguments: str, input: str = "") -> subprocess.CompletedProcess[str]:
        """One of its commands (`postqueue`, `postmap` ...) against its configuration."""
        settle(self.config)
        return subprocess.run(
            [program(name), "-c" if name != "sendmail" else "-C", str(self.config), *arguments],
            env={**environment(), "MAIL_CONFIG": str(self.config)},
            input=input,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
