"""`pymta-doctor`: each finding, from DNS that answers, refuses and lies."""

import json
import pwd
from datetime import UTC, datetime, timedelta
from ipaddress import ip_interface
from pathlib import Path

import pytest

from pymta.cli import doctor_host, doctor_names, doctor_policy
from pymta.cli.doctor import main
from pymta.cli.doctor_blocklists import check_blocklists, query_name
from pymta.cli.doctor_report import Finding, Health, as_json, as_text
from pymta.cli.doctor_subject import Subject, public_addresses
from pymta.config import Config, Host
from pymta.testing import FakeResolver, RecordingLog
from tests.support.dkim_signing import private_key, record, write_key

HERE = "192.0.2.1"
Zones = dict[str, dict[str, list[str]]]


def subject(
    zones: Zones, *, failures: tuple[str, ...] = (), hostname: str = "mail.example.com", config: Config | None = None
) -> Subject:
    return Subject("example.com", hostname, (HERE,), FakeResolver(zones, failures=failures), config)


def shown(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(one.health.value, one.found) for one in findings]


A_RECORD: Zones = {"mail.example.com": {"A": [HERE]}}


@pytest.mark.parametrize(("hostname", "zones", "failures", "health", "found", "fix"), [
    ("mail.example.com", A_RECORD, (), "ok", f"mail.example.com is {HERE}", ""),
    ("mail", {}, (), "problem", "mail is not a fully qualified name", "pymta-conf -e myhostname=mail.example.com"),
    ("mail.localdomain", {}, (), "problem", "mail.localdomain is not a fully qualified name",
     "pymta-conf -e myhostname=mail.example.com"),
    ("mail.example.com", {}, (), "problem", "mail.example.com has no address", f"mail.example.com. IN A {HERE}"),
    ("mail.example.com", {}, ("mail.example.com",), "unknown", "DNS gives no answer for mail.example.com now", ""),
    ("mail.example.com", {"mail.example.com": {"A": ["192.0.2.9"]}}, (), "problem",
     f"mail.example.com is 192.0.2.9, this host is {HERE}", f"mail.example.com. IN A {HERE}"),
])  # fmt: skip
async def test_hostname(
    hostname: str, zones: Zones, failures: tuple[str, ...], health: str, found: str, fix: str
) -> None:
    findings = await doctor_names.check_hostname(subject(zones, failures=failures, hostname=hostname))
    assert [(one.health.value, one.found, one.fix) for one in findings] == [(health, found, fix)]


@pytest.mark.parametrize(("zones", "failures", "health", "found"), [
    ({HERE: {"PTR": ["mail.example.com"]}, **A_RECORD}, (), "ok", "mail.example.com"),
    ({}, (), "problem", "there is none"),
    ({}, (HERE,), "unknown", "DNS gives no answer now"),
    ({HERE: {"PTR": ["h.isp.net"]}, "h.isp.net": {"A": [HERE]}}, (), "warning",
     "h.isp.net, while HELO says mail.example.com"),
    ({HERE: {"PTR": ["h.isp.net"]}, "h.isp.net": {"A": ["192.0.2.2"]}}, (), "problem",
     "h.isp.net, which has another address"),
    ({HERE: {"PTR": ["h.isp.net"]}}, ("h.isp.net",), "unknown", "h.isp.net, for which DNS gives no answer now"),
])  # fmt: skip
async def test_reverse(zones: Zones, failures: tuple[str, ...], health: str, found: str) -> None:
    assert shown(await doctor_names.check_reverse(subject(zones, failures=failures))) == [(health, found)]


