"""/etc/hosts before DNS, for the names of clients."""

from pathlib import Path

from pymta.dns.hosts import SystemNames, parse_hosts
from pymta.model.dns import Answer, Lookup

TEXT = """\
127.0.0.1 localhost localhost.localdomain # comment
::1 localhost ip6-localhost
192.0.2.7  mail.example.com mail
192.0.2.8  mail.example.com
not-an-address name
192.0.2.9
fe80::1%eth0 scoped
"""


class Dns:
    async def query(self, name: str, rdtype: str) -> Answer:
        return Answer(Lookup.NOT_FOUND, reason=name)


def test_the_file_is_read_as_hosts_says() -> None:
    answers = parse_hosts(TEXT)
    assert answers["127.0.0.1", "PTR"].values == ("localhost",)
    assert answers["::1", "PTR"].values == ("localhost",)
    assert answers["localhost", "A"].values == ("127.0.0.1",)
    assert answers["localhost", "AAAA"].values == ("::1",)
    assert answers["mail.example.com", "A"].values == ("192.0.2.7", "192.0.2.8")
    assert ("name", "A") not in answers
    assert ("scoped", "AAAA") not in answers


async def test_what_the_file_has_not_dns_is_asked(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(TEXT)
    names = SystemNames(Dns(), tmp_path / "hosts")
    assert (await names.query("MAIL.example.com.", "A")).status is Lookup.FOUND
    assert (await names.query("0:0:0:0:0:0:0:1", "PTR")).values == ("localhost",)
    assert (await names.query("other.example", "A")).reason == "other.example"
    assert (await names.query("mail.example.com", "MX")).status is Lookup.NOT_FOUND


async def test_a_missing_file_is_no_obstacle(tmp_path: Path) -> None:
    names = SystemNames(Dns(), tmp_path / "nothing")
    assert (await names.query("localhost", "A")).status is Lookup.NOT_FOUND
