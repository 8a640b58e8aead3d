"""Restrictions that ask DNS: the same zones and dialogues for Debian's Postfix and for pymta."""

from __future__ import annotations

import re
import smtplib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.support.name_servers import NameServers
from tests.support.peers import RealPostfix
from tests.support.system import PymtaSystem, eventually

ZONES = {
    "bl.test": """2.0.0.127 A 127.0.0.2
2.0.0.127 TXT "listed for fun"
3.0.0.127 A 127.0.0.4
3.0.0.127 TXT "one reason"
3.0.0.127 TXT "other reason"
4.0.0.127 A 127.0.0.9
4.0.0.127 A 127.0.0.10
bad.example A 127.0.0.2
bad.example TXT "bad<>domain`"
sub.bad.example A 127.0.0.3
mail.bad.example A 127.0.0.3
""",
    "wl.test": "7.0.0.127 A 127.0.0.1\ngood.example A 127.0.0.1\n",
    "bad.example": "@ A 127.0.0.5\nmail A 127.0.0.5\n",
    "good.example": "@ A 127.0.0.6\n",
    "mx.example": """@ MX 10 badmx.host.example.
@ A 10.9.9.9
lit MX 10 1.2.3.4.
null MX 0 .
gone MX 10 nosuch.host.example.
addr MX 10 okmx.host.example.
sub A 10.9.9.8
both MX 10 a1.host.example.
both MX 20 badmx.host.example.
ok MX 10 white.host.example.
deadmx MX 10 h.dead.test.
def MX 10 defer.host.example.
multi MX 10 deferip.host.example.
""",
    "host.example": """badmx A 10.1.1.1
okmx A 10.2.2.2
a1 A 10.3.3.3
white A 10.4.4.4
defer A 10.5.5.5
deferip A 10.6.6.6
""",
    "backup.example": """primary A 10.8.8.8
other A 10.8.9.9
own A 10.7.7.7
both A 10.8.8.8
both A 10.7.7.7
first MX 10 own.backup.example.
first MX 20 primary.backup.example.
second MX 10 primary.backup.example.
second MX 20 own.backup.example.
equal MX 10 primary.backup.example.
equal MX 10 own.backup.example.
last MX 10 primary.backup.example.
last MX 10 other.backup.example.
last MX 20 own.backup.example.
not MX 10 primary.backup.example.
gone MX 10 gone.backup.example.
gone MX 20 own.backup.example.
away MX 10 primary.backup.example.
away MX 20 gone.backup.example.
dead MX 10 h.dead.test.
dead MX 20 own.backup.example.
deadlast MX 10 primary.backup.example.
deadlast MX 20 h.dead.test.
shared MX 10 both.backup.example.
null MX 0 .
address A 10.7.7.7
literal MX 10 10.8.8.8.
literal MX 20 own.backup.example.
named MX 10 primary.backup.example.
named MX 20 x.example.
""",
    "0.0.127.in-addr.arpa": """1 PTR localhost.
5 PTR mail.bad.example.
6 PTR good.example.
8 PTR sub.bad.example.
9 PTR sub.mx.example.
""",
}
TABLE = """badmx.host.example REJECT bad host
10.2.2 REJECT bad net
white.host.example OK
defer.host.example DEFER_IF_PERMIT
10.6.6.6 450 4.2.2 later
10.9.9.8 REJECT a addr
ns.test REJECT nameserver
1.2.3.4 REJECT literal
127.0.0.77 REJECT another
"""
REPLIES = """bl.test 421 4.7.9 short $rbl_what $client $helo_name $sender_domain $recipient_name $rbl_code
bl.test=127.0.0.[2;9..11] $rbl_code full $rbl_class ${rbl_txt?{T=$rbl_txt}} $rbl_reason
"""
COMMON = {
    "mydestination": "x.example",
    "local_recipient_maps": "",
    "local_transport": "discard",
    "disable_dns_lookups": "no",
    "smtp_host_lookup": "dns",
    "mynetworks": "127.0.0.99/32",
    "smtpd_relay_restrictions": "",
    "smtpd_error_sleep_time": "0",
}
_AT_ONCE = 8
Case = tuple[str, str, str, str]
"""Source address, HELO name, sender, recipient."""

