"""Protocols, ciphers, levels and log levels as main.cf writes them."""

import ssl
from ssl import TLSVersion

import pytest

from pymta.config import Config, build
from pymta.errors import ConfigError
from pymta.runtime.tls_context import ssl_options
from pymta.runtime.tls_log import parse_tls_loglevel
from pymta.runtime.tls_values import (
    CipherLists,
    Protocols,
    cipher_string,
    parse_protocols,
    set_ciphers,
    split_exclusions,
)
from pymta.smtpd.tls_settings import ServerLevel, SmtpdTlsSettings, server_level

S3, T10, T11, T12, T13 = (
    TLSVersion.SSLv3,
    TLSVersion.TLSv1,
    TLSVersion.TLSv1_1,
    TLSVersion.TLSv1_2,
    TLSVersion.TLSv1_3,
)


@pytest.mark.parametrize(
    ("text", "lowest", "highest", "excluded"),
    [
        ("", None, None, ()),
        (">=TLSv1", T10, None, ()),
        (">=TLSv1.2", T12, None, ()),
        (">=tlsv1.2, <=TLSv1.3", T12, T13, ()),
        (">=0303", T12, None, ()),
        (">=0x0304", T13, None, ()),
        (">=0", None, None, ()),
        ("<=TLSv1.2", None, T12, ()),
        ("!SSLv2, !SSLv3", None, None, (S3,)),
        ("!SSLv2:!SSLv3:!TLSv1:!TLSv1.1", None, None, (S3, T10, T11)),
        ("TLSv1.2", None, None, (S3, T10, T11, T13)),
        ("TLSv1.2 TLSv1.3", None, None, (S3, T10, T11)),
        (">=TLSv1 !TLSv1.1", T10, None, (T11,)),
        ("!TLSv1.0", None, None, (T10,)),
        (" \t", None, None, ()),
    ],
)
def test_protocols(text: str, lowest: TLSVersion, highest: TLSVersion, excluded: tuple[TLSVersion, ...]) -> None:
    assert parse_protocols(text) == Protocols(lowest, highest, frozenset(excluded))


@pytest.mark.parametrize("text", ["TLSv1.4", ">=TLSv9", "!", "all", ">=", "<=banana", "!TLSv1.2x", ">=0999"])
def test_unknown_protocols_are_named(text: str) -> None:
    with pytest.raises(ValueError, match="invalid TLS protocol"):
        parse_protocols(text)


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        (">=TLSv1.2", {T12, T13}),
        ("!SSLv2, !SSLv3, !TLSv1, !TLSv1.1", {T12, T13}),
        (">=TLSv1.3", {T13}),
        ("TLSv1.2", {T12}),
        (">=TLSv1", {T10, T11, T12, T13}),
    ],
)
def test_a_context_speaks_what_is_asked_for_whatever_the_system_allows(text: str, spoken: set[TLSVersion]) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    parse_protocols(text).apply(server)
    forbidden = {T10: ssl.OP_NO_TLSv1, T11: ssl.OP_NO_TLSv1_1, T12: ssl.OP_NO_TLSv1_2, T13: ssl.OP_NO_TLSv1_3}
    lowest, highest = server.minimum_version, server.maximum_version
    found = {
        version
        for version, option in forbidden.items()
        if not server.options & option
        and (lowest is TLSVersion.MINIMUM_SUPPORTED or version >= lowest)
        and (highest is TLSVersion.MAXIMUM_SUPPORTED or version <= highest)
    }
    assert found == spoken


LISTS = CipherLists(high="aNULL:-aNULL:HIGH:@STRENGTH", medium="aNULL:-aNULL:HIGH:MEDIUM:@STRENGTH", null="eNULL")


