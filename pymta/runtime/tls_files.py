"""Certificates and keys from PEM files into an `ssl` context, with errors that say which file and why."""

from __future__ import annotations

import os
import pwd
import re
import ssl
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from pymta.errors import ConfigError
from pymta.model.frozen import frozen
from pymta.runtime.root_files import open_file, status
from pymta.runtime.tls_certificate import Certificate, CertificateError, parse_certificate
from pymta.runtime.tls_tickets import TicketSecrets

_SIZE_LIMIT = 4 << 20
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\r?\n.*?-----END \1-----[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_CERTIFICATE = (b"CERTIFICATE", b"X509 CERTIFICATE", b"TRUSTED CERTIFICATE")

Stamp = tuple[int, int, int]
"""Modification time in nanoseconds, size and inode of a file."""


@frozen
class KeyPair:
    """A private key and its certificate chain as PEM, the key's certificate first; the names are for errors."""

    key: bytes
    chain: tuple[bytes, ...]
    key_file: str
    chain_file: str

    @property
    def certificate(self) -> Certificate:
        """Raises ConfigError."""
        try:
            return parse_certificate(ssl.PEM_cert_to_DER_cert(_plain(self.chain[0])))
        except (ValueError, CertificateError) as error:
            raise ConfigError(f"the certificate cannot be read: {error}", name=self.chain_file) from None

    def load(self, context: ssl.SSLContext) -> None:
        """Give it to `context`, beside those of other kinds of key. Raises ConfigError."""
        memory = os.memfd_create("tls", os.MFD_CLOEXEC)
        try:
            os.write(memory, b"\n".join([self.key, *self.chain]))
            # OpenSSL reads by path alone; an encrypted key must not make it ask at a terminal.
            context.load_cert_chain(f"/proc/self/fd/{memory}", password=lambda: b"")
        except ssl.SSLError as error:
            raise ConfigError(self._explain(error), name=self.key_file) from None
        finally:
            os.close(memory)

    def _explain(self, error: ssl.SSLError) -> str:
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"the private key does not match the certificate in {self.chain_file}"
        if b"ENCRYPTED" in self.key:
            return "the private key is encrypted; a mail server cannot be asked for its passphrase"
        return f"not usable with the certificate in {self.chain_file}: {error.reason or error}"

    def warnings(self, now: datetime) -> list[str]:
        """What is odd about the certificate, for the log."""
        certificate = self.certificate
        if now > certificate.not_after:
            return [
                f"{self.chain_file}: the certificate of {certificate.subject} expired on {certificate.not_after:%F}"
            ]
        if now < certificate.not_before:
            since = f"{certificate.not_before:%F %T} UTC"
            return [f"{self.chain_file}: the certificate of {certificate.subject} is not valid before {since}"]
        return []


class PemFiles:
    """Reads PEM files. What root could read before it was given up stays known until the file changes.

    `tickets` are the same for all processes that are forked from the one that made this, and for all reloads: a TLS
    session that one of them began can be resumed with another.
    """

    def __init__(self) -> None:
        self.tickets = TicketSecrets(time.monotonic())
        self._kept: dict[str, tuple[Stamp | None, bytes]] = {}

    def read(self, path: str) -> bytes:
        """The file's content. Raises ConfigError."""
        stamp = self.stamp(path)
        try:
            with open_file(path) as file:
                data = file.read(_SIZE_LIMIT + 1)
        except OSError as error:
            kept = self._kept.get(path)
            if kept and isinstance(error, PermissionError) and kept[0] in (stamp, None):
                return kept[1]
            raise ConfigError(_unreadable(path, error, kept is not None), name=path) from None
        if len(data) > _SIZE_LIMIT:
            raise ConfigError("too large for a PEM file", name=path)
        self._kept[path] = stamp, data
        return data

    def stamp(self, path: str) -> Stamp | None:
        """What changes with the file; None where it cannot be looked at."""
        try:
            found = status(path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def key_pair(self, certificate_file: str, key_file: str) -> KeyPair:
        """`smtpd_tls_cert_file` and `smtpd_tls_key_file`; the same file may hold both. Raises ConfigError."""
        chain = [block for label, block in _blocks(self.read(certificate_file)) if label in _CERTIFICATE]
        keys = [block for label, block in _blocks(self.read(key_file)) if label.endswith(b"PRIVATE KEY")]
        if not chain:
            raise ConfigError("there is no certificate in this file", name=certificate_file)
        if not keys:
            raise ConfigError("there is no private key in this file", name=key_file)
        return KeyPair(keys[0], tuple(chain), key_file, certificate_file)

    def chains(self, files: Sequence[str]) -> list[KeyPair]:
        """`smtpd_tls_chain_files`: keys, each before its chain, over one file or several. Raises ConfigError."""
        return _pairs((name, self.read(name)) for name in files)


def pairs_of_text(data: bytes, name: str) -> list[KeyPair]:
    """The keys and chains in one piece of PEM text that `name` names in errors. Raises ConfigError."""
    return _pairs([(name, data)])


def _pairs(files: Iterable[tuple[str, bytes]]) -> list[KeyPair]:
    pairs: list[KeyPair] = []
    key, key_file = b"", ""
    chain: list[bytes] = []
    chain_file = last = ""
    for name, data in files:
        last = name
        blocks = _blocks(data)
        if not blocks:
            raise ConfigError("there is neither a private key nor a certificate in this file", name=name)
        for label, block in blocks:
            if label.endswith(b"PRIVATE KEY"):
                if key and not chain:
                    raise ConfigError(f"the private key in {key_file} is not followed by a certificate", name=name)
                if key:
                    pairs.append(KeyPair(key, tuple(chain), key_file, chain_file))
                key, key_file, chain = block, name, []
            elif label in _CERTIFICATE:
                if not key:
                    raise ConfigError("the private key must come before its certificates", name=name)
                chain_file = chain_file if chain else name
                chain.append(block)
    if not chain:
        raise ConfigError("no certificate follows the private key", name=key_file or last)
    pairs.append(KeyPair(key, tuple(chain), key_file, chain_file))
    return pairs


def _blocks(data: bytes) -> list[tuple[bytes, bytes]]:
    """The PEM blocks of a file with their labels; text between them is a comment."""
    return [(match[1], match[0]) for match in _BLOCK.finditer(data)]


def _plain(block: bytes) -> str:
    body = block.split(b"-----")[2]
    return f"-----BEGIN CERTIFICATE-----{body.decode('ascii', 'replace')}-----END CERTIFICATE-----\n"


def _unreadable(path: str, error: OSError, was_readable: bool) -> str:
    if not isinstance(error, PermissionError):
        return f"cannot be read: {error.strerror}"
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = str(os.geteuid())
    closed = [str(parent) for parent in reversed(Path(path).parents) if not os.access(parent, os.X_OK)]
    where = f"the directory {closed[0]}" if closed else "it"
    advice = "; it has changed: restart, or let this user read it" if was_readable else ""
    return f"cannot be read: {error.strerror} (user {user} may not open {where}){advice}"
