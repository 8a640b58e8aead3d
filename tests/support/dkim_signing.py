"""A signer with keys in a folder, and messages through it in pieces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from pymta.auth.dkim_sign import Signer, SigningSource
from pymta.auth.dkim_sign_build import make_signer
from pymta.auth.dkim_sign_settings import SigningSettings
from pymta.auth.keys import generate_private_key, parse_private_key
from pymta.cleanup.signing import MessageSigner
from pymta.config import Config, build
from pymta.model.reply import Reply
from pymta.tables import TableFactory
from pymta.testing import ManualClock, RecordingLog

NOW = 1_700_000_000.0


@cache
def _made(kind: str, number: int) -> bytes:
    return generate_private_key(kind)


def private_key(kind: str, number: int = 0) -> bytes:
    """A key that is made once; a test that wants another asks for another number."""
    return _made(kind, number)


def record(data: bytes) -> str:
    key = parse_private_key(data)
    return f"v=DKIM1; k={key.kind}; p={key.public}"


def write_key(path: Path, kind: str = "rsa", number: int = 0, mode: int = 0o600) -> Path:
    path.write_bytes(private_key(kind, number))
    path.chmod(mode)
    return path


def make(folder: Path, values: Mapping[str, str], log: RecordingLog | None = None) -> Signer:
    """The signer of main.cf with `values`, in `folder`."""
    config = Config.from_values({"mynetworks": "192.0.2.0/24", **values})
    settings = build(SigningSettings, config)
    log = log or RecordingLog()
    source = source_of(folder, settings, log)
    signer = source.current if source else None
    assert signer is not None
    return signer


def source_of(folder: Path, settings: SigningSettings, log: RecordingLog) -> SigningSource | None:
    tables = TableFactory(folder, alias_tables=frozenset(), log=log)
    networks = tables.network_list(settings.dkim_sign_networks)
    return make_signer(settings, networks, folder, ManualClock(NOW), log)


def sign(signer: Signer, message: bytes, sizes: Iterable[int] = (), log: RecordingLog | None = None) -> bytes | Reply:
    """The signed message, or the refusal; the content comes in pieces of `sizes`, then the rest at once."""
    one = MessageSigner(signer, log or RecordingLog(), "QUEUEID")
    position = 0
    for size in sizes:
        one.take(message[position : position + size])
        position += size
    one.take(message[position:])
    found = one.finish()
    return found if isinstance(found, Reply) else found + message
