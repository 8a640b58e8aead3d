"""Independent programs that sign messages: OpenDKIM as a milter, Perl's Mail::DKIM and npm's mailauth."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.peers import ROOT, free_port, program, started
from tests.support.perl import needs_perl, perl_environment

# SMFIP_HDR_LEADSPC: header values with the blanks before them, as they are signed.
_KEEP_BLANKS = 0x100000

_PERL = r"""
use strict; use warnings;
use Mail::DKIM::Signer; use Mail::DKIM::PrivateKey;
my ($key, $selector, $algorithm, $method, @files) = @ARGV;
for my $name (@files) {
    my $signer = Mail::DKIM::Signer->new(
        Algorithm => $algorithm, Method => $method, Domain => "example.com", Selector => $selector,
        Key => Mail::DKIM::PrivateKey->load(File => $key),
    );
    open(my $file, "<:raw", $name) or die;
    while (read($file, my $data, 8192)) { $signer->PRINT($data); }
    $signer->CLOSE;
    print $signer->signature->as_string, "\r\n\0";
}
"""


_NODE = r"""
const fs = require('fs');
const [modules, key, selector, form, ...messages] = process.argv.slice(1);
const { dkimSign } = require(modules + '/mailauth/lib/dkim/sign');
(async () => {
    for (const message of messages) {
        const signed = await dkimSign(fs.readFileSync(message), {
            canonicalization: form,
            signatureData: [
                { signingDomain: 'example.com', selector, privateKey: fs.readFileSync(key), algorithm: 'rsa-sha256' },
            ],
        });
        if (signed.errors.length) throw signed.errors[0].err;
        process.stdout.write(signed.signatures + '\0');
    }
})();
"""


@contextlib.contextmanager
def opendkim(folder: Path, key: Path, selector: str, form: str) -> Iterator[int]:
    """OpenDKIM as a milter that signs for example.com; yields its port."""
    port = free_port()
    (folder / "opendkim.conf").write_text(
        f"Domain example.com\nKeyFile {key}\nSelector {selector}\nCanonicalization {form}\nMode s\n"
        f"Socket inet:{port}@127.0.0.1\nInternalHosts 127.0.0.1\nRequireSafeKeys no\nSyslog no\nBackground no\n"
    )
    with started(program("opendkim"), "-f", "-x", str(folder / "opendkim.conf"), port=port) as process:
        yield port
        # It takes five seconds to end by itself.
        os.killpg(process.pid, signal.SIGKILL)


def milter_signed(message: bytes, port: int) -> bytes:
    """The message with the fields that a milter puts on top of it (the sendmail milter protocol, version 6)."""
    header, _, body = message.partition(b"\r\n\r\n")
    with socket.create_connection(("127.0.0.1", port), 10) as wire:
        _exchange(wire, b"O", struct.pack("!III", 6, 0x1FF, _KEEP_BLANKS))
        _exchange(wire, b"C", b"localhost\x004" + struct.pack("!H", 40000) + b"127.0.0.1\0")
        _exchange(wire, b"H", b"localhost\0")
        _exchange(wire, b"M", b"<joe@example.com>\0")
        _exchange(wire, b"R", b"<a@example.org>\0")
        for field in re.split(rb"\r\n(?![ \t])", header):
            name, _, value = field.partition(b":")
            _exchange(wire, b"L", name + b"\0" + value.replace(b"\r\n", b"\n") + b"\0")
        _exchange(wire, b"N", b"")
        for start in range(0, len(body), 60_000):
            _exchange(wire, b"B", body[start : start + 60_000])
        _send(wire, b"E", b"")
        added = b""
        while (reply := _receive(wire))[:1] not in b"acrt":
            if reply[:1] == b"i":
                name, value = reply[5:].split(b"\0")[:2]
                added += name + b":" + value.replace(b"\n", b"\r\n") + b"\r\n"
        return added + message


def _exchange(wire: socket.socket, command: bytes, data: bytes) -> None:
    _send(wire, command, data)
    reply = _receive(wire)
    assert reply[:1] in b"Oc", (command, reply)


def _send(wire: socket.socket, command: bytes, data: bytes) -> None:
    wire.sendall(struct.pack("!I", len(data) + 1) + command + data)


def _receive(wire: socket.socket) -> bytes:
    return _exactly(wire, struct.unpack("!I", _exactly(wire, 4))[0])


def _exactly(wire: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = wire.recv(size - len(data))
        assert more, "the milter went away"
        data += more
    return data


def mailauth(messages: Sequence[bytes], folder: Path, key: Path, selector: str, form: str) -> list[bytes]:
    """The messages with mailauth's signatures on top."""
    modules = ROOT.parent / "node" / "node_modules"
    if not (modules / "mailauth").exists() or not shutil.which("node"):
        pytest.skip("mailauth is not here: run `make peers` (needs npm)")
    files = [folder / f"{number}.eml" for number in range(len(messages))]
    for file, message in zip(files, messages, strict=True):
        file.write_bytes(message)
    done = subprocess.run(
        ["node", "-e", _NODE, str(modules), str(key), selector, form, *map(str, files)],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    signatures = done.stdout.split(b"\0")[:-1]
    return [signature + message for signature, message in zip(signatures, messages, strict=True)]


def mail_dkim(
    messages: Sequence[bytes], folder: Path, key: Path, selector: str, form: str, algorithm: str = "rsa-sha256"
) -> list[bytes]:
    """The messages with Mail::DKIM's signatures on top."""
    needs_perl("Mail/DKIM/Signer.pm")
    files = [folder / f"{number}.eml" for number in range(len(messages))]
    for file, message in zip(files, messages, strict=True):
        file.write_bytes(message)
    done = subprocess.run(
        ["perl", "-e", _PERL, str(key), selector, algorithm, form, *map(str, files)],
        env=perl_environment(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    signatures = done.stdout.split(b"\0")[:-1]
    return [signature + message for signature, message in zip(signatures, messages, strict=True)]
