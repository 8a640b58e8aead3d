"""Independent programs that say whether a DKIM signature verifies; keys come from us, never from DNS."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import dkim

from tests.support.peers import ROOT, environment, missing, program

Keys = Mapping[str, str]
"""`selector._domainkey.domain` -> key record."""

_PERL = r"""
use strict; use warnings;
use Mail::DKIM::Verifier; use Mail::DKIM::DNS; use Net::DNS;
my %keys;
open(my $file, "<", shift) or die;
while (<$file>) { chomp; my ($name, $value) = split(/ /, $_, 2); $keys{$name} = $value; }
no warnings "redefine";
*Mail::DKIM::DNS::query = sub {
    my ($name, $type) = @_;
    my $value = $keys{$name} or return;
    return Net::DNS::RR->new(name => $name, type => "TXT", txtdata => [$value =~ /(.{1,255})/gs]);
};
binmode(STDIN);
my $verifier = Mail::DKIM::Verifier->new();
while (read(STDIN, my $data, 8192)) { $verifier->PRINT($data); }
$verifier->CLOSE;
print join("\n", map { $_->algorithm . " " . $_->result_detail } $verifier->signatures), "\n";
"""


def dkimpy(message: bytes, keys: Keys) -> list[str]:
    """dkimpy's results for RSA signatures, in order; it checks others only with a library that is not ours."""
    fields = re.findall(rb"(?m)^DKIM-Signature:.*\r\n(?:[ \t].*\r\n)*", message.partition(b"\r\n\r\n")[0] + b"\r\n")
    results = []
    for index, field in enumerate(fields):
        if b"a=rsa-sha256" in field:
            results.append("pass" if _verifies(dkim.DKIM(message), index, keys) else "fail")
    return results


def _verifies(judge: dkim.DKIM, index: int, keys: Keys) -> bool:
    def lookup(name: bytes, timeout: int = 5) -> bytes:
        return keys[name.decode().removesuffix(".")].encode()

    try:
        return bool(judge.verify(index, dnsfunc=lookup))
    except dkim.DKIMException:
        return False


def opendkim(message: bytes, keys: Keys) -> list[str]:
    """OpenDKIM's results for all signatures, in order."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "keys").write_text(_listed(keys))
        (Path(folder) / "conf").write_text(f"TestPublicKeys {folder}/keys\nMode v\nAlwaysAddARHeader yes\n")
        (Path(folder) / "message").write_bytes(message)
        done = subprocess.run(
            [program("opendkim"), "-x", f"{folder}/conf", "-vv", "-t", f"{folder}/message"],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    return re.findall(r"\bdkim=(\w+)", done.stdout + done.stderr)


def mail_dkim(message: bytes, keys: Keys) -> list[str]:
    """Perl's Mail::DKIM on all signatures, in order."""
    perl = ROOT / "usr/share/perl5"
    if not (perl / "Mail/DKIM").exists() or not shutil.which("perl"):
        missing("Mail::DKIM is not here: run `make peers` (needs apt-get and Debian's packages)")
    library = ROOT / "usr/lib/x86_64-linux-gnu"
    paths = [perl, library / "perl5/5.36", library / "perl5"]
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(_listed(keys))
        file.flush()
        done = subprocess.run(
            ["perl", "-e", _PERL, file.name],
            input=message,
            env={**os.environ, "PERL5LIB": ":".join(map(str, paths)), "LD_LIBRARY_PATH": str(library)},
            capture_output=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 0, done.stderr.decode()
    return [line.split(None, 1)[1] for line in done.stdout.decode().splitlines()]


def _listed(keys: Keys) -> str:
    return "".join(f"{name} {record}\n" for name, record in keys.items())
