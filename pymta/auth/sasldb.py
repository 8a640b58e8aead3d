"""Cyrus' sasldb2 as saslpasswd2 makes it: a Berkeley DB hash file of passwords as they are. Read only.

The reader goes through all pages of the file once, so that it needs nothing of the hash function; it trusts no
number in the file. Layout: Berkeley DB's db_page.h, versions 7 to 10 of hash files.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from pymta.auth.verify_file import LateFile
from pymta.model.sasl import Secret, SecretKind
from pymta.ports import Log
from pymta.tables.watch import Unusable, WatchedFile

DEFAULT_PATH = "/etc/sasldb2"
MAX_SIZE = 64 * 1024 * 1024
_MAGIC = 0x00061561
_VERSIONS = range(7, 11)
_PAGE_SIZES = frozenset(1 << exponent for exponent in range(9, 17))
_HEADER = 26
_HASH_PAGES = frozenset({2, 13})
_OVERFLOW_PAGE = 7
_KEYDATA, _OFFPAGE = 1, 3
_MAX_ITEM = 65536
_PROPERTY = b"userPassword"

Users = Mapping[tuple[str, str], str]


def parse_sasldb(data: bytes, where: str = "sasldb2") -> Users:
    """Passwords by user and realm. Raises Unusable for what is no such file."""
    users: dict[tuple[str, str], str] = {}
    for key, value in read_hash_file(data, where):
        parts = key.split(b"\0")
        if len(parts) >= 3 and parts[2] == _PROPERTY:
            name, realm = (part.decode("utf-8", "replace") for part in parts[:2])
            users[name, realm.lower()] = value.rstrip(b"\0").decode("utf-8", "replace")
    return users


def read_hash_file(data: bytes, where: str) -> Iterator[tuple[bytes, bytes]]:
    """Every key with its value. Raises Unusable."""
    if len(data) > MAX_SIZE or len(data) < 512:
        raise Unusable(f"{where}: not a Berkeley DB file, or larger than {MAX_SIZE} bytes")
    order = next((order for order in "<>" if struct.unpack_from(f"{order}I", data, 12)[0] == _MAGIC), "")
    if not order:
        raise Unusable(f"{where}: not a Berkeley DB hash file, as saslpasswd2 makes them on Debian")
    version, page_size = struct.unpack_from(f"{order}II", data, 16)
    if version not in _VERSIONS or page_size not in _PAGE_SIZES:
        raise Unusable(f"{where}: Berkeley DB hash version {version} with pages of {page_size} bytes is not known")
    if data[24] or data[26] & 1:
        raise Unusable(f"{where}: encrypted, or with checksums")
    for start in range(page_size, len(data) - page_size + 1, page_size):
        page = data[start : start + page_size]
        if page[25] in _HASH_PAGES:
            yield from _pairs(page, data, order)


def _pairs(page: bytes, data: bytes, order: str) -> Iterator[tuple[bytes, bytes]]:
    """Items lie from the end of the page towards its head, key and value by turns."""
    count = struct.unpack_from(f"{order}H", page, 20)[0]
    count = min(count, (len(page) - _HEADER) // 2)
    offsets = struct.unpack_from(f"{order}{count}H", page, _HEADER)
    ends = (len(page), *offsets)
    items = [page[start:end] for start, end in zip(offsets, ends, strict=False)]
    for key, value in zip(items[::2], items[1::2], strict=False):
        whole = _whole(key, data, len(page), order), _whole(value, data, len(page), order)
        if whole[0] and whole[1] is not None:
            yield whole[0], whole[1]


def _whole(item: bytes, data: bytes, page_size: int, order: str) -> bytes | None:
    if item[:1] == bytes([_KEYDATA]):
        return item[1:]
    if item[:1] == bytes([_OFFPAGE]) and len(item) >= 12:
        number, length = struct.unpack_from(f"{order}II", item, 4)
        return _overflow(data, number, length, page_size, order)
    return None


def _overflow(data: bytes, number: int, length: int, page_size: int, order: str) -> bytes | None:
    """An item too large for a page, over a chain of pages; None where the chain is broken or a circle."""
    if length > _MAX_ITEM:
        return None
    found = bytearray()
    while len(found) < length:
        page = data[number * page_size : (number + 1) * page_size]
        if not number or len(page) < page_size or page[25] != _OVERFLOW_PAGE:
            return None
        size = struct.unpack_from(f"{order}H", page, 22)[0]
        if not size:
            return None
        found += page[_HEADER : _HEADER + size]
        number = struct.unpack_from(f"{order}I", page, 16)[0]
    return bytes(found[:length])


class SaslDb:
    """A `PasswordDatabase` over a sasldb2 file, read again when it changes.

    A name is `user@realm`; without `@` it is in `realm` (`smtpd_sasl_local_domain`, else this host's name).
    """

    def __init__(self, path: Path, realm: str, log: Log) -> None:
        self._realm = realm
        self._file: LateFile[Users] = LateFile(
            WatchedFile, path, lambda data: parse_sasldb(data, str(path)), "sasldb_path", log
        )

    async def verify(self, username: str, password: str) -> bool:
        known = self._find(username)
        # Someone unknown costs what a wrong password costs.
        matches = hmac.compare_digest((known or "").encode(), password.encode())
        return matches and known is not None

    async def secret(self, username: str) -> Secret | None:
        known = self._find(username)
        return None if known is None else Secret(password=known)

    async def secret_kinds(self) -> SecretKind:
        """Raises AuthUnavailableError where there is no file: then nothing is offered."""
        self._file.content()
        return SecretKind.PASSWORD | SecretKind.SCRAM

    def _find(self, username: str) -> str | None:
        name, at, realm = username.rpartition("@")
        users = self._file.content()
        if at:
            found = users.get((name, realm.lower()))
            return found if found is not None else users.get((username, self._realm.lower()))
        return users.get((username, self._realm.lower()))