@pytest.mark.parametrize(("zones", "failures", "expected"), [
    ({"example.com": {"MX": ["10 mail.example.com"]}, **A_RECORD}, (), [("ok", HERE)]),
    ({"example.com": {"A": [HERE]}}, (), [("problem", "there is none")]),
    ({}, (), [("problem", "the domain example.com does not exist")]),
    ({}, ("example.com",), [("unknown", "DNS gives no answer now")]),
    ({"example.com": {"MX": ["0 ."]}}, (), [("warning", "the null MX says that the domain takes no mail (RFC 7505)")]),
    ({"example.com": {"MX": ["10 192.0.2.1"]}}, (), [
        ("problem", "this is an address, an MX has to name a host"),
        ("warning", "mail.example.com is not among 192.0.2.1")]),
    ({"example.com": {"MX": ["10 mail.example.com"]}, "mail.example.com": {"CNAME": ["web.example.com"]},
      "web.example.com": {"A": [HERE]}}, (), [("problem", "an alias of web.example.com")]),
    ({"example.com": {"MX": ["10 mail.example.com"]}}, (), [("problem", "it has no address")]),
    ({"example.com": {"MX": ["10 example.com"], "A": [HERE]}}, (), [
        ("warning", "the domain itself"), ("warning", "mail.example.com is not among example.com")]),
])  # fmt: skip
async def test_mx(zones: Zones, failures: tuple[str, ...], expected: list[tuple[str, str]]) -> None:
    assert shown(await doctor_names.check_mx(subject(zones, failures=failures))) == expected


def spf(record: str, **more: str) -> Zones:
    zones: Zones = {"example.com": {"TXT": ["other", record]}}
    return zones | {name.replace("_", "."): {"TXT": [text]} for name, text in more.items()}


@pytest.mark.parametrize(("zones", "expected"), [
    (spf(f"v=spf1 ip4:{HERE} -all"), ["ok", "0 of 10 lookups", f"pass (ip4:{HERE})"]),
    (spf("v=spf1 ip4:192.0.2.7 -all"), ["ok", "0 of 10 lookups", "fail: the record does not name it"]),
    (spf(f"v=spf1 ip4:{HERE} +all"), ["ok", "0 of 10 lookups", "+all lets the whole world send", "pass"]),
    (spf(f"v=spf1 ip4:{HERE}"), ["ok", "0 of 10 lookups", "the record ends with", "pass"]),
    (spf("v=spf1 ip4:300.0.0.1 -all"), ["ok", "0 of 10 lookups", "error: "]),
    (spf(f"v=spf1 ip4:{HERE} include:a.org -all", a_org="v=spf1 a mx include:b.org -all", b_org="v=spf1 ptr ~all"),
     ["ok", "5 of 10 lookups", "pass"]),
    (spf("v=spf1 " + "a:x.org " * 11 + "-all"), ["ok", "11 of 10 lookups", "error: "]),
    (spf("v=spf1 include:example.com -all"), ["ok", "2 of 10 lookups", "error: "]),
    ({"example.com": {"TXT": ["v=spf1 -all", "v=spf1 ~all"]}}, ["2 records"]),
    ({"example.com": {"TXT": ["nothing"]}}, ["no record"]),
])  # fmt: skip
async def test_spf(zones: Zones, expected: list[str]) -> None:
    findings = await doctor_policy.check_spf(subject(zones))
    texts = [one.found for one in findings]
    assert len(texts) == len(expected), texts
    for text, wanted in zip(texts, expected, strict=True):
        assert wanted == "ok" or text.startswith(wanted), texts


async def test_the_eleventh_lookup_is_one_too_many() -> None:
    for count, health in ((10, Health.OK), (11, Health.PROBLEM)):
        findings = await doctor_policy.check_spf(subject(spf("v=spf1 " + "a:x.org " * count + "-all")))
        assert findings[1].health is health


async def test_spf_proposes_a_record_that_covers_this_host() -> None:
    missing = await doctor_policy.check_spf(subject({}))
    assert missing[0].fix == f'example.com. IN TXT "v=spf1 mx ip4:{HERE} -all"'
    other = await doctor_policy.check_spf(subject(spf("v=spf1 ip4:192.0.2.7 -all")))
    assert other[-1].fix == f'example.com. IN TXT "v=spf1 ip4:{HERE} ip4:192.0.2.7 -all"'


