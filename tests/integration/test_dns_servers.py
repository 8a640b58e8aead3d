"""Real name servers: our resolver through Unbound to NSD, and walk-throughs H, I and J on them, end to end."""

from __future__ import annotations

import os
import re
import shutil
import smtplib
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import dns.dnssec
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.DNSKEY
import dns.zone
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from pymta.cli.dkim import main as dkim_main
from pymta.cli.doctor import main as doctor_main
from pymta.dns.resolver import DnsResolver
from pymta.model.dns import MX, Lookup
from pymta.runtime.clock import SystemClock
from tests.support.name_servers import NameServers
from tests.support.peers import ROOT, environment, free_port, program
from tests.support.spawn import spawned
from tests.support.system import PymtaSystem, eventually

LONG = "y" * 250
ZONES = {
    "plain.test": f"""@ MX 20 second.plain.test.
@ MX 10 first.plain.test.
@ TXT "v=spf1 " "mx -all"
first A 192.0.2.1
first A 192.0.2.2
first AAAA 2001:db8::1
second A 192.0.2.3
alias CNAME middle
middle CNAME elsewhere.other.test.
dangling CNAME nothing.other.test.
ring1 CNAME ring2
ring2 CNAME ring1
null MX 0 .
big TXT {" ".join([f'"{LONG}"'] * 12)}
huge TXT {" ".join([f'"{LONG}"'] * 240)}
only TXT "no address"
""",
    "other.test": "elsewhere A 192.0.2.9\n",
    "2.0.192.in-addr.arpa": "1 PTR first.plain.test.\n",
    "8.b.d.0.1.0.0.2.ip6.arpa": "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0 PTR first.plain.test.\n",
}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NameServers]:
    folder = tmp_path_factory.mktemp("dns")
    signed, anchor = _signed("signed.test", "@ A 192.0.2.1\n")
    zones = {**ZONES, "signed.test": signed}
    names = NameServers(folder, zones, dead=("dead.test",), anchors=(anchor,), whole=frozenset({"signed.test"}))
    with names.running():
        yield names


def _signed(origin: str, records: str) -> tuple[str, str]:
    """A zone with DNSSEC, and the DS record of its key."""
    head = "@ 300 IN SOA ns.test. hostmaster.test. 1 3600 600 86400 60\n@ 300 IN NS ns.test.\n"
    zone = dns.zone.from_text(f"$ORIGIN {origin}.\n$TTL 60\n{head}{records}", origin=f"{origin}.", relativize=False)
    private = ec.generate_private_key(ec.SECP256R1())
    key = dns.dnssec.make_dnskey(private.public_key(), dns.dnssec.Algorithm.ECDSAP256SHA256, flags=257)
    with zone.writer() as transaction:
        dns.dnssec.sign_zone(zone, transaction, keys=[(private, key)], lifetime=86400, add_dnskey=True, dnskey_ttl=60)
    ds = dns.dnssec.make_ds(f"{origin}.", key, "SHA256")
    return zone.to_text(relativize=False), f"{origin}. IN DS {ds.to_text()}"


@pytest.fixture
async def resolver(servers: NameServers) -> AsyncIterator[DnsResolver]:
    asked = DnsResolver(SystemClock(), [servers.address], timeout=2.0, attempts=1)
    yield asked
    asked.close()


@pytest.mark.parametrize(
    ("name", "rdtype", "values"),
    [
        ("first.plain.test", "A", ("192.0.2.1", "192.0.2.2")),
        ("FIRST.plain.test.", "AAAA", ("2001:db8::1",)),
        ("plain.test", "TXT", ("v=spf1 mx -all",)),
        ("alias.plain.test", "A", ("192.0.2.9",)),
        ("alias.plain.test", "CNAME", ("middle.plain.test",)),
        ("192.0.2.1", "PTR", ("first.plain.test",)),
        ("2001:db8::1", "PTR", ("first.plain.test",)),
        ("big.plain.test", "TXT", (LONG * 12,)),
        ("huge.plain.test", "TXT", (LONG * 240,)),
    ],
)
async def test_what_is_there_is_found(resolver: DnsResolver, name: str, rdtype: str, values: tuple[str, ...]) -> None:
    answer = await resolver.query(name, rdtype)
    assert (answer.status, sorted(answer.values)) == (Lookup.FOUND, sorted(values))
    assert 0 < answer.ttl <= 60


