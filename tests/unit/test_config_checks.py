"""What is said about a configuration before mail flows."""

from pathlib import Path

import pytest

from pymta.config import Config, Problem, Severity, parameters


def check(main: str, master: str = "", acted_on: str = "", tmp_path: Path | None = None) -> list[str]:
    assert tmp_path
    (tmp_path / "main.cf").write_text(main)
    (tmp_path / "master.cf").write_text(master)
    return [str(problem) for problem in Config.load(tmp_path).check(frozenset(acted_on.split()))]


OLD_NAME = 'support for parameter "virtual_maps" will be removed; instead, specify "virtual_alias_maps"'


@pytest.mark.parametrize(
    ("main", "acted_on", "expected"),
    [
        ("myhostname = a.b\n", "", []),
        ("relayhost = x\n", "relayhost", []),
        ("biff = no\n", "", ["warning: main.cf:1: biff: known, but this version does not act on it"]),
        ("foo = bar\n", "", ["warning: main.cf:1: unused parameter: foo=bar"]),
        ("foo = bar\nrelayhost = $foo\n", "relayhost", []),
        ("relayhost = $foo\n", "relayhost", ["warning: undefined parameter: foo"]),
        ("sender_based_routing = no\n", "", ["warning: main.cf:1: unused parameter: sender_based_routing=no"]),
        ("process_id = 1\n", "", ["warning: main.cf:1: read-only parameter assignment: process_id=1"]),
        ("html_directory = no\nmailq_path = /usr/bin/mailq\n", "", []),
        ("smtpd_restriction_classes = c\nc = permit\n", "smtpd_restriction_classes", []),
        ("header_checks = ldap:hh\nhh_domain = x\nhh_other = y\n", "header_checks",
         ["warning: main.cf:3: unused parameter: hh_other=y"]),
        ("message_size_limit = 10M\n", "message_size_limit",
         ['error: main.cf:1: message_size_limit: found "10M", expected a whole number']),
        ("x = $y\ny = $x\nrelayhost = $x\n", "relayhost",
         ['error: main.cf:1: x: unreasonable macro call nesting: "x" (x -> y -> x)',
          'error: main.cf:2: y: unreasonable macro call nesting: "y" (y -> x -> y)']),
        ("luser_relay = ${a\n", "luser_relay", ['error: main.cf:1: luser_relay: truncated macro reference: "${a"']),
        # An old name counts where the newer one that looks at it is acted on.
        ("virtual_maps = hash:x\n", "virtual_alias_maps", [f"warning: main.cf:1: {OLD_NAME}"]),
        ("virtual_maps = hash:x\n", "",
         [f"warning: main.cf:1: {OLD_NAME}",
          "warning: main.cf:1: virtual_maps: known, but this version does not act on it"]),
        ("relayhost = x # not y\n", "relayhost",
         ["warning: main.cf:1: #comment after other text is not allowed: # not y..."]),
        # What a value that is acted on takes over is acted on.
        ("mua_x = $smtpd_sasl_path\nrelayhost = $mua_x\nsmtpd_sasl_path = p\n", "relayhost", []),
    ],
)  # fmt: skip
def test_main(main: str, acted_on: str, expected: list[str], tmp_path: Path) -> None:
    assert check(main, "", acted_on, tmp_path) == expected