@pytest.mark.parametrize(("zones", "expected"), [
    ({"_dmarc.example.com": {"TXT": ["v=DMARC1; p=reject; rua=mailto:a@example.com"]}}, ["ok"]),
    ({"_dmarc.example.com": {"TXT": ["v=DMARC1; p=none"]}}, ["ok", "warning"]),
    ({"_dmarc.example.com": {"TXT": ["v=DMARC1; p=maybe"]}}, ["problem"]),
    ({"_dmarc.example.com": {"TXT": ["v=DMARC1; rua=mailto:a@example.com"]}}, ["problem"]),
    ({"_dmarc.example.com": {"TXT": ["v=DMARC1; p=none; rua=a@example.com"]}}, ["problem"]),
    ({"_dmarc.example.com": {"TXT": ["v=DMARC1; p=none; rua=mailto:a@example.com!10m"]}}, ["ok", "warning"]),
    ({"_dmarc.example.com": {"TXT": ["v=DMARC1; p=none", "v=DMARC1; p=reject"]}}, ["problem"]),
    ({}, ["problem"]),
])  # fmt: skip
async def test_dmarc(zones: Zones, expected: list[str]) -> None:
    findings = await doctor_policy.check_dmarc(subject(zones))
    assert [one.health.value for one in findings] == expected


async def test_dmarc_of_the_domain_above_counts() -> None:
    zones: Zones = {"_dmarc.example.com": {"TXT": ["v=DMARC1; p=reject"]}}
    below = Subject("news.example.com", "mail.example.com", (HERE,), FakeResolver(zones))
    assert shown(await doctor_policy.check_dmarc(below)) == [("ok", "_dmarc.example.com: v=DMARC1; p=reject")]


@pytest.mark.parametrize(("published", "health", "found"), [
    (record(private_key("rsa")), "ok", "mail._domainkey.example.com matches the private key (rsa, 2048 bits)"),
    (record(private_key("rsa", 1)), "problem", "another key is published"),
    ("", "problem", "no TXT record is published"),
])  # fmt: skip
async def test_dkim(published: str, health: str, found: str, tmp_path: Path) -> None:
    path = write_key(tmp_path / "mail.private")
    config = Config.from_values({"dkim_keys": f"example.com:mail:{path}", "mail_owner": "no-such-account"})
    zones: Zones = {"mail._domainkey.example.com": {"TXT": [published]}} if published else {}
    finding = (await doctor_policy.check_dkim(subject(zones, config=config)))[0]
    assert finding.health.value == health
    assert found in finding.found
    assert bool(finding.fix) == (health != "ok")


async def test_dkim_without_a_key() -> None:
    finding = (await doctor_policy.check_dkim(subject({}, config=Config.from_values({}))))[0]
    assert (finding.health, finding.fix) == (Health.PROBLEM, "pymta-dkim genkey -d example.com -s mail")


@pytest.mark.parametrize(("zones", "failures", "expected"), [
    ({}, (), [("ok", "not listed by 2 of 2 asked")]),
    ({"1.2.0.192.one.example": {"A": ["127.0.0.2"], "TXT": ["caught sending spam"]}}, (),
     [("problem", f"{HERE} is listed: caught sending spam")]),
    ({"1.2.0.192.one.example": {"A": ["127.0.0.4"]}}, (), [("problem", f"{HERE} is listed: 127.0.0.4")]),
    ({"1.2.0.192.one.example": {"A": ["127.255.255.254"]}}, (), [
        ("ok", "not listed by 1 of 2 asked"), ("unknown", f"{HERE}: the list refused the question (127.255.255.254)")]),
    ({"1.2.0.192.one.example": {"A": ["198.51.100.1"]}}, (), [("ok", "not listed by 2 of 2 asked")]),
    ({}, ("1.2.0.192.one.example",), [("ok", "not listed by 1 of 2 asked"), ("unknown", f"{HERE}: no answer")]),
])  # fmt: skip
async def test_blocklists(zones: Zones, failures: tuple[str, ...], expected: list[tuple[str, str]]) -> None:
    found = await check_blocklists(subject(zones, failures=failures), ["one.example", "two.example"])
    assert shown(found) == expected


def test_question_for_a_blocklist() -> None:
    assert query_name("2001:db8::1", "bl.example") == "1" + ".0" * 23 + ".8.b.d.0.1.0.0.2.bl.example"


