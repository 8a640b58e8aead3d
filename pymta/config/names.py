"""Which names of a configuration mean something: known, user-defined and used, or neither (postconf(1))."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pymta.config.macros import MacroError, references
from pymta.config.mastercf import RawService
from pymta.config.registry import parameters, transport_suffixes
from pymta.config.values import split_list

_NOT_KNOWN = ("obsolete", "template", "service")
_TRANSPORTS = frozenset(("smtp", "lmtp", "local", "virtual", "pipe", "error"))
_TIMED = frozenset(("pipe", "spawn"))
_CLIENT_TABLE = re.compile(r"(?:proxy:)?\b(ldap|mysql|pgsql|sqlite|memcache|mongodb):([^\s,{}/]+)")
_CLASSES = "smtpd_restriction_classes"

# The settings of client tables that main.cf may hold as NAME_setting (ldap_table(5), mysql_table(5), ...).
_SQL = "domain query result_format expansion_limit table select_field where_field additional_conditions"
_SERVER = f"{_SQL} hosts user password dbname idle_interval retry_interval"
_SETTINGS = {
    "ldap": "server_host server_port search_base timeout query_filter result_format domain expansion_limit size_limit "
    "result_attribute special_result_attribute terminal_result_attribute leaf_result_attribute scope bind bind_dn "
    "bind_pw cache cache_expiry cache_size recursion_limit dereference chase_referrals version debuglevel "
    "result_filter sasl_mechs sasl_realm sasl_authz_id sasl_minssf start_tls tls_ca_cert_file tls_ca_cert_dir "
    "tls_cert tls_key tls_require_cert tls_random_file tls_cipher_suite",
    "mysql": f"{_SERVER} option_file option_group tls_cert_file tls_key_file tls_CAfile tls_CApath tls_ciphers "
    "tls_verify_cert require_result_set charset",
    "pgsql": f"{_SERVER} select_function encoding",
    "sqlite": f"{_SQL} dbpath",
    "memcache": "memcache backup flags ttl key_format domain data_size_limit line_size_limit max_try retry_pause "
    "timeout",
    "mongodb": "uri dbname collection query_filter result_attribute projection domain expansion_limit result_format",
}
TABLE_SETTINGS = {kind: frozenset(names.split()) for kind, names in _SETTINGS.items()}


def service_parameters(service: RawService) -> dict[str, str]:
    """The names that a service's entry makes known (`smtp_destination_rate_delay`), with their defaults."""
    name, command = service.fields[0], service.fields[7]
    found: dict[str, str] = {}
    for suffix in transport_suffixes():
        wanted = _TIMED if suffix == "time_limit" else _TRANSPORTS
        if command in wanted:
            own = parameters().get(f"{name}_{suffix}")
            found[f"{name}_{suffix}"] = (own or parameters()[f"transport_{suffix}"]).default
    return found


def known_names(services: Sequence[RawService]) -> frozenset[str]:
    """The names that need no `$` to be meant: of the registry, and of the transports of master.cf."""
    builtin = {name for name, line in parameters().items() if line.kind not in _NOT_KNOWN}
    for service in services:
        builtin.update(service_parameters(service))
    return frozenset(builtin)


@dataclass(slots=True)
class Survey:
    """What is odd about the names: assignments nobody uses, and `$` names that nobody sets.

    An assignment is `(scope, name, text)`, a reference `(scope, name)`; the scope is None for main.cf. `user_defined`
    are the names of main.cf that a `$`, a restriction class or a table gives a meaning.
    """

    unused: list[tuple[RawService | None, str, str]] = field(default_factory=list)
    undefined: list[tuple[RawService | None, str]] = field(default_factory=list)
    user_defined: set[str] = field(default_factory=set)


def survey(values: Mapping[str, str], services: Sequence[RawService]) -> Survey:
    """Look through main.cf's `values` and every `-o`. A reference in main.cf may mean a name set by `-o`."""
    known = known_names(services)
    found = Survey()
    scopes: list[tuple[RawService | None, Mapping[str, str]]] = [(None, values)]
    scopes.extend((service, dict(service.overrides)) for service in services)
    used = [_used(own, values, known) for _, own in scopes]
    everywhere = used[0]
    for (scope, own), names in zip(scopes, used, strict=True):
        if scope is not None:
            meant = known | names | everywhere
            found.unused.extend((scope, name, text) for name, text in own.items() if name not in meant)
    found.user_defined = set().union(*used) & set(values) - known
    meant = known | found.user_defined
    found.unused = [(None, name, text) for name, text in values.items() if name not in meant] + found.unused
    set_somewhere = {name for _, own in scopes for name in own}
    for scope, own in scopes:
        visible = known | set(values) | (set_somewhere if scope is None else set(own))
        found.undefined.extend((scope, name) for name in _references(own) if name not in visible)
    return found


def _used(own: Mapping[str, str], main: Mapping[str, str], known: frozenset[str]) -> set[str]:
    """Names that the values of one scope refer to: by `$`, as restriction class, as a client table's settings."""
    used = set(_references(own))
    used.update(split_list(own.get(_CLASSES, main.get(_CLASSES, ""))))
    for name, text in own.items():
        if name in known and ":" in (expanded := _shallow(text, {**main, **own})):
            for kind, table in _CLIENT_TABLE.findall(expanded):
                used.update(f"{table}_{setting}" for setting in TABLE_SETTINGS[kind])
    return used


def _references(values: Mapping[str, str]) -> list[str]:
    found: list[str] = []
    for name, text in values.items():
        line = parameters().get(name)
        if "$" in text and not (line and line.type == "raw"):
            try:
                found.extend(references(text))
            except MacroError:
                continue
    return list(dict.fromkeys(found))


_PLAIN = re.compile(r"\$(?:\{([A-Za-z0-9_]+)\}|\(([A-Za-z0-9_]+)\)|([A-Za-z0-9_]+))")
_DEEPEST = 10


def _shallow(text: str, values: Mapping[str, str]) -> str:
    """`text` with its plain `$name` replaced, as far as names of tables go; loops end after a few rounds."""
    for _ in range(_DEEPEST):
        if "$" not in text or len(text) > 1 << 16:
            break
        text = _PLAIN.sub(lambda match: values.get(match[1] or match[2] or match[3], ""), text)
    return text
