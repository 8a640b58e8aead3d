"""Keys and certificates made by the program `openssl`, once per run."""

from __future__ import annotations

import functools
import ssl
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Pair:
    certificate: Path
    key: Path

    @property
    def text(self) -> str:
        """Key first, then the chain, as in a file of smtpd_tls_chain_files."""
        return self.key.read_text() + self.certificate.read_text()

    @property
    def der(self) -> bytes:
        return ssl.PEM_cert_to_DER_cert(self.certificate.read_text())


def openssl(*arguments: str | Path, input: str = "") -> str:
    done = subprocess.run(
        ["openssl", *map(str, arguments)], capture_output=True, text=True, input=input, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Authority:
    """A certificate authority in a folder of its own."""

    def __init__(self, name: str = "Test CA") -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="pymta-ca-")
        self.folder = Path(self._folder.name)
        self.folder.chmod(0o755)
        self.pair = self_signed(name, folder=self.folder, stem="ca")
        self._count = 0
        self._chain = ""

    @property
    def file(self) -> Path:
        return self.pair.certificate

    def deputy(self) -> Authority:
        """One that this authority vouches for."""
        deputy = Authority("Test Sub CA")
        pair = self.issue("Test Sub CA", is_authority=True)
        deputy.pair = pair
        deputy._chain = pair.certificate.read_text()
        return deputy

    def issue(self, name: str, *others: str, kind: str = "ec", days: int = 30, is_authority: bool = False) -> Pair:
        """A certificate for `name` and further DNS names; negative `days` made it end in the past."""
        self._count += 1
        stem = self.folder / f"{self._count}-{kind}"
        key, request, certificate, extra = (stem.with_suffix(f".{end}") for end in ("key", "csr", "pem", "ext"))
        openssl("req", "-new", *_new_key(kind), "-nodes", "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        names = ",".join(f"DNS:{one}" for one in (name, *others))
        extra.write_text(f"subjectAltName={names}\nbasicConstraints=CA:{str(is_authority).upper()}\n")
        sign = ["x509", "-req", "-in", request, "-CA", self.pair.certificate, "-CAkey", self.pair.key]
        openssl(*sign, "-CAcreateserial", "-days", str(days), "-extfile", extra, "-out", certificate)
        certificate.write_text(certificate.read_text() + self._chain)
        key.chmod(0o644)
        return Pair(certificate, key)


def self_signed(name: str, *, folder: Path, stem: str = "self", kind: str = "ec") -> Pair:
    pair = Pair(folder / f"{stem}.pem", folder / f"{stem}.key")
    files = ("-keyout", pair.key, "-out", pair.certificate)
    openssl("req", "-x509", *_new_key(kind), "-nodes", "-days", "30", "-subj", f"/CN={name}", *files)
    pair.key.chmod(0o644)
    return pair


def _new_key(kind: str) -> list[str]:
    if kind == "rsa":
        return ["-newkey", "rsa:2048"]
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]


@functools.cache
def authority() -> Authority:
    return Authority()


@functools.cache
def deputy() -> Authority:
    """An authority that the first one vouches for; what it issues comes with its own certificate."""
    return authority().deputy()


@functools.cache
def server_pair(name: str = "mx.example.com", kind: str = "ec") -> Pair:
    return authority().issue(name, kind=kind)


@functools.cache
def lone_pair(name: str = "lone.example.com") -> Pair:
    """A certificate that nobody vouches for."""
    return self_signed(name, folder=authority().folder, stem=name)


def client_context(pair: Pair | None = None, *, verify: bool = False) -> ssl.SSLContext:
    """A client's context that takes any certificate, or only the authority's."""
    context = ssl.create_default_context(cafile=str(authority().file))
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    if pair:
        context.load_cert_chain(pair.certificate, pair.key)
    return context