MAIN = {"mynetworks": "127.0.0.0/8", "alias_maps": "", "compatibility_level": "3.6", "myhostname": "mail.example.com"}


@pytest.mark.parametrize(("values", "health"), [
    ({}, "ok"),
    ({"mynetworks": "0.0.0.0/0"}, "problem"),
    ({"smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination"}, "ok"),
    ({"smtpd_relay_restrictions": "check_client_access static:permit, reject_unauth_destination"}, "problem"),
    ({"relay_domains": "example.net"}, "problem"),
    ({"smtpd_relay_restrictions": ""}, "problem"),
])  # fmt: skip
async def test_open_relay(values: dict[str, str], health: str) -> None:
    config = Config.from_values({**MAIN, **values})
    found = await doctor_host.check_relaying(subject({}), config, RecordingLog())
    assert [one.health.value for one in found] == [health], found


def test_clock() -> None:
    assert [doctor_host.check_clock(state)[0].health.value for state in (True, False, None)] == [
        "ok", "warning", "unknown",
    ]  # fmt: skip
    assert doctor_host.clock_is_synchronised() in (True, False, None)


def user(name: str, uid: int, home: Path) -> pwd.struct_passwd:
    return pwd.struct_passwd((name, "x", uid, uid, "", str(home), "/bin/sh"))


class TestMailboxes:
    config = Config.from_values({"home_mailbox": "Maildir/"})

    def maildir(self, home: Path) -> Path:
        for part in ("tmp", "new", "cur"):
            (home / "Maildir" / part).mkdir(parents=True, mode=0o700)
        (home / "Maildir").chmod(0o700)
        return home / "Maildir"

    def check(self, home: Path, uid: int) -> Finding:
        monkey_user = user("joe", 1000, home)
        findings = doctor_host.check_mailboxes(self.config, [monkey_user])
        return findings[0]

    def test_owner(self, tmp_path: Path) -> None:
        path = self.maildir(tmp_path)
        if path.stat().st_uid == 1000:
            assert self.check(tmp_path, 1000).health is Health.OK
        else:
            finding = self.check(tmp_path, 1000)
            assert finding.fix == f"chown -R joe {path}"
            assert "not to joe" in finding.found

    def test_none_is_made_at_delivery(self, tmp_path: Path) -> None:
        assert self.check(tmp_path, 1000).health is Health.OK

    def test_mode(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = self.maildir(tmp_path)
        monkeypatch.setattr(doctor_host, "_FIRST_USER", 0)
        me = user("joe", path.stat().st_uid, tmp_path)
        assert doctor_host.check_mailboxes(self.config, [me])[0].health is Health.OK
        (path / "new").chmod(0o777)
        finding = doctor_host.check_mailboxes(self.config, [me])[0]
        assert (finding.health, "mode 0777" in finding.found) == (Health.PROBLEM, True)


def test_certificate(tmp_path: Path) -> None:
    config = Config.from_values({"smtpd_tls_cert_file": str(tmp_path / "cert.pem")})
    now = datetime(2026, 1, 1, tzinfo=UTC)

    def look(moment: datetime, hostname: str = "mail.example.com") -> Finding:
        return doctor_host.check_certificate(config, hostname, moment)[0]

    assert look(now).health is Health.PROBLEM
    (tmp_path / "cert.pem").write_bytes(b"no certificate")
    assert "no certificate in PEM" in look(now).found
    assert doctor_host.check_certificate(Config.from_values({}), "x")[0].health is Health.WARNING
    (tmp_path / "cert.pem").write_text(CERTIFICATE)
    begin, end = datetime(2024, 1, 1, tzinfo=UTC), datetime(2034, 1, 1, tzinfo=UTC)
    assert look(begin + timedelta(days=100)).health is Health.WARNING  # self-signed
    assert "expired on" in look(end + timedelta(days=400)).found
    assert "not valid yet" in look(begin - timedelta(days=4000)).found
    assert "not for mx.example.org" in look(begin + timedelta(days=100), "mx.example.org").found
    assert "self-signed" in look(begin + timedelta(days=100), "smtp.example.com").found


@pytest.mark.parametrize(("zones", "status"), [
    ({HERE: {"PTR": ["mail.example.com"]}, **A_RECORD}, 1),
])  # fmt: skip
def test_the_report(zones: Zones, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "main.cf").write_text(
        "".join(f"{name} = {value}\n" for name, value in {**MAIN, "doctor_dns_blocklists": "one.example"}.items())
    )
    options = ["example.com", "-c", str(tmp_path), "--address", HERE, "--no-network"]
    assert main(options, FakeResolver(zones)) == status
    text = capsys.readouterr().out
    assert f"  ok  hostname: mail.example.com is {HERE}\n" in text
    assert " BAD  MX: the domain example.com does not exist\n" in text
    assert "\033" not in text
    assert main([*options, "--json"], FakeResolver(zones)) == status
    report = json.loads(capsys.readouterr().out)
    assert (report["domain"], report["healthy"]) == ("example.com", False)
    assert {"health", "topic", "found", "why", "fix"} == set(report["findings"][0])
    assert main([*options, "--color", "always"], FakeResolver(zones)) == status
    assert "\033[32m  ok\033[0m" in capsys.readouterr().out


def test_what_strangers_write_into_dns_does_not_reach_the_terminal() -> None:
    text = as_text([Finding(Health.OK, "SPF", "v=spf1\x1b[2J\r\n -all")], colour=False)
    assert text == "  ok  SPF: v=spf1?[2J?? -all\n"
    assert json.loads(as_json("example.com", []))["healthy"] is True


def test_one_setting_that_cannot_be_read_spoils_one_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "".join(f"{name} = {value}\n" for name, value in MAIN.items())
    (tmp_path / "main.cf").write_text(f"{text}doctor_dns_blocklists =\nsmtpd_tls_cert_file = ${{broken\n")
    assert main(["example.com", "-c", str(tmp_path), "--no-network"], FakeResolver(A_RECORD)) == 1
    out = capsys.readouterr().out
    assert " BAD  certificate: " in out
    assert "DMARC: no record" in out


def test_without_a_configuration_dns_is_examined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host = Host("mail.example.com", lambda: [ip_interface("127.0.0.1/8")])
    assert main(["example.com", "-c", str(tmp_path)], FakeResolver(A_RECORD), host) == 1
    out = capsys.readouterr().out
    assert "configuration" in out
    assert "DMARC: no record" in out


@pytest.mark.parametrize("arguments", [["not a domain"], ["example.com", "--address", "x"]])
def test_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments, FakeResolver())
    assert stopped.value.code == 2