@pytest.mark.parametrize(
    ("name", "rdtype", "status"),
    [
        ("nothing.plain.test", "A", Lookup.NOT_FOUND),
        ("dangling.plain.test", "A", Lookup.NOT_FOUND),
        ("only.plain.test", "A", Lookup.NO_DATA),
        ("first.plain.test", "MX", Lookup.NO_DATA),
        ("ring1.plain.test", "A", Lookup.TRY_AGAIN),
        ("192.0.2.77", "PTR", Lookup.NOT_FOUND),
        ("host.dead.test", "A", Lookup.TRY_AGAIN),
        ("not a name", "A", Lookup.NOT_FOUND),
    ],
)
async def test_what_is_not_there(resolver: DnsResolver, name: str, rdtype: str, status: Lookup) -> None:
    assert (await resolver.query(name, rdtype)).status is status


async def test_mail_exchangers(resolver: DnsResolver) -> None:
    assert set((await resolver.query("plain.test", "MX")).mx) == {
        MX(10, "first.plain.test"),
        MX(20, "second.plain.test"),
    }
    assert (await resolver.query("null.plain.test", "MX")).mx == (MX(0, ""),)


async def test_only_what_was_signed_is_secure(resolver: DnsResolver) -> None:
    assert (await resolver.query("signed.test", "A")).secure
    assert not (await resolver.query("first.plain.test", "A")).secure


async def test_a_server_that_is_not_there_is_waited_for_no_longer_than_told() -> None:
    asked = DnsResolver(SystemClock(), [("127.0.0.1", free_port())], timeout=0.3, attempts=2)
    begun = time.monotonic()
    assert (await asked.query("first.plain.test", "A")).status is Lookup.TRY_AGAIN
    assert time.monotonic() - begun < 2
    asked.close()


# --- the walk-throughs ---

TEXT = (
    "From: Joe <joe@sender.example>\r\nTo: root@mail.example.com\r\nSubject: walk\r\n\r\nHello,  \r\n\r\n.dots\r\n\r\n"
)
Start = Callable[..., PymtaSystem]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What `opendkim-genkey -s mail -d sender.example` leaves, and tables that name it, as the guides have them."""
    keys = tmp_path / "opendkim"
    keys.mkdir()
    genkey = [program("opendkim-genkey"), "-s", "mail", "-d", "sender.example", "-D", str(keys)]
    subprocess.run(genkey, env=environment(), check=True, capture_output=True)
    (keys / "KeyTable").write_text(f"mail._domainkey.sender.example sender.example:mail:{keys}/mail.private\n")
    (keys / "SigningTable").write_text("*@sender.example mail._domainkey.sender.example\n")
    (keys / "opendkim.conf").write_text(
        f"Canonicalization relaxed/simple\nMode sv\nKeyTable {keys}/KeyTable\n"
        f"SigningTable refile:{keys}/SigningTable\nSocket inet:8891@localhost\n"
    )
    if os.geteuid() == 0:
        for path in (keys, keys / "mail.private"):
            shutil.chown(path, "mail", "mail")
    return keys


@pytest.fixture
def world(tmp_path: Path, folder: Path) -> Iterator[NameServers]:
    """A sender's domain as its owner publishes it: with the file that opendkim-genkey printed, as it is."""
    zones = {
        "sender.example": f'@ MX 10 out\n@ A 127.0.0.3\n@ TXT "v=spf1 a mx -all"\nout A 127.0.0.2\n'
        f'_dmarc TXT "v=DMARC1; p=reject"\n$INCLUDE {folder}/mail.txt\n',
        "soft.example": '@ TXT "v=spf1 ip4:60.216.42.102 ip4:223.99.170.103 ~all"\n',
        "0.0.127.in-addr.arpa": "1 PTR localhost.\n2 PTR out.sender.example.\n3 PTR out.sender.example.\n",
        "bl.test": '9.0.0.127 A 127.0.0.2\n9.0.0.127 TXT "listed"\n',
        "broken.example": '@ MX 10 127.0.0.9\n@ TXT "v=spf1 include:nothing.test -all"\nmail A 127.0.0.9\n',
    }
    with NameServers(tmp_path / "dns", zones, port_53=os.geteuid() == 0).running() as servers:
        yield servers