@pytest.mark.parametrize(
    ("setting", "acted_on", "is_error"),
    [
        ("smtpd_recipient_restrictions = reject", "", True),
        ("smtpd_recipient_restrictions =", "", False),
        ("smtpd_sender_login_maps = hash:x", "", True),
        ("smtpd_milters = inet:localhost:1", "", True),
        ("content_filter = scan:", "", True),
        ("header_checks = regexp:x", "", True),
        ("smtpd_helo_required = yes", "", True),
        ("smtpd_helo_required = no", "", False),
        ("smtpd_tls_security_level = encrypt", "", True),
        ("smtpd_tls_security_level = $level", "", True),
        ("smtpd_tls_security_level = may", "", False),
        ("smtpd_tls_wrappermode = YES", "", True),
        ("smtp_tls_security_level = dane", "", True),
        ("smtp_tls_security_level = none", "", False),
        # A limit on a feature that is not there limits nothing.
        ("smtpd_tls_auth_only = yes", "", False),
        ("smtpd_tls_auth_only = yes", "smtpd_sasl_auth_enable", True),
        ("smtpd_sasl_security_options = noanonymous", "smtpd_sasl_auth_enable", False),
        ("smtpd_sasl_security_options = noanonymous, noplaintext", "smtpd_sasl_auth_enable", True),
        ("smtpd_sasl_auth_enable = yes", "", False),
        ("authorized_submit_users = root", "", True),
        ("smtpd_client_connection_count_limit = 50", "", False),
        ("smtpd_client_connection_count_limit = 0", "", False),
        ("smtpd_client_connection_count_limit = 5", "", True),
        ("biff = yes", "", False),
    ],
)
def test_skipping_a_guard_is_an_error(setting: str, acted_on: str, is_error: bool, tmp_path: Path) -> None:
    found = check(f"level = encrypt\nlevel2 = $level\n{setting}\n", "", acted_on, tmp_path)
    about = [line for line in found if f" {setting.partition(' ')[0]}: " in line]
    assert len(about) == 1
    assert about[0].startswith("error:" if is_error else "warning:")


def test_guards_are_not_errors_where_they_are_acted_on(tmp_path: Path) -> None:
    main = "smtpd_helo_required = yes\nsmtpd_recipient_restrictions = reject\n"
    assert check(main, "", "smtpd_helo_required smtpd_recipient_restrictions", tmp_path) == []


MASTER = """\
smtp inet n - n - - smtpd
  -o smtpd_helo_required=yes
  -o biff=no
  -o mine=a
  -o relayhost=$mine$theirs
25 inet n - n - - smtpd -o biff=no -o message_size_limit=x
slow unix - - n - - smtp
run unix - n n - - pipe
"""


def test_services(tmp_path: Path) -> None:
    main = (
        "slow_destination_rate_delay = 1s\nfast_destination_rate_delay = 1s\nrun_time_limit = 5\nslow_time_limit = 5\n"
    )
    found = check(main, MASTER, "relayhost message_size_limit", tmp_path)
    assert found == [
        "warning: main.cf:2: unused parameter: fast_destination_rate_delay=1s",
        "warning: main.cf:4: unused parameter: slow_time_limit=5",
        "warning: master.cf:1: undefined parameter: theirs",
        'error: master.cf:1: smtpd_helo_required: this version does not act on it, and to ignore "yes" would be unsafe',
        "warning: master.cf:1: biff: known, but this version does not act on it",
        'error: master.cf:6: message_size_limit: found "x", expected a whole number',
    ]


def test_a_parameter_of_a_transport_follows_its_family(tmp_path: Path) -> None:
    main, master = "smtp_destination_rate_delay = 1s\n", "smtp unix - - n - - smtp\n"
    assert check(main, master, "default_destination_rate_delay", tmp_path) == []
    assert len(check(main, master, "", tmp_path)) == 1


def test_reading_warnings_come_first(tmp_path: Path) -> None:
    found = check("relayhost = a\nrelayhost = b\n", "", "relayhost", tmp_path)
    assert found == [f"warning: {tmp_path}/main.cf, line 2: overriding earlier entry: relayhost=a"]


def test_from_code_without_files() -> None:
    found = Config.from_values({"biff": "no", "x": "1", "slow_destination_rate_delay": "1s"}).check(frozenset())
    assert found == [
        Problem(Severity.WARNING, "unused parameter: x=1", "settings"),
        Problem(Severity.WARNING, "known, but this version does not act on it", "settings", "biff"),
    ]


def test_guards_name_only_what_protects() -> None:
    guarded = {name for name, line in parameters().items() if line.guard and line.guard != "inert"}
    assert {name for name in guarded if name.endswith("_restrictions")} == {
        f"smtpd_{stage}_restrictions"
        for stage in ("client", "helo", "sender", "relay", "recipient", "data", "end_of_data", "etrn")
    }
    assert "mynetworks" not in guarded