@pytest.mark.parametrize(
    ("grade", "excluded", "string"),
    [
        ("high", "", "aNULL:-aNULL:HIGH:@STRENGTH:@SECLEVEL=0"),
        ("MEDIUM", "aNULL, MD5", "aNULL:-aNULL:HIGH:MEDIUM:@STRENGTH:!aNULL:!MD5:@SECLEVEL=0"),
        ("low", "", "aNULL:-aNULL:HIGH:MEDIUM:@STRENGTH:@SECLEVEL=0"),
        ("export", "", "aNULL:-aNULL:HIGH:MEDIUM:@STRENGTH:@SECLEVEL=0"),
        ("null", "DES+MD5", "eNULL:!DES+MD5:@SECLEVEL=0"),
    ],
)
def test_cipher_grades(grade: str, excluded: str, string: str) -> None:
    assert cipher_string(LISTS, grade, split_exclusions(excluded)) == string


@pytest.mark.parametrize(("grade", "excluded"), [("strong", ""), ("", ""), ("high", "!MD5"), ("high", "+RC4")])
def test_bad_ciphers(grade: str, excluded: str) -> None:
    with pytest.raises(ValueError, match="invalid"):
        cipher_string(LISTS, grade, split_exclusions(excluded))


def test_exclusions_of_several_parameters() -> None:
    assert split_exclusions("aNULL, MD5", "MD5:DES", "") == ("aNULL", "MD5", "DES")


def test_a_list_without_any_known_cipher() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.raises(ValueError, match="no usable TLS cipher"):
        set_ciphers(context, "NOSUCH:@SECLEVEL=0")
    set_ciphers(context, cipher_string(LISTS, "medium", ["MD5"]))


@pytest.mark.parametrize(
    ("text", "summary", "certificates"),
    [
        ("0", False, False),
        ("", False, False),
        ("none", False, False),
        ("1", True, False),
        ("routine", True, False),
        ("summary, peercert", True, True),
        ("2", True, True),
        ("4", True, True),
        ("cache", False, False),
    ],
)
def test_log_levels(text: str, summary: bool, certificates: bool) -> None:
    level = parse_tls_loglevel(text)
    assert (level.summary, level.certificates) == (summary, certificates)


def test_unknown_log_level() -> None:
    with pytest.raises(ValueError, match="loud"):
        parse_tls_loglevel("1, loud")


def test_options_by_openssls_names() -> None:
    assert ssl_options("NO_TICKET, no_compression") == ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
    assert ssl_options("0x4000") == ssl.Options(0x4000)
    assert ssl_options("") == 0
    with pytest.raises(ValueError, match="NO_SUCH"):
        ssl_options("NO_SUCH")


def _settings(**values: str) -> SmtpdTlsSettings:
    return build(SmtpdTlsSettings, Config.from_values(values))


@pytest.mark.parametrize(
    ("values", "level"),
    [
        ({}, ServerLevel.NONE),
        ({"smtpd_tls_security_level": "none"}, ServerLevel.NONE),
        ({"smtpd_tls_security_level": "may"}, ServerLevel.MAY),
        ({"smtpd_tls_security_level": "Encrypt"}, ServerLevel.ENCRYPT),
        ({"smtpd_use_tls": "yes"}, ServerLevel.MAY),
        ({"smtpd_enforce_tls": "yes"}, ServerLevel.ENCRYPT),
        ({"smtpd_tls_security_level": "none", "smtpd_enforce_tls": "yes"}, ServerLevel.NONE),
        ({"smtpd_tls_wrappermode": "yes"}, ServerLevel.ENCRYPT),
        ({"smtpd_tls_wrappermode": "yes", "smtpd_tls_security_level": "may"}, ServerLevel.ENCRYPT),
    ],
)
def test_server_levels(values: dict[str, str], level: ServerLevel) -> None:
    assert server_level(_settings(**values)) == (level, "")


def test_client_levels_mean_encrypt_to_a_server() -> None:
    level, warning = server_level(_settings(smtpd_tls_security_level="verify"))
    assert level is ServerLevel.ENCRYPT and 'unsupported TLS level "verify", using "encrypt"' in warning


def test_unknown_server_level() -> None:
    with pytest.raises(ConfigError, match='invalid TLS level "maybe"'):
        server_level(_settings(smtpd_tls_security_level="maybe"))