def _receiver(start: Start, world: NameServers, **more: str) -> PymtaSystem:
    return start(
        {
            "dns_nameservers": f"127.0.0.1:{world.port}",
            "mynetworks": "127.0.0.99/32",
            "mydestination": "mail.example.com",
            "spf_enable": "yes",
            "dkim_verify": "yes",
            **more,
        }
    )


def _send(port: int, source: str, sender: str, text: str = TEXT) -> tuple[int, str]:
    with smtplib.SMTP("127.0.0.1", port, "out.sender.example", source_address=(source, 0), timeout=30) as session:
        session.ehlo()
        session.mail(sender)
        code, reply = session.rcpt("root@mail.example.com")
        if code == 250:
            code, reply = session.data(text)
        return code, reply.decode()


def _arrived(system: PymtaSystem) -> str:
    box = system.mail / "root"
    eventually(lambda: box.exists() and box.read_text().endswith("\n\n"))
    return re.sub(r"\n[ \t]+", " ", box.read_text())


def test_h_received_spf_passes(pymta_system: Start, world: NameServers) -> None:
    system = _receiver(pymta_system, world)
    assert _send(system.port, "127.0.0.2", "joe@sender.example")[0] == 250
    text = _arrived(system)
    assert (
        "Received-SPF: pass (mail.example.com: domain of joe@sender.example designates 127.0.0.2 as permitted sender) "
        "client-ip=127.0.0.2;" in text
    )
    assert "spf=pass smtp.mailfrom=joe@sender.example" in text


@pytest.mark.parametrize(
    ("sender", "code", "words"),
    [
        ("joe@sender.example", 550, "5.7.23"),
        ("joe@soft.example", 250, ""),
        ("joe@broken.example", 250, ""),
        ("joe@nothing.test", 250, ""),
    ],
)
def test_h_forgeries(pymta_system: Start, world: NameServers, sender: str, code: int, words: str) -> None:
    system = _receiver(pymta_system, world)
    found = _send(system.port, "127.0.0.8", sender)
    assert found[0] == code
    assert words in found[1]


def test_h_the_old_policy_daemon_still_serves(pymta_system: Start, world: NameServers) -> None:
    """`check_policy_service` with the daemon that guides install; its libraries ask the same name server."""
    engine = ROOT / "usr/lib/python3/dist-packages"
    if os.geteuid() != 0:
        pytest.skip("needs a resolv.conf of its own")
    settings = world.folder / "policyd-spf.conf"
    settings.write_text("debugLevel = 0\nHELO_reject = Fail\nMail_From_reject = Fail\nskip_addresses = 192.0.2.1/32\n")
    command = (*world.mounting, sys.executable, program("policyd-spf"), str(settings))
    with spawned(*command, environment={"PYTHONPATH": str(engine)}) as port:
        check = f"reject_unauth_destination, check_policy_service inet:127.0.0.1:{port}"
        system = _receiver(pymta_system, world, spf_enable="no", dkim_verify="no", smtpd_recipient_restrictions=check)
        assert _send(system.port, "127.0.0.2", "joe@sender.example")[0] == 250
        assert _send(system.port, "127.0.0.8", "joe@sender.example")[0] == 550
    text = _arrived(system)
    told = r"Received-SPF: Pass \(mailfrom\) .*client-ip=127\.0\.0\.2; .*envelope-from=joe@sender\.example"
    assert re.search(told, text), text


