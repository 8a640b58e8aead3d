"""The two mail systems under test, each with its own folder, queue and port."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.peers import RealPostfix, environment, free_port, program, started


@dataclass
class Running:
    """A started system: where it listens, its first process, its mail log."""

    name: str
    port: int
    pid: int
    folder: Path
    log: Path
    _offset: int = 0
    _sent: int = 0

    def wait_for_sent(self, count: int, seconds: float = 120.0) -> None:
        """Until the log tells of so many deliveries; raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while self._count_sent() < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name}: {self._sent} of {count} recipients have their mail after {seconds} s")
            time.sleep(0.05)

    def _count_sent(self) -> int:
        with self.log.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        self._offset += whole
        self._sent += data.count(b"status=sent", 0, whole)
        return self._sent


@dataclass
class Pymta:
    """pymta from this checkout. `program` is the module to run, with what comes before pymta's own arguments."""

    folder: Path
    parameters: Mapping[str, str] = field(default_factory=dict)
    name: str = "pymta"
    program: tuple[str, ...] = ("pymta.cli",)

    @contextlib.contextmanager
    def running(self) -> Iterator[Running]:
        port = free_port()
        config = self.folder / "etc"
        config.mkdir(parents=True, exist_ok=True)
        values = {
            "compatibility_level": "3.6",
            "process_model": "roles",
            "queue_directory": str(self.folder / "spool"),
            "mail_spool_directory": str(self.folder / "mail") + "/",
            "maillog_file": str(self.folder / "mail.log"),
            "maillog_file_prefixes": "/",
            "mail_owner": "mail",
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "myhostname": "pymta.example.com",
            "mynetworks": "127.0.0.0/8",
            "alias_maps": "",
            "alias_database": "",
            "smtp_host_lookup": "native",
            "disable_dns_lookups": "yes",
            **self.parameters,
        }
        (config / "main.cf").write_text("".join(f"{name} = {value}\n" for name, value in values.items()))
        lines = [f"127.0.0.1:{port} inet n - n - - smtpd"]
        lines += [f"{one} unix - - n - - {one}" for one in ("smtp", "local", "virtual", "error", "discard")]
        lines += ["relay unix - - n - - smtp", "retry unix - - n - - error"]
        (config / "master.cf").write_text("\n".join(lines) + "\n")
        command = [sys.executable, "-m", *self.program, "-c", str(config), "run"]
        with started(*command, port=port) as process:
            yield Running(self.name, port, process.pid, self.folder, self.folder / "mail.log")


@dataclass
class Postfix:
    """Debian's Postfix with its default settings."""

    folder: Path
    parameters: Mapping[str, str] = field(default_factory=dict)
    name: str = "Postfix"

    @contextlib.contextmanager
    def running(self) -> Iterator[Running]:
        postfix = RealPostfix(self.folder, {"maillog_file": str(self.folder / "log" / "mail.log"), **self.parameters})
        postfix.prepare()
        with postfix.running() as system:
            yield Running(self.name, system.port, _master(system), self.folder, postfix.log)


@dataclass
class Tools(Pymta):
    """Stands for no system: smtp-source talks to smtp-sink itself."""

    name: str = "tools"


def _master(system: RealPostfix) -> int:
    return int((system.queue / "pid" / "master.pid").read_text().split()[0])


def smtp_source(
    port: int,
    messages: int,
    *,
    size: int,
    sessions: int = 20,
    recipient: str = "recipient@example.net",
    options: tuple[str, ...] = (),
) -> None:
    """Send `messages` of `size` bytes over `sessions` parallel connections; returns when all were accepted."""
    subprocess.run(
        [
            program("smtp-source"),
            "-s",
            str(sessions),
            "-l",
            str(size),
            "-m",
            str(messages),
            *options,
            "-f",
            "sender@example.com",
            "-t",
            recipient,
            f"127.0.0.1:{port}",
        ],
        env=environment(),
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=600,
    )


@contextlib.contextmanager
def smtp_sink(messages: int = 0, port: int = 0) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A sink that ends by itself after so many messages; without a number, when we end it."""
    port = port or free_port()
    # It ends with the last message on its way in: the system may see that one fail, which changes no figure.
    user = ("-u", "nobody") if os.geteuid() == 0 else ()
    end = ("-M", str(messages)) if messages else ()
    with started(program("smtp-sink"), *user, *end, f"127.0.0.1:{port}", "1000", port=port) as process:
        yield port, process


def command_line(running: Running, name: str, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """How to call one of the system's own commands (`postqueue`, `sendmail`) on it: arguments and environment."""
    config = running.folder / "etc"
    if running.name == "pymta":
        return [str(_installed(config) / name), *arguments], {**os.environ, "MAIL_CONFIG": str(config)}
    call = [program(name), "-C" if name == "sendmail" else "-c", str(config), *arguments]
    return call, {**environment(), "MAIL_CONFIG": str(config)}


def command(running: Running, name: str, *arguments: str, input: bytes = b"") -> None:
    """Run one of the system's own commands; raises RuntimeError where it fails."""
    call, settings = command_line(running, name, *arguments)
    done = subprocess.run(call, env=settings, input=input, capture_output=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr.decode(errors='replace')}")


def _installed(config: Path) -> Path:
    place = config.parent / "bin"
    if not place.exists():
        install = [sys.executable, "-m", "pymta.cli", "-c", str(config), "install-commands", str(place)]
        subprocess.run(install, check=True, capture_output=True)
    return place