LISTED: Sequence[Case] = [
    *((f"127.0.0.{last}", "h.example", "s@a.example", "u@x.example") for last in range(1, 9)),
    *(
        ("127.0.0.1", helo, "s@a.example", "u@x.example")
        for helo in ("bad.example", "sub.bad.example", "[127.0.0.1]", "127.0.0.1", "nodot")
    ),
    *(("127.0.0.1", "h.example", sender, "u@x.example") for sender in ("s@bad.example", "", "s@[127.0.0.1]")),
    ("127.0.0.1", "h.example", "s@a.example", "u@bad.example"),
]
NAMES = (
    *(f"{name}.mx.example" for name in ("lit", "null", "gone", "addr", "sub", "both", "ok", "deadmx", "def", "multi")),
    *("mx.example", "no.mx.example", "deep.er.mx.example", "h.dead.test", "[127.0.0.77]", "[127.0.0.78]"),
    *("nosuchtld", "x.y.nosuchtld", "badmx.host.example"),
)
SENDERS: Sequence[Case] = [("127.0.0.1", "h", f"s@{name}", "u@x.example") for name in NAMES]
HELO: Sequence[Case] = [("127.0.0.1", name, "", "u@x.example") for name in NAMES]
CLIENTS: Sequence[Case] = [(f"127.0.0.{last}", "h", "", "u@x.example") for last in (1, 2, 5, 9)]

_BACKUP = (
    *("first", "second", "equal", "last", "not", "gone", "away", "dead", "deadlast", "shared", "null", "address"),
    *("literal", "nothing", "named", "SECOND"),
)
BACKUP: Sequence[Case] = [
    *(("127.0.0.1", "h", "s@a.example", f"u@{name}.backup.example") for name in _BACKUP),
    *(
        ("127.0.0.1", "h", "s@a.example", f"u@{name}")
        for name in ("x.example", "h.dead.test", "[10.7.7.7]", "y_z.test")
    ),
    *(("127.0.0.1", "h", "s@a.example", f"u{rest}") for rest in ("%a.example@second.backup.example", "@own.test")),
]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NameServers]:
    folder = tmp_path_factory.mktemp("dns")
    (folder / "table").write_text(TABLE)
    (folder / "replies").write_text(REPLIES)
    with NameServers(folder, ZONES, dead=("dead.test",), port_53=True).running() as running:
        yield running


def _ask(port: int, case: Case) -> str:
    source, helo, sender, recipient = case
    with smtplib.SMTP("127.0.0.1", port, timeout=60, source_address=(source, 0)) as session:
        session.ehlo(helo)
        session.mail(sender)
        code, text = session.rcpt(recipient)
        return "ok" if code == 250 else f"{code} {text.decode()}"


def _ask_all(port: int, cases: Sequence[Case]) -> dict[Case, str]:
    """Some at a time: many wait for a name server that does not answer."""
    with ThreadPoolExecutor(_AT_ONCE) as clients:
        return dict(zip(cases, clients.map(partial(_ask, port), cases), strict=True))


def _warnings(log: str) -> list[str]:
    """What smtpd warned of, once each; of names that do not fit addresses every system speaks its way."""
    found = re.findall(r"smtpd\[\d+\]: warning: (.*)", log)
    kept = [
        line for line in found if not line.startswith(("hostname ", "numeric domain name")) and "is ignored" not in line
    ]
    return sorted(set(kept))


def _rejects(log: str) -> list[str]:
    return sorted(re.sub(r" +;", ";", line) for line in re.findall(r"smtpd\[\d+\]: NOQUEUE: (reject.*)", log))


def _compare(servers: NameServers, folder: Path, restrictions: str, cases: Sequence[Case], **more: str) -> None:
    text = restrictions.replace("TABLE", f"texthash:{servers.folder}/table")
    parameters: Mapping[str, str] = {
        **COMMON,
        "smtpd_recipient_restrictions": f"{text}, reject_unauth_destination",
        **{name: value.replace("REPLIES", f"texthash:{servers.folder}/replies") for name, value in more.items()},
    }
    for parent in (servers.folder, *servers.folder.parents[:2]):
        parent.chmod(parent.stat().st_mode | 0o055)
    postfix = RealPostfix(folder / "postfix", parameters, wrapper=servers.mounting)
    with postfix.running():
        theirs = _ask_all(postfix.port, cases)
        eventually(lambda: postfix.log.read_text().count("disconnect from") > len(cases))
    own = {"dns_nameservers": f"127.0.0.1:{servers.port}", "dns_timeout": "1s", "dns_attempts": "1"}
    with PymtaSystem(folder / "pymta", {**parameters, **own}).running() as pymta:
        ours = _ask_all(pymta.port, cases)
    assert ours == theirs
    assert _rejects(pymta.log) == _rejects(postfix.log.read_text())
    assert _warnings(pymta.log) == _warnings(postfix.log.read_text())


