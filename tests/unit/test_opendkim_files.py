"""OpenDKIM's files: opendkim.conf, KeyTable, SigningTable, hosts (opendkim.conf(5), opendkim(8))."""

from pathlib import Path

import pytest

from pymta.auth.dkim_sign_rules import SignatureRule, SigningProblem
from pymta.auth.dkim_sign_settings import SigningSettings
from pymta.auth.key_table import TableRules, key_rows, lookup_order, signing_rows
from pymta.auth.opendkim import OpenDkimConfig, header_names
from pymta.auth.opendkim_datasets import HostSet, Row, Source, open_dataset, read_rows
from pymta.config import Config, build
from pymta.errors import ConfigError
from pymta.model.address import Address
from pymta.model.envelope import Client, Origin, Recipient
from pymta.model.reply import Reply
from pymta.tables import watch
from pymta.testing import RecordingLog
from tests.support.dkim_signing import make, sign, source_of, write_key

MESSAGE = b"From: joe@example.com\r\nTo: a@example.org\r\nSubject: x\r\n\r\ntext\r\n"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return write_key(tmp_path / "mail.private")


def rules(tmp_path: Path, keys: str, senders: str, *, kind: str = "refile", multiple: bool = False) -> TableRules:
    (tmp_path / "KeyTable").write_text(keys)
    (tmp_path / "SigningTable").write_text(senders)
    source = Source.parse(f"{kind}:{tmp_path}/SigningTable", tmp_path, "SigningTable")
    return TableRules(
        open_dataset(Source.parse(f"{tmp_path}/KeyTable", tmp_path, "KeyTable"), key_rows, RecordingLog()),
        open_dataset(source, lambda found: signing_rows(found, wildcards=source.wildcards), RecordingLog()),
        multiple=multiple,
    )


KEYS = "# all keys\none example.com:mail:/k/one\ntwo\texample.org:x:/k/two # second\nany %:s:/k/%.private\n"


@pytest.mark.parametrize(("senders", "author", "expected"), [
    ("*@example.com one\n*@* two\n", "joe@example.com", [("example.com", "mail", "/k/one")]),
    ("*@example.com one\n*@* two\n", "joe@EXAMPLE.com", [("example.com", "mail", "/k/one")]),
    ("*@EXAMPLE.com one\n", "Joe@example.com", [("example.com", "mail", "/k/one")]),
    ("*@example.com one\n*@* two\n", "joe@example.net", [("example.org", "x", "/k/two")]),
    ("*@example.com one\n", "joe@sub.example.com", []),
    ("*@*.example.com one\n", "joe@sub.example.com", [("example.com", "mail", "/k/one")]),
    ("*example.com one\n", "joe@notexample.com", [("example.com", "mail", "/k/one")]),
    ("joe@example.com one\n", "jxe@example.com", []),
    ("j.e@example.com one\n", "joe@example.com", []),
    ("* any\n", "joe@a.net", [("a.net", "s", "/k/a.net.private")]),
    ("* any\n", "joe@../../etc", []),
])  # fmt: skip
def test_patterns(senders: str, author: str, expected: list[tuple[str, str, str]], tmp_path: Path) -> None:
    found = rules(tmp_path, KEYS, senders).find(author)
    assert [(one.domain, one.selector, one.key) for one in found] == expected


@pytest.mark.parametrize(("senders", "author", "selectors"), [
    ("example.com one\n", "joe@example.com", ["mail"]),
    ("joe@example.com two\nexample.com one\n", "joe@example.com", ["x"]),
    ("example.com one\njoe@example.com two\n", "joe@example.com", ["x"]),
    (".example.com one\n", "joe@a.b.example.com", ["mail"]),
    (".example.com one\n", "joe@example.com", []),
    ("joe@* one\n", "joe@example.net", ["mail"]),
    ("* one\n", "joe@example.net", ["mail"]),
    ("*@example.com one\n", "joe@example.com", []),
])  # fmt: skip
def test_keys_in_order(senders: str, author: str, selectors: list[str], tmp_path: Path) -> None:
    found = rules(tmp_path, KEYS, senders, kind="file").find(author)
    assert [one.selector for one in found] == selectors


def test_order_of_lookups() -> None:
    assert list(lookup_order("user@a.example.com")) == [
        "user@a.example.com", "a.example.com", "user@.example.com", "user@.com", ".example.com", ".com", "user@*", "*",
    ]  # fmt: skip


