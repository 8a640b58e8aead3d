"""Independent programs that say whether a DKIM signature verifies; keys come from us, never from DNS."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import dkim
import pytest

from tests.support.peers import ROOT, environment, program
from tests.support.perl import needs_perl, perl_environment

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

_NODE = r"""
const fs = require('fs');
const [modules, file, ...messages] = process.argv.slice(1);
const { dkimVerify } = require(modules + '/mailauth/lib/dkim/verify');
const keys = {};
for (const line of fs.readFileSync(file, 'latin1').split('\n')) {
    const at = line.indexOf(' ');
    if (at > 0) keys[line.slice(0, at)] = line.slice(at + 1);
}
async function resolver(name, type) {
    if (type === 'TXT' && keys[name]) return [keys[name].match(/.{1,255}/gs)];
    throw Object.assign(new Error('not found'), { code: 'ENOTFOUND' });
}
(async () => {
    for (const message of messages) {
        const found = await dkimVerify(fs.readFileSync(message), { resolver });
        console.log(found.results.map(one => one.status.result).join(' '));
    }
})();
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
    needs_perl("Mail/DKIM/Signer.pm")
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(_listed(keys))
        file.flush()
        done = subprocess.run(
            ["perl", "-e", _PERL, file.name],
            input=message,
            env=perl_environment(),
            capture_output=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 0, done.stderr.decode()
    return [line.split(None, 1)[1] for line in done.stdout.decode().splitlines()]


def mailauth(messages: Sequence[bytes], keys: Keys) -> list[list[str]]:
    """npm's mailauth on all signatures of each message, in order; one run of Node for all of them."""
    modules = ROOT.parent / "node" / "node_modules"
    if not (modules / "mailauth").exists() or not shutil.which("node"):
        pytest.skip("mailauth is not here: run `make peers` (needs npm)")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "keys").write_text(_listed(keys))
        paths = [Path(folder) / f"{number}.eml" for number in range(len(messages))]
        for path, message in zip(paths, messages, strict=True):
            path.write_bytes(message)
        done = subprocess.run(
            ["node", "-e", _NODE, str(modules), f"{folder}/keys", *map(str, paths)],
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


def _listed(keys: Keys) -> str:
    return "".join(f"{name} {record}\n" for name, record in keys.items())
