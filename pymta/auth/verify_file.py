"""Password files: `user:{SCHEME}hash`, with or without Dovecot's further fields, or as htpasswd writes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Generic, TypeVar

from pymta.auth.passdb import StoredPassword
from pymta.auth.verify_cache import LoginCache, no_cache
from pymta.auth.verify_pool import HashPool
from pymta.errors import AuthUnavailableError, ConfigError
from pymta.model.frozen import frozen
from pymta.model.sasl import Secret, SecretKind
from pymta.ports import Log
from pymta.tables.watch import Unusable, WatchedFile

T = TypeVar("T")

MAX_SIZE = 64 * 1024 * 1024
_MAX_COMPLAINTS = 5


@frozen
class Accounts:
    """The accounts of one file. `decoy` costs what most of them cost to check; `kinds` is what all of them have."""

    by_name: Mapping[str, StoredPassword]
    decoy: StoredPassword | None
    kinds: SecretKind
    complaints: tuple[str, ...] = ()


def parse_accounts(data: bytes, where: str) -> Accounts:
    """Read a password file. A line that cannot be used is left out and complained about. Raises Unusable."""
    if len(data) > MAX_SIZE:
        raise Unusable(f"{where}: larger than {MAX_SIZE} bytes")
    found: dict[str, StoredPassword] = {}
    complaints: list[str] = []
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, rest = line.partition(":")
        try:
            if not colon or not name.strip():
                raise ValueError("expected user:{SCHEME}hash")
            stored = StoredPassword.parse(_hash_field(rest))
        except ValueError as error:
            complaints.append(f"{where}:{number}: {error}; this account cannot log in")
            continue
        found.setdefault(name.strip(), stored)
    return Accounts(found, _decoy(found), _kinds(found), tuple(complaints[:_MAX_COMPLAINTS]))


def _hash_field(text: str) -> str:
    """A plain password may have colons where nothing follows it; a hash has none."""
    if text[:8].upper() == "{PLAIN}" or text.upper().startswith(("{CLEARTEXT}", "{CLEAR}", "{PLAIN}")):
        return text if text.count(":") != 6 else text.partition(":")[0]
    return text.partition(":")[0]


def _decoy(accounts: Mapping[str, StoredPassword]) -> StoredPassword | None:
    if not accounts:
        return None
    common = Counter(stored.scheme for stored in accounts.values()).most_common(1)[0][0]
    return next(stored for stored in accounts.values() if stored.scheme == common)


def _kinds(accounts: Mapping[str, StoredPassword]) -> SecretKind:
    if not accounts:
        return SecretKind.NONE
    secrets = [stored.secret for stored in accounts.values()]
    kinds = SecretKind.NONE
    if all(secret.password is not None for secret in secrets):
        kinds |= SecretKind.PASSWORD
    if all(secret.password is not None or secret.scram for secret in secrets):
        kinds |= SecretKind.SCRAM
    return kinds


class LateFile(Generic[T]):
    """A watched file that may be missing at first: then every question is told so until it is there."""

    def __init__(self, watch: type[WatchedFile[T]], path: Path, parse: object, name: str, log: Log) -> None:
        self._arguments = (watch, path, parse, name, log)
        self._file: WatchedFile[T] | None = None

    def content(self) -> T:
        """Raises AuthUnavailableError."""
        if self._file is None:
            watch, path, parse, name, log = self._arguments
            try:
                self._file = watch(path, parse, name=name, log=log)  # type: ignore[arg-type]  # as the caller typed it
            except ConfigError as error:
                raise AuthUnavailableError(str(error)) from error
        return self._file.content()


class PasswordFile:
    """A `PasswordDatabase` over one file, read again when it changes. `local_domain` is that of names without `@`."""

    def __init__(
        self, path: Path, pool: HashPool, log: Log, *, local_domain: str = "", cache: LoginCache | None = None
    ) -> None:
        self._pool = pool
        self._cache = cache or no_cache()
        self._log = log
        self._local_domain = local_domain
        self._complained: tuple[str, ...] = ()
        self._file: LateFile[Accounts] = LateFile(
            WatchedFile, path, lambda data: parse_accounts(data, str(path)), "smtpd_sasl_path", log
        )

    async def verify(self, username: str, password: str) -> bool:
        accounts = self._accounts()
        stored = self._find(accounts, username)
        checked = stored or accounts.decoy
        if checked is None:
            return False
        proof = (checked.text, password)
        if stored and self._cache.knows(*proof):
            return True
        try:
            matches = await self._pool.run(checked.matches, password)
        except ValueError as error:
            if stored is None:
                return False
            raise AuthUnavailableError(f"the password of {username}: {error}") from error
        if matches and stored is not None:
            self._cache.keep(*proof)
        return matches and stored is not None

    async def secret(self, username: str) -> Secret | None:
        stored = self._find(self._accounts(), username)
        return stored.secret if stored else None

    async def secret_kinds(self) -> SecretKind:
        return self._accounts().kinds

    def _accounts(self) -> Accounts:
        accounts = self._file.content()
        if accounts.complaints != self._complained:
            self._complained = accounts.complaints
            for complaint in accounts.complaints:
                self._log.warning(complaint)
        return accounts

    def _find(self, accounts: Accounts, username: str) -> StoredPassword | None:
        """As written; with or without the local domain; in lower case, as most files have names."""
        by_name = accounts.by_name
        names, (name, at, domain) = [username], username.rpartition("@")
        if self._local_domain and not at:
            names.append(f"{username}@{self._local_domain}")
        elif self._local_domain and domain.lower() == self._local_domain.lower():
            names.append(name)
        for candidate in (*names, *map(str.lower, names)):
            if candidate in by_name:
                return by_name[candidate]
        return None
