"""`python -m bench.signing [--relay]`: what DKIM signing costs, and relaying with it against Postfix with OpenDKIM.

Budgets: 500 us of CPU for an RSA-2048 signature on 4 KiB; 10 MB in 150 ms, no piece above 20 ms; relaying at twice
the rate of Postfix with OpenDKIM as milter.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.cases import folder
from bench.measure import cpu_seconds
from bench.systems import Postfix, Pymta, smtp_sink, smtp_source
from pymta.auth.dkim_sign import Signer
from pymta.auth.keys import generate_private_key
from pymta.cleanup.signing import MessageSigner
from pymta.testing import RecordingLog
from tests.support.dkim_signing import make
from tests.support.peers import free_port, program, started

CHUNK = 65536
ROUNDS = 5
MESSAGES = 3000
HEADER = b"From: joe@example.com\r\nTo: a@example.org\r\nSubject: Hello\r\nDate: now\r\nMessage-ID: <1@example.com>\r\n"
LINE = b"0123456789 abcdefgh  xyz\r\n"


def key_file(place: Path) -> Path:
    path = place / "mail.private"
    path.write_bytes(generate_private_key("rsa"))
    path.chmod(0o600)
    return path


def signing(signer: Signer, size: int, times: int) -> tuple[float, float]:
    """Microseconds of CPU for a message of `size` bytes, and of the longest piece, the best of some rounds."""
    message = HEADER + b"\r\n" + LINE * (size // len(LINE))
    pieces = [message[start : start + CHUNK] for start in range(0, len(message), CHUNK)]
    taken, longest = [], []
    for _ in range(ROUNDS):
        begin, slowest = time.process_time(), 0.0
        for _ in range(times):
            one = MessageSigner(signer, RecordingLog(), "BENCH")
            for piece in pieces:
                before = time.thread_time()
                one.take(piece)
                slowest = max(slowest, time.thread_time() - before)
            assert one.finish()
        taken.append((time.process_time() - begin) / times * 1e6)
        longest.append(slowest * 1e6)
    return min(taken), min(longest)


@contextlib.contextmanager
def opendkim(place: Path) -> Iterator[tuple[int, int]]:
    """Debian's OpenDKIM with the settings of its guides; the port that it listens on, and its process."""
    key, port = key_file(place), free_port()
    shutil.chown(key, "mail", "mail")
    (place / "opendkim.conf").write_text(
        f"Domain example.com\nSelector mail\nKeyFile {key}\nCanonicalization relaxed/relaxed\nMode s\n"
        f"OversignHeaders From\nSocket inet:{port}@127.0.0.1\nUserID mail\nInternalHosts 127.0.0.1\nBackground no\n"
        "RequireSafeKeys no\n"
    )
    with started(program("opendkim"), "-f", "-x", str(place / "opendkim.conf"), port=port) as process:
        yield port, process.pid


def relay(
    system: type[Pymta] | type[Postfix], parameters: dict[str, str], place: Path, helpers: tuple[int, ...] = ()
) -> tuple[float, float]:
    """Messages of 4 KiB per second, from the first to the last that arrives; microseconds of CPU for each.

    `helpers` are processes that take part. The rate says little on a machine that others use.
    """
    with smtp_sink(MESSAGES) as (sink, process):
        values = {"relayhost": f"[127.0.0.1]:{sink}", **parameters}
        with system(place, values).running() as running:
            before, start = sum(map(cpu_seconds, (running.pid, *helpers))), time.monotonic()
            smtp_source(running.port, MESSAGES, size=4096)
            process.wait(600)
            seconds = time.monotonic() - start
            cpu = (sum(map(cpu_seconds, (running.pid, *helpers))) - before) / MESSAGES * 1e6
            print(f"  {running.name:8} {MESSAGES / seconds:8.0f} messages/s, {cpu:6.0f} us of CPU each")
            return MESSAGES / seconds, cpu


def relaying() -> None:
    """Both systems sign RSA-2048, relaxed/relaxed."""
    place = folder()
    key = key_file(place)
    shutil.chown(key, "mail", "mail")
    print("relaying with DKIM signatures")
    ours = relay(Pymta, {"dkim_keys": f"example.com:mail:{key}"}, place)
    with opendkim(folder()) as (port, process):
        milter = {"smtpd_milters": f"inet:127.0.0.1:{port}", "milter_default_action": "tempfail"}
        theirs = relay(Postfix, milter, folder(), (process,))
    print(f"  ratio    {ours[0] / theirs[0]:8.1f} in messages/s, {theirs[1] / ours[1]:.1f} in CPU")


def main() -> None:
    place = folder()
    signer = make(place, {"dkim_keys": f"example.com:mail:{key_file(place)}"})
    for size, times in ((4096, 500), (1 << 20, 5), (10_000_000, 2)):
        taken, longest = signing(signer, size, times)
        print(f"DKIM signature, {size:8} bytes: {taken:8.0f} us, {longest / 1000:6.2f} ms the longest piece")
    if "--relay" in sys.argv[1:]:
        relaying()


if __name__ == "__main__":
    main()
