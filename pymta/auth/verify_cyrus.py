"""What Cyrus' `smtpd.conf` says about where passwords are (SASL_README, Cyrus SASL's options.html)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pymta.auth.sasldb import DEFAULT_PATH as SASLDB_PATH
from pymta.auth.sasldb import SaslDb
from pymta.auth.verify_cache import LoginCache
from pymta.auth.verify_saslauthd import DEFAULT_PATH as SASLAUTHD_PATH
from pymta.auth.verify_saslauthd import Saslauthd
from pymta.errors import ConfigError
from pymta.model.frozen import frozen
from pymta.model.sasl import Secret, SecretKind
from pymta.ports import Log, PasswordDatabase

_MAX_SIZE = 65536
_USUAL_PLACES = ("/etc/postfix/sasl", "/etc/sasl2", "/usr/lib/sasl2")


@frozen
class CyrusOptions:
    """The options that we act on. `methods` are of `pwcheck_method`, in order; `mechanisms` empty means all."""

    methods: tuple[str, ...] = ("auxprop",)
    mechanisms: tuple[str, ...] = ()
    sasldb_path: str = SASLDB_PATH
    saslauthd_path: str = SASLAUTHD_PATH


def read_cyrus_options(name: str, config_path: str, config_directory: str) -> CyrusOptions:
    """Find and read `NAME.conf` in `cyrus_sasl_config_path`, or where it usually is. Raises ConfigError.

    Without such a file Cyrus looks into sasldb2, and so do we.
    """
    folders = [part for part in config_path.split(":") if part] or [f"{config_directory}/sasl", *_USUAL_PLACES]
    for folder in folders:
        path = Path(folder, f"{name}.conf")
        try:
            text = path.read_bytes()[:_MAX_SIZE].decode("utf-8", "replace")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise ConfigError(f"open {path}: {error.strerror}", name="cyrus_sasl_config_path") from error
        return parse_cyrus_options(text, str(path))
    return CyrusOptions()


def parse_cyrus_options(text: str, where: str) -> CyrusOptions:
    """Read `option: value` lines. Raises ConfigError for a place of passwords that we cannot ask."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        option, colon, value = line.partition(":")
        if colon and not line.lstrip().startswith("#"):
            found[option.strip().lower()] = value.strip()
    methods = tuple(found.get("pwcheck_method", "auxprop").split())
    for method in methods:
        if method not in ("auxprop", "saslauthd"):
            raise ConfigError(f"pwcheck_method {method} is not known; use auxprop or saslauthd", where=where)
    plugins = found.get("auxprop_plugin", "sasldb").replace(",", " ").split()
    if "auxprop" in methods and plugins and "sasldb" not in plugins:
        raise ConfigError(f"auxprop_plugin {' '.join(plugins)}: only sasldb can be read", where=where)
    return CyrusOptions(
        methods,
        tuple(found.get("mech_list", "").replace(",", " ").upper().split()),
        found.get("sasldb_path") or SASLDB_PATH,
        _socket_path(found.get("saslauthd_path") or SASLAUTHD_PATH),
    )


def _socket_path(text: str) -> str:
    return text if text.endswith("/mux") else f"{text}/mux"


def cyrus_database(
    options: CyrusOptions, realm: str, log: Log, *, service: str = "smtp", cache: LoginCache | None = None
) -> PasswordDatabase:
    """The databases of `options`, asked in order. `realm` is for names without one."""
    databases: list[PasswordDatabase] = []
    for method in options.methods:
        if method == "auxprop":
            databases.append(SaslDb(Path(options.sasldb_path), realm, log))
        else:
            databases.append(Saslauthd(options.saslauthd_path, service=service, realm=realm, cache=cache))
    return databases[0] if len(databases) == 1 else FirstOf(databases)


class FirstOf:
    """Databases one after the other: whoever knows the password lets in."""

    def __init__(self, databases: Sequence[PasswordDatabase]) -> None:
        self._databases = databases

    async def verify(self, username: str, password: str) -> bool:
        for database in self._databases:
            if await database.verify(username, password):
                return True
        return False

    async def secret(self, username: str) -> Secret | None:
        for database in self._databases:
            secret = await database.secret(username)
            if secret is not None:
                return secret
        return None

    async def secret_kinds(self) -> SecretKind:
        """Only what is there for every account, wherever it is kept."""
        kinds = SecretKind.PASSWORD | SecretKind.SCRAM
        for database in self._databases:
            kinds &= await database.secret_kinds()
        return kinds