def test_i_a_message_is_signed_here_and_verified_there(
    pymta_system: Start, world: NameServers, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = _receiver(pymta_system, world)
    here = pymta_system(
        {
            "dns_nameservers": f"127.0.0.1:{world.port}",
            "dkim_opendkim_config": str(folder / "opendkim.conf"),
            "myhostname": "out.sender.example",
            "mydestination": "",
            "smtp_bind_address": "127.0.0.2",
            "default_transport": f"smtp:[127.0.0.1]:{there.port}",
        }
    )
    here.send("root@mail.example.com", TEXT, sender="joe@sender.example")
    text = _arrived(there)
    assert re.search(r"dkim=pass \(2048-bit key\) header\.d=sender\.example", text), text
    assert "Received-SPF: pass" in text
    assert dkim_main(["-c", str(here.config), "testkey", "-d", "sender.example"]) == 0
    assert "mail._domainkey.sender.example: key OK" in capsys.readouterr().out


def test_i_opendkim_finds_key_and_record_in_order(world: NameServers, folder: Path) -> None:
    """opendkim-testkey, asking the same name servers, agrees."""
    forward = folder / "unbound.conf"
    forward.write_text(
        f'server:\n  do-not-query-localhost: no\nforward-zone:\n  name: "."\n  forward-addr: 127.0.0.1@{world.port}\n'
    )
    (folder / "testkey.conf").write_text(f"ResolverConfiguration {forward}\n")
    where = ["-x", f"{folder}/testkey.conf", "-d", "sender.example", "-s", "mail", "-k", f"{folder}/mail.private"]
    done = subprocess.run(
        [program("opendkim-testkey"), *where, "-vvv"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # Without DNSSEC it says so in place of "key OK".
    assert (done.returncode, "key not secure" in done.stderr) == (0, True), done.stderr


def _doctor(system: PymtaSystem, domain: str, address: str, capsys: pytest.CaptureFixture[str]) -> str:
    doctor_main([domain, "-c", str(system.config), "--address", address])
    return capsys.readouterr().out


def test_j_the_doctor_finds_a_healthy_domain(
    pymta_system: Start, world: NameServers, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    system = pymta_system(
        {
            "dns_nameservers": f"127.0.0.1:{world.port}",
            "dkim_opendkim_config": str(folder / "opendkim.conf"),
            "doctor_dns_blocklists": "bl.test",
            "doctor_outbound_probe": "",
            "myhostname": "out.sender.example",
            "mydomain": "sender.example",
        }
    )
    report = _doctor(system, "sender.example", "127.0.0.2", capsys)
    for line in ("hostname:", "PTR", "MX ", "SPF for 127.0.0.2: pass", "DKIM", "DMARC", "blocklists", "open relay"):
        assert re.search(rf"(?m)^  ok  {line}", report), (line, report)


def test_j_the_doctor_names_what_is_wrong(
    pymta_system: Start, world: NameServers, capsys: pytest.CaptureFixture[str]
) -> None:
    system = pymta_system(
        {
            "dns_nameservers": f"127.0.0.1:{world.port}",
            "doctor_dns_blocklists": "bl.test",
            "doctor_outbound_probe": "",
            "myhostname": "mail.broken.example",
            "mydomain": "broken.example",
        }
    )
    report = _doctor(system, "broken.example", "127.0.0.9", capsys)
    for topic in ("PTR", "MX", "SPF", "DKIM", "DMARC", "blocklist bl.test"):
        assert re.search(rf"(?m)^( BAD|warn)  {topic}", report), (topic, report)
