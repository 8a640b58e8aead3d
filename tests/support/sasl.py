"""Real password services: Dovecot's auth, and sasldb2 files made by saslpasswd2."""

from __future__ import annotations

import contextlib
import os
import shutil
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.support.peers import ROOT, environment, missing, program, started

_PLUGINS = ROOT / "usr/lib/x86_64-linux-gnu/sasl2"

_CONFIG = """\
base_dir = {folder}/run
log_path = {folder}/log
protocols =
ssl = no
default_internal_user = mail
default_login_user = mail
default_internal_group = mail
auth_mechanisms = plain login cram-md5 scram-sha-256
disable_plaintext_auth = no
auth_failure_delay = 0
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {folder}/users
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home=/tmp
}}
# No growing delays for an address that fails often: all clients here are one.
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service auth {{
  unix_listener auth-client {{
    mode = 0666
  }}
}}
"""


@contextlib.contextmanager
def dovecot_auth(folder: Path, users: Mapping[str, str]) -> Iterator[Path]:
    """Dovecot with `users` (name -> password); gives the socket of its auth service.

    Its programs have their places built in, so that it runs in a mount namespace where they are there. Needs root.
    """
    if os.geteuid() != 0 or not shutil.which("unshare"):
        missing("Dovecot as a peer needs root and unshare(1)")
    dovecot = program("dovecot")
    folder.mkdir(parents=True)
    for parent in [folder, *folder.parents]:
        with contextlib.suppress(PermissionError):
            if str(parent) != "/" and parent.stat().st_uid == os.getuid():
                parent.chmod(parent.stat().st_mode | 0o055)
    (folder / "users").write_text("".join(f"{name}:{{PLAIN}}{password}\n" for name, password in users.items()))
    (folder / "users").chmod(0o644)
    (folder / "dovecot.conf").write_text(_CONFIG.format(folder=folder))
    mounts = [
        f"mount -t overlay peers -o lowerdir={ROOT}/usr/{name}:/usr/{name} /usr/{name}" for name in ("bin", "lib")
    ]
    command = " && ".join([*mounts, f"exec {dovecot} -F -c {folder}/dovecot.conf"])
    with started("unshare", "-m", "sh", "-c", command) as process:
        socket = folder / "run" / "auth-client"
        deadline = time.monotonic() + 10
        while not socket.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                missing("Dovecot does not start here (are overlay mounts allowed?)")
            time.sleep(0.05)
        yield socket


class _Imap(socketserver.StreamRequestHandler):
    """As much of an IMAP server as saslauthd's rimap asks: LOGIN with one right password."""

    def handle(self) -> None:
        self.wfile.write(b"* OK ready\r\n")
        for line in self.rfile:
            tag, _, rest = line.strip().partition(b" ")
            good = rest.upper().startswith(b"LOGOUT") or rest in self.server.good  # type: ignore[attr-defined]  # set below
            self.wfile.write(tag + (b" OK\r\n" if good else b" NO\r\n"))


@contextlib.contextmanager
def saslauthd(folder: Path, user: str, password: str) -> Iterator[Path]:
    """The daemon, with one account of an IMAP server behind it; gives the folder of its socket."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Imap) as imap:
        imap.daemon_threads = True
        imap.good = (f'LOGIN "{user}" "{password}"'.encode(),)  # type: ignore[attr-defined]  # for the handler
        threading.Thread(target=imap.serve_forever, daemon=True).start()
        place = f"127.0.0.1/{imap.server_address[1]}"
        folder.mkdir()
        folder.chmod(0o755)
        with started(program("saslauthd"), "-a", "rimap", "-O", place, "-m", str(folder), "-n", "2", "-d"):
            deadline = time.monotonic() + 10
            while not (folder / "mux").exists():
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield folder
        imap.shutdown()


def sasl_environment() -> dict[str, str]:
    """For programs of Cyrus SASL: where their plugins are."""
    return {**environment(), "SASL_PATH": str(_PLUGINS)}


def saslpasswd2(database: Path, realm: str, user: str, password: str) -> None:
    """Add an account as walk-through G does."""
    subprocess.run(
        [program("saslpasswd2"), "-p", "-c", "-f", str(database), "-u", realm, user],
        input=password,
        text=True,
        env=sasl_environment(),
        check=True,
        capture_output=True,
    )
    database.chmod(0o644)
