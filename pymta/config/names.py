"""Which names of a configuration mean something: known, user-defined and used, or neither (postconf(1))."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pymta.config.deprecated import deprecation
from pymta.config.macros import MacroError, balanced, references
from pymta.config.mastercf import RawService
from pymta.config.registry import parameters, transport_suffixes
from pymta.config.values import late_comment, split_list

_NOT_KNOWN = ("obsolete", "template", "service")
_TRANSPORTS = frozenset(("smtp", "lmtp", "local", "virtual", "pipe", "error"))
_TIMED = frozenset(("pipe", "spawn"))
_CLIENT_TABLE = re.compile(r"(?:proxy:)?\b(ldap|mysql|pgsql|sqlite|memcache|mongodb):([^\s,{}/]+)")
_TABLE_FILE = re.compile(r"\b(ldap|mysql|pgsql|sqlite|memcache|mongodb):(/[^\s,{}]+)")
_BRACED_TABLE = re.compile(r"\b(?:pipemap|unionmap|randmap|inline|static|regexp|pcre|cidr):\{")
_PLAIN = re.compile(r"\$(?:\{([A-Za-z0-9_]+)\}|\(([A-Za-z0-9_]+)\)|([A-Za-z0-9_]+))")
_DEEPEST = 10
_LONGEST = 1 << 16
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
    """Look through main.cf's `values` and every `-o`.

    A reference in main.cf may mean a name set by `-o`; one in `-o` means main.cf's only where the service has none.
    """
    known = known_names(services)
    own = [dict(service.overrides) for service in services]
    in_main = set(_references(values)) | _table_settings(values, values, known)
    in_service = [set(_references(one)) | _table_settings(one, values, known) for one in own]
    meant_in_main = in_main.union(*(used - set(one) for used, one in zip(in_service, own, strict=True)))
    found = Survey(user_defined=(meant_in_main & set(values)) - known)
    meant = known | meant_in_main
    found.unused = [(None, name, text) for name, text in values.items() if name not in meant]
    for service, one, used in zip(services, own, in_service, strict=True):
        meant = known | used | in_main
        found.unused.extend((service, name, text) for name, text in one.items() if name not in meant)
    set_somewhere = known.union(values, *own)
    found.undefined.extend((None, name) for name in _references(values) if name not in set_somewhere)
    for service, one in zip(services, own, strict=True):
        visible = known.union(values, one)
        found.undefined.extend((service, name) for name in _references(one) if name not in visible)
    return found


def deprecations(
    values: Mapping[str, str], services: Sequence[RawService], found: Survey
) -> Iterator[tuple[RawService | None, str, str]]:
    """Scope, name and warning of each parameter that is set and has no future."""
    unused = {(scope, name) for scope, name, _ in found.unused}
    for scope, own in _scopes(values, services):
        for name in own:
            if warning := deprecation(name, is_used=(scope, name) not in unused):
                yield scope, name, warning


def late_comments(
    values: Mapping[str, str], services: Sequence[RawService], found: Survey
) -> Iterator[tuple[RawService | None, str, str]]:
    """Scope, name and warning of each comment behind other text, which Postfix takes for text or for the end of it."""
    unused = {(scope, name) for scope, name, _ in found.unused}
    for scope, own in _scopes(values, services):
        for name, text in own.items():
            if (scope, name) not in unused and (comment := late_comment(text)):
                yield scope, name, f"#comment after other text is not allowed: {comment}"


def _scopes(
    values: Mapping[str, str], services: Sequence[RawService]
) -> Iterator[tuple[RawService | None, Mapping[str, str]]]:
    yield None, values
    for service in services:
        yield service, dict(service.overrides)


def broken_tables(values: Mapping[str, str], services: Sequence[RawService]) -> list[tuple[RawService | None, str]]:
    """Tables made of tables (`pipemap:{...}`) with braces that do not match, in values of known names."""
    found: list[tuple[RawService | None, str]] = []
    for scope, text in _known_values(values, services):
        for match in _BRACED_TABLE.finditer(text):
            start = match.end() - 1
            end = balanced(text, start)
            tail = text[start : end if end >= 0 else None] + re.split(r"[\s,]", text[end:], maxsplit=1)[0] * (end >= 0)
            if end < 0:
                found.append((scope, f"missing '}}' in \"{tail}\""))
            elif len(tail) > end - start and not tail[end - start :].startswith("}"):
                found.append((scope, f"syntax error after '}}' in \"{tail}\""))
    return found


def table_files(values: Mapping[str, str], services: Sequence[RawService]) -> list[tuple[str, str]]:
    """Kind and path of the client tables whose settings are in a file (`ldap:/etc/postfix/ldap.cf`)."""
    found = [pair for _, text in _known_values(values, services) for pair in _TABLE_FILE.findall(text)]
    return list(dict.fromkeys(found))


def _known_values(values: Mapping[str, str], services: Sequence[RawService]) -> Iterator[tuple[RawService | None, str]]:
    known = known_names(services)
    for name, text in values.items():
        if name in known and ":" in text:
            yield None, _shallow(text, values)
    for service in services:
        own = dict(service.overrides)
        for name, text in own.items():
            if name in known and (":" in text or "$" in text):
                yield service, _shallow(text, {**values, **own})


def _table_settings(own: Mapping[str, str], main: Mapping[str, str], known: frozenset[str]) -> set[str]:
    """Names such as `ldapfoo_domain` that a table `ldap:ldapfoo` reads."""
    used: set[str] = set()
    for name, text in own.items():
        if name in known and (":" in text or "$" in text):
            for kind, table in _CLIENT_TABLE.findall(_shallow(text, {**main, **own})):
                used.update(f"{table}_{setting}" for setting in TABLE_SETTINGS[kind])
    return used


def _references(values: Mapping[str, str]) -> list[str]:
    """Every `$name`, and the restriction classes, in order."""
    found = split_list(values.get(_CLASSES, ""))
    for name, text in values.items():
        line = parameters().get(name)
        if "$" in text and not (line and line.type == "raw"):
            try:
                found.extend(references(text))
            except MacroError:
                continue
    return found


def _shallow(text: str, values: Mapping[str, str]) -> str:
    """`text` with its plain `$name` replaced, as far as names of tables go; loops end after a few rounds."""
    for _ in range(_DEEPEST):
        if "$" not in text or len(text) > _LONGEST:
            break
        text = _PLAIN.sub(lambda match: values.get(match[1] or match[2] or match[3], ""), text)
    return text