def test_all_matches_where_several_signatures_are_wanted(tmp_path: Path) -> None:
    senders = "*@example.com one\n*@example.com two\n"
    assert [one.selector for one in rules(tmp_path, KEYS, senders, multiple=True).find("j@example.com")] == [
        "mail",
        "x",
    ]
    assert [one.selector for one in rules(tmp_path, KEYS, senders).find("j@example.com")] == ["mail"]


def test_identity(tmp_path: Path) -> None:
    found = rules(tmp_path, KEYS, "* any:list@%\n").find("joe@a.net")
    assert found == (SignatureRule("a.net", "s", "/k/a.net.private", "list@a.net"),)


@pytest.mark.parametrize(("identity", "tag"), [
    ("list@example.com", " i=list@example.com;"), ("@sub.example.com", " i=@sub.example.com;"),
    ("list@example.org", ""), ("list@notexample.com", ""), ("list", ""),
])  # fmt: skip
def test_an_identity_outside_of_the_domain_is_left_out(identity: str, tag: str, key: Path, tmp_path: Path) -> None:
    values = {
        "dkim_key_table": f"one=example.com:mail:{key}",
        "dkim_signing_table": f"example.com=one:{identity}",
    }
    signed = sign(make(tmp_path, values), MESSAGE)
    assert isinstance(signed, bytes)
    text = signed.decode().replace("\r\n\t", " ")
    assert (" i=" in text) == bool(tag)
    assert tag in text


def test_a_key_that_is_not_in_the_table(tmp_path: Path) -> None:
    broken = rules(tmp_path, KEYS, "\n*@example.com three\n")
    assert broken.dangling() == [f'{tmp_path}/SigningTable:2: SigningTable: there is no key "three" in the KeyTable']
    with pytest.raises(SigningProblem, match='there is no key "three"'):
        broken.find("joe@example.com")