def test_public_addresses() -> None:
    host = Host("x", lambda: [ip_interface("127.0.0.1/8"), ip_interface("10.0.0.1/8"), ip_interface("8.8.4.4/24")])
    config = Config.from_values({"proxy_interfaces": "9.9.9.9"})
    assert public_addresses(config, host) == ("8.8.4.4", "9.9.9.9")


CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBUzCB+aADAgECAgEBMAoGCCqGSM49BAMCMBsxGTAXBgNVBAMMEG1haWwuZXhh
bXBsZS5jb20wHhcNMjQwMTAxMDAwMDAwWhcNMzQwMTAxMDAwMDAwWjAbMRkwFwYD
VQQDDBBtYWlsLmV4YW1wbGUuY29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
psyqOkdGytDXmza0vHhFsueNnWLNS7SgssAJFI7hKhX0Pyp7ORwcmTYotZlk5L2T
i8FqqQBG2geOQXBe+8pTqqMuMCwwKgYDVR0RBCMwIYIQbWFpbC5leGFtcGxlLmNv
bYINKi5leGFtcGxlLmNvbTAKBggqhkjOPQQDAgNJADBGAiEA8zzG+/rNxpXYRYUn
u4xCbfEy1HXBz9iCglrDe+LALVcCIQDURN+0Jb7byDJAzyA6GQhp4Og3zwzHgouw
eaM3x0SUkw==
-----END CERTIFICATE-----
"""
