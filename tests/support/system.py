"""pymta as its users run it: a process with main.cf and master.cf in a folder of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import smtplib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.peers import free_port, wait_for_port

REPOSITORY = Path(__file__).parents[2]


@dataclass
class PymtaSystem:
    """One instance. `parameters` go into main.cf, `services` are further lines of master.cf."""

    folder: Path
    parameters: Mapping[str, str] = field(default_factory=dict)
    services: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    # What runs pymta: `prlimit --nofile=64`, or a shell in a name space of its own that ends in `exec "$@"`.
    wrapper: tuple[str, ...] = ()

    @property
    def config(self) -> Path:
        return self.folder / "etc"

    @property
    def log_file(self) -> Path:
        return self.folder / "log" / "mail.log"

    @property
    def log(self) -> str:
        return self.log_file.read_text() if self.log_file.exists() else ""

    @property
    def mail(self) -> Path:
        return self.folder / "mail"

    def prepare(self) -> None:
        for folder in (self.config, self.folder / "log", self.mail):
            folder.mkdir(parents=True, exist_ok=True)
        for parent in [self.folder, *self.folder.parents]:
            # Started as root it gives up root, and must still reach its folders.
            with contextlib.suppress(PermissionError):
                if parent.stat().st_uid == os.getuid() and str(parent) != "/":
                    parent.chmod(parent.stat().st_mode | 0o055)
        self.mail.chmod(0o1777)
        (self.folder / "log").chmod(0o1777)
        aliases = self.config / "aliases"
        if not aliases.exists():
            aliases.write_text("postmaster: root\n")
        self.write_main({})
        lines = [
            f"127.0.0.1:{self.port} inet n - n - - smtpd",
            "smtp unix - - n - - smtp",
            "relay unix - - n - - smtp",
            "lmtp unix - - n - - lmtp",
            "local unix - n n - - local",
            "virtual unix - n n - - virtual",
            "error unix - - n - - error",
            "retry unix - - n - - error",
            "discard unix - - n - - discard",
            *self.services,
        ]
        (self.config / "master.cf").write_text("\n".join(lines) + "\n")

    def write_main(self, more: Mapping[str, str]) -> None:
        values = {
            "compatibility_level": "3.6",
            "queue_directory": str(self.folder / "spool"),
            "mail_spool_directory": str(self.mail),
            "maillog_file": str(self.log_file),
            "maillog_file_prefixes": "/",
            "mail_owner": "mail",
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "myhostname": "mail.example.com",
            "mydomain": "example.com",
            "myorigin": "$mydomain",
            "mydestination": "$myhostname, localhost.$mydomain, localhost, $mydomain",
            "mynetworks": "127.0.0.0/8",
            "alias_maps": f"texthash:{self.config}/aliases",
            "alias_database": "$alias_maps",
            "disable_dns_lookups": "yes",
            "smtp_host_lookup": "native",
            "queue_run_delay": "1s",
            "process_model": os.environ.get("PYMTA_PROCESS_MODEL", "single"),
            **self.parameters,
            **more,
        }
        (self.config / "main.cf").write_text("".join(f"{name} = {value}\n" for name, value in values.items()))

    def start(self) -> None:
        self.process = subprocess.Popen(
            [*self.wrapper, sys.executable, "-m", "pymta.cli", "-c", str(self.config), "run"],
            cwd=REPOSITORY,
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            self._wait_until_up()
        except TimeoutError:
            output = self.stop(signal.SIGKILL)
            raise AssertionError(f"pymta did not start:\n{output}\n{self.log}") from None

    def _wait_until_up(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(TimeoutError):
                wait_for_port(self.port, 0.2)
                return
        raise TimeoutError

    def stop(self, how: signal.Signals = signal.SIGTERM) -> str:
        """End it and return what it printed."""
        if self.process is None:
            return ""
        with contextlib.suppress(ProcessLookupError):
            if how == signal.SIGKILL:
                os.killpg(self.process.pid, how)
            else:
                self.process.send_signal(how)
        try:
            output, _ = self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            output, _ = self.process.communicate(timeout=20)
        self.process = None
        return output.decode(errors="replace")

    @contextlib.contextmanager
    def running(self) -> Iterator[PymtaSystem]:
        self.prepare()
        self.start()
        try:
            yield self
        finally:
            self.stop()

    def smtp(self) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", self.port, local_hostname="client.example.com", timeout=20)

    def send(
        self, recipient: str | list[str], text: str = "Subject: test\r\n\r\nbody\r\n", sender: str = "s@a.example"
    ) -> str:
        """Send one message by SMTP; returns the queue id."""
        with self.smtp() as session:
            session.ehlo()
            session.mail(sender)
            for one in [recipient] if isinstance(recipient, str) else recipient:
                code, reply = session.rcpt(one)
                assert code == 250, reply
            code, reply = session.data(text)
            assert code == 250, reply
            return reply.decode().split()[-1]

    def command(
        self, name: str, *arguments: str, input: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """One of the installed commands, such as `postqueue -p`, against this instance."""
        folder = self.folder / "bin"
        if not folder.exists():
            install = [sys.executable, "-m", "pymta.cli", "-c", str(self.config), "install-commands", str(folder)]
            subprocess.run(install, cwd=REPOSITORY, check=True, capture_output=True)
        done = subprocess.run(
            [str(folder / name), *arguments],
            input=input,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "MAIL_CONFIG": str(self.config)},
        )
        if check:
            assert done.returncode == 0, f"{name} {arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def queue(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.command("postqueue", "-j").stdout.splitlines()]


@dataclass
class World:
    """What goes wrong for every process of a program: its clock is off, or no disk can be synced.

    For programs with `environment`; `folder` holds what the processes look at (`tests/support/world`).
    """

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir(mode=0o755)
        self.set_clock(0.0)

    @property
    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(REPOSITORY / "tests" / "support" / "world"), "PYMTA_TEST_WORLD": str(self.folder)}

    def set_clock(self, seconds: float) -> None:
        """Have the wall clock be ahead by `seconds`."""
        new = self.folder / "clock.new"
        new.write_text(str(seconds))
        new.rename(self.folder / "clock")

    @contextlib.contextmanager
    def broken_disk(self) -> Iterator[None]:
        flag = self.folder / "broken"
        flag.touch()
        yield
        flag.unlink()


def eventually(check: Callable[[], object], seconds: float = 15.0) -> None:
    """Wait until `check()` is true; the failure shows its last value."""
    deadline = time.monotonic() + seconds
    while not (value := check()):
        if time.monotonic() > deadline:
            raise AssertionError(f"did not become true in {seconds} s: {value!r}")
        time.sleep(0.05)


def roles(system: PymtaSystem) -> dict[str, int]:
    """The processes of `process_model = roles` by name; those that are there."""
    assert system.process is not None
    return dict(sorted(_children(system.process.pid)))


def _children(pid: int) -> Iterator[tuple[str, int]]:
    with contextlib.suppress(FileNotFoundError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with contextlib.suppress(FileNotFoundError):
                name = Path(f"/proc/{child}/comm").read_text().strip()
                if name.partition("-")[0] in ("qmgr", "smtpd", "delivery"):
                    yield name, int(child)