@pytest.mark.parametrize(("keys", "senders", "says"), [
    ("one example.com:mail:/k\ntwo example.com /k\n", "* one\n", "KeyTable:2: KeyTable: found \"two example.com /k\""),
    ("one\n", "* one\n", "KeyTable:1: KeyTable: found \"one\""),
    ("one a:b:\n", "* one\n", "KeyTable:1"),
    ("one a:b:/c\nONE a:b:/d\n", "* one\n", "a second key of the name \"ONE\""),
    ("one a:b:/c\n", "*@example.com\n", "SigningTable:1: SigningTable: found \"*@example.com\""),
])  # fmt: skip
def test_broken_lines_are_named(keys: str, senders: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        rules(tmp_path, keys, senders)
    assert says in str(caught.value)


class TestDatasets:
    def test_lists_and_files(self, tmp_path: Path) -> None:
        (tmp_path / "hosts").write_text("# comment\n127.0.0.1\n\n  example.com  # ours\n")

        def keys(text: str) -> list[str]:
            return [row.key for row in read_rows(Source.parse(text, tmp_path, "X"))]

        assert keys(f"{tmp_path}/hosts") == keys("file:hosts") == keys("refile:hosts") == ["127.0.0.1", "example.com"]
        assert keys("127.0.0.1, example.com") == keys("csl:127.0.0.1,example.com") == ["127.0.0.1", "example.com"]

    @pytest.mark.parametrize("text", ["db:/etc/keys", "keys.db", "ldap:x", "lua:/x", "dsn:mysql://x"])
    def test_what_is_not_built_in_says_so(self, text: str, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="only file:, refile:, csl: and lists"):
            Source.parse(text, tmp_path, "KeyTable")

    def test_a_file_that_is_missing(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="none: No such file or directory"):
            read_rows(Source.parse("file:none", tmp_path, "InternalHosts"))


@pytest.mark.parametrize(("entries", "address", "name", "expected"), [
    (["127.0.0.1"], "127.0.0.1", "localhost", True), (["127.0.0.1"], "127.0.0.2", "localhost", False),
    (["192.168.1.0/24"], "192.168.1.9", "unknown", True), (["192.168.1.77/24"], "192.168.1.9", "unknown", True),
    (["192.168.0.0/16", "!192.168.1.0/24", "192.168.1.9"], "192.168.1.9", "unknown", True),
    (["192.168.0.0/16", "!192.168.1.0/24", "192.168.1.9"], "192.168.1.8", "unknown", False),
    (["192.168.0.0/16", "!192.168.1.0/24", "192.168.1.9"], "192.168.2.8", "unknown", True),
    (["mail.example.com"], "198.51.100.1", "mail.example.com", True),
    ([".example.com"], "198.51.100.1", "a.b.example.com", True),
    ([".example.com"], "198.51.100.1", "example.com", False),
    ([".example.com", "!bad.example.com"], "198.51.100.1", "bad.example.com", False),
    (["::1"], "::1", "localhost", True), (["[2001:db8::]/32"], "2001:db8::9", "unknown", True),
    (["::ffff:192.0.2.1"], "192.0.2.1", "unknown", True),
])  # fmt: skip
def test_hosts(entries: list[str], address: str, name: str, expected: bool) -> None:
    assert HostSet([Row(entry, "", entry, "X") for entry in entries]).contains(address, name) == expected


class TestConf:
    def read(self, tmp_path: Path, text: str) -> OpenDkimConfig:
        (tmp_path / "opendkim.conf").write_text(text)
        return OpenDkimConfig.read(tmp_path / "opendkim.conf")

    def signer_values(self, tmp_path: Path, text: str) -> dict[str, str]:
        (tmp_path / "opendkim.conf").write_text(text)
        return {"dkim_opendkim_config": f"{tmp_path}/opendkim.conf"}

    def test_the_guides_file(self, key: Path, tmp_path: Path) -> None:
        conf = (
            f"Syslog yes\nUMask 002\nDomain example.com\nKeyFile {key}\nSelector mail\n"
            "Canonicalization relaxed/simple\nMode sv\nSubDomains no\nOversignHeaders From\nSocket inet:8891@a\n"
            "PidFile /run/opendkim.pid\nUserID opendkim\nX-Header yes\nTrustAnchorFile /usr/share/dns/root.key\n"
        )
        signed = sign(make(tmp_path, self.signer_values(tmp_path, conf)), MESSAGE)
        assert isinstance(signed, bytes)
        text = signed.decode()
        assert "c=relaxed/simple; d=example.com; s=mail;" in text
        assert "h=from:from:subject:to;" in text

    def test_only_verifying_signs_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(AssertionError):
            make(tmp_path, self.signer_values(tmp_path, "Mode v\n"))

    @pytest.mark.parametrize(("text", "says"), [
        ("Mode x\n", "opendkim.conf:1: Mode: found \"x\""),
        ("Domain example.com\n", "to sign, set Domain, Selector and KeyFile, or KeyTable and SigningTable; Selector"),
        ("\nNonsense yes\n", "opendkim.conf:2: Nonsense: there is no parameter"),
        ("Domain\n", "opendkim.conf:1: Domain: the value is missing"),
        ("Domain a.b\nSelector s\nKeyFile /k\nCanonicalization strict\n", "opendkim.conf:4: Canonicalization"),
        ("Domain a.b\nSelector s\nKeyFile /k\nSignatureAlgorithm rsa-sha1\n", "RFC 8301"),
        ("Domain a.b\nSelector s\nKeyFile /k\nSubDomains maybe\n", "expected yes or no"),
        ("Domain a.b\nSelector s\nKeyFile /k\nSignatureTTL soon\n", "expected a number"),
        ("Domain a.b\nSelector s\nKeyFile /k\nInternalHosts a/b\n", "expected a host, a domain"),
        ("Include opendkim.conf\n", "more than 5 levels of Include"),
        ("Include none.conf\n", "none.conf: No such file or directory"),
    ])  # fmt: skip
    def test_errors_name_file_and_line(self, text: str, says: str, tmp_path: Path) -> None:
        with pytest.raises(ConfigError) as caught:
            make(tmp_path, self.signer_values(tmp_path, text))
        assert says in str(caught.value)

    def test_what_is_not_acted_on_is_said(self, key: Path, tmp_path: Path) -> None:
        log = RecordingLog()
        conf = f"Domain example.com\nSelector mail\nKeyFile {key}\nMaximumSignedBytes 10\n"
        make(tmp_path, self.signer_values(tmp_path, conf), log)
        assert log.lines == [
            f"DKIM: {tmp_path}/opendkim.conf:4: MaximumSignedBytes: "
            "not acted on: signatures cover the whole body (no l=)"
        ]

    async def test_internal_hosts_and_peers(self, key: Path, tmp_path: Path) -> None:
        conf = (
            f"Domain example.com\nSelector mail\nKeyFile {key}\nInternalHosts 198.51.100.0/24\nPeerList 198.51.100.9\n"
        )
        clients = make(tmp_path, self.signer_values(tmp_path, conf)).clients
        assert await clients.signs(Client(address="198.51.100.1"), Origin.SMTP)
        assert not await clients.signs(Client(address="198.51.100.9"), Origin.SMTP)
        assert not await clients.signs(Client(address="192.0.2.1"), Origin.SMTP)

    async def test_without_internal_hosts_mynetworks_count(self, key: Path, tmp_path: Path) -> None:
        conf = f"Domain example.com\nSelector mail\nKeyFile {key}\n"
        clients = make(tmp_path, self.signer_values(tmp_path, conf)).clients
        assert await clients.signs(Client(address="192.0.2.1"), Origin.SMTP)

    def test_exempt_recipients_and_senders(self, key: Path, tmp_path: Path) -> None:
        conf = (
            f"Domain example.com\nSubDomains yes\nSelector mail\nKeyFile {key}\nDontSignMailTo list@a.org,.b.org\n"
            "ExemptDomains x.example.com\n"
        )
        signer = make(tmp_path, self.signer_values(tmp_path, conf))
        for address, exempt in (("list@a.org", True), ("joe@a.org", False), ("joe@c.b.org", True)):
            one = Address.from_internal(address)
            assert signer.exempts([Recipient(one, one)]) == exempt
        assert sign(signer, MESSAGE) != MESSAGE
        other = MESSAGE.replace(b"joe@example.com", b"joe@x.example.com")
        assert sign(signer, other) == other

    @pytest.mark.parametrize(("action", "waits"), [("accept", False), ("tempfail", True), ("reject", True)])
    def test_what_cannot_be_signed(self, action: str, waits: bool, tmp_path: Path) -> None:
        conf = f"Domain example.com\nSelector mail\nKeyFile /none\nOn-SignatureError {action}\n"
        found = sign(make(tmp_path, self.signer_values(tmp_path, conf)), MESSAGE)
        assert isinstance(found, Reply) == waits

    def test_sender_headers(self, key: Path, tmp_path: Path) -> None:
        conf = f"Domain example.com\nSelector mail\nKeyFile {key}\nSenderHeaders Sender,From\n"
        signer = make(tmp_path, self.signer_values(tmp_path, conf))
        other = b"Sender: x@example.net\r\n" + MESSAGE
        assert sign(signer, other) == other
        assert sign(signer, MESSAGE) != MESSAGE

    def test_relative_names_begin_at_the_base(self, key: Path, tmp_path: Path) -> None:
        (tmp_path / "tables").mkdir()
        (tmp_path / "tables" / "KeyTable").write_text("one example.com:mail:../mail.private\n")
        (tmp_path / "tables" / "SigningTable").write_text("*@example.com one\n")
        conf = f"BaseDirectory {tmp_path}/tables\nKeyTable file:KeyTable\nSigningTable refile:SigningTable\n"
        assert sign(make(tmp_path, self.signer_values(tmp_path, conf)), MESSAGE) != MESSAGE


@pytest.mark.parametrize(("text", "expected"), [
    ("From,To", ("from", "to")), ("*,+X-A", ("a", "b", "x-a")), ("*,-b", ("a",)), ("*,+b", ("a", "b")), (".", (".",)),
])  # fmt: skip
def test_lists_of_headers(text: str, expected: tuple[str, ...]) -> None:
    assert header_names(text, ("a", "b")) == expected


async def test_opendkim_conf_and_its_lists_are_followed(
    tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was changed counts at the next message; what is broken changes nothing."""
    monkeypatch.setattr(watch, "CHECK_INTERVAL", 0.0)
    log = RecordingLog()
    conf, hosts = tmp_path / "opendkim.conf", tmp_path / "hosts"
    hosts.write_text("192.0.2.1\n")
    first = f"Domain example.com\nSelector mail\nKeyFile {key}\nInternalHosts {hosts}\n"
    conf.write_text(first)
    config = Config.from_values({"dkim_opendkim_config": str(conf), "mynetworks": "192.0.2.0/24"})
    source = source_of(tmp_path, build(SigningSettings, config), log)
    assert source is not None

    def signed() -> str:
        assert source.current is not None
        return str(sign(source.current, MESSAGE))

    async def is_ours(address: str) -> bool:
        assert source.current is not None
        return await source.current.clients.signs(Client(address=address, name="unknown"), Origin.SMTP)

    assert "s=mail;" in signed()
    assert not await is_ours("192.0.2.2")
    hosts.write_text("192.0.2.1\n192.0.2.2\n")
    assert await is_ours("192.0.2.2")
    conf.write_text(first.replace("Selector mail", "Selector another"))
    assert "s=another;" in signed()
    conf.write_text(first.replace("Selector mail", "Selector third") + "Canonicalization nonsense\n")
    assert "s=another;" in signed()
    assert any("nonsense" in line for line in log.lines)
    conf.write_text("Mode v\n")
    assert source.current is None