@pytest.mark.parametrize(
    ("restrictions", "more"),
    [
        ("reject_rbl_client bl.test", {}),
        ("reject_rbl_client dead.test", {}),
        ("reject_rbl_client bl.test=127.0.0.[2;9..11]", {"rbl_reply_maps": "REPLIES"}),
        ("reject_rbl_client bl.test=127.0.0.4", {"default_rbl_reply": "Hello world $rbl_domain"}),
        (
            "reject_rhsbl_client bl.test, reject_rhsbl_reverse_client bl.test, reject_rhsbl_helo bl.test, "
            "reject_rhsbl_sender bl.test, reject_rhsbl_recipient bl.test",
            {"maps_rbl_reject_code": "450"},
        ),
        ("reject_rhsbl_sender bl.test", {"smtpd_expansion_filter": r"0123456789abcdefghijklmnopqrstuvwxyz.@\40;"}),
        ("permit_dnswl_client wl.test, permit_rhswl_client wl.test, permit_dnswl_client dead.test, reject", {}),
        ("warn_if_reject reject_rbl_client bl.test", {}),
    ],
)
def test_lists(servers: NameServers, tmp_path: Path, restrictions: str, more: dict[str, str]) -> None:
    # Each name at a list that does not answer costs seconds.
    cases = [*LISTED[:2], *LISTED[5:7], LISTED[-1]] if "dead" in restrictions else LISTED
    _compare(servers, tmp_path, restrictions, cases, **more)


@pytest.mark.parametrize(
    ("restrictions", "cases"),
    [
        ("check_sender_mx_access TABLE", SENDERS),
        ("check_sender_a_access TABLE", SENDERS),
        ("check_sender_ns_access TABLE", SENDERS),
        ("check_helo_mx_access TABLE", HELO),
        ("check_helo_a_access TABLE, check_helo_ns_access TABLE", HELO),
        ("check_client_a_access TABLE, check_reverse_client_hostname_a_access TABLE", CLIENTS),
        ("check_client_mx_access TABLE, check_reverse_client_hostname_ns_access TABLE", CLIENTS),
    ],
)
def test_hosts_behind_names(servers: NameServers, tmp_path: Path, restrictions: str, cases: Sequence[Case]) -> None:
    _compare(servers, tmp_path, restrictions, cases)


@pytest.mark.parametrize("networks", ["", "!10.8.9.9, 10.0.0.0/8"])
def test_backup_mx(servers: NameServers, tmp_path: Path, networks: str) -> None:
    more = {"proxy_interfaces": "10.7.7.7", "permit_mx_backup_networks": networks}
    _compare(servers, tmp_path, "permit_mx_backup", BACKUP, **more)


def test_clients_on_our_own_addresses(servers: NameServers, tmp_path: Path) -> None:
    cases = [(f"127.0.0.{last}", "h", "s@a.example", "u@a.example") for last in (1, 2)]
    _compare(servers, tmp_path, "permit_inet_interfaces", cases)


FILTER = """/^mx\\.example\\. .* MX/ IGNORE
/^host\\.example\\. / IGNORE
/^good\\.example\\. .* A / IGNORE
/^null/ IGNORE
/^both\\.mx\\.example\\. .* MX 10 / IGNORE
/^badmx\\.host\\.example\\. / IGNORE
/^sub\\.mx\\..* A / WHAT
/127\\.0\\.0\\.4$/ IGNORE
/ TXT "?listed/ IGNORE
/^4\\.0\\.0\\.127\\.bl\\.test\\. .* 127\\.0\\.0\\.10$/ IGNORE
"""
FILTERED = ("mx.example", "good.example", "null.mx.example", "both.mx.example", "badmx.host.example", "sub.mx.example",
            "gone.mx.example", "no.example", "bad.example")  # fmt: skip


@pytest.mark.parametrize(
    ("restrictions", "cases"),
    [
        ("reject_unknown_sender_domain", [("127.0.0.1", "h", f"s@{name}", "u@x.example") for name in FILTERED]),
        ("reject_unknown_helo_hostname", [("127.0.0.1", name, "", "u@x.example") for name in FILTERED]),
        ("reject_rbl_client bl.test", [(f"127.0.0.{last}", "h", "", "u@x.example") for last in (1, 2, 3, 4)]),
    ],
)
def test_records_that_are_filtered_out(
    servers: NameServers, tmp_path: Path, restrictions: str, cases: Sequence[Case]
) -> None:
    (servers.folder / "filter").write_text(FILTER)
    _compare(servers, tmp_path, restrictions, cases, smtpd_dns_reply_filter=f"regexp:{servers.folder}/filter")
