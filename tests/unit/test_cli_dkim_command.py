"""`pymta-dkim`: keys and records that can be published, comparison with DNS, rotation."""

import json
import re
from pathlib import Path

import pytest

from pymta.auth.dkim_sign_record import compare, record_text, zone_line
from pymta.auth.keys import parse_private_key
from pymta.cli.dkim import Configured, main
from pymta.cli.dkim_rotate import next_selector
from pymta.config import Config
from pymta.model.dns import Answer, Lookup
from pymta.testing import FakeResolver
from tests.support.dkim_signing import private_key, record, write_key

NAME = "mail._domainkey.example.com"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "master.cf").write_text("")
    return tmp_path


def configure(folder: Path, text: str) -> None:
    (folder / "main.cf").write_text(f"queue_directory = {folder}/spool\nmail_owner = no-such-account\n{text}\n")


def run(folder: Path, *arguments: str, zones: dict[str, str] | None = None) -> int:
    records = {name: {"TXT": [text]} for name, text in (zones or {}).items()}
    return main(["-c", str(folder), *arguments], FakeResolver(records))


class TestGenkey:
    @pytest.mark.parametrize(("options", "algorithm", "bits"), [
        ([], "rsa-sha256", 2048), (["-b", "1024"], "rsa-sha256", 1024), (["--ed25519"], "ed25519-sha256", 256),
    ])  # fmt: skip
    def test_writes_a_key_only_its_owner_may_read(
        self, options: list[str], algorithm: str, bits: int, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        configure(folder, "")
        assert run(folder, "genkey", "-d", "example.com", "-s", "mail", "-D", str(folder), *options) == 0
        path = folder / "mail.private"
        assert path.stat().st_mode & 0o7777 == 0o600
        key = parse_private_key(path.read_bytes())
        assert (key.algorithm, key.bits) == (algorithm, bits)
        zone = (folder / "mail.txt").read_text()
        strings = re.findall(r'"([^"]*)"', zone)
        assert all(len(string) <= 255 for string in strings)
        assert "".join(strings) == record_text(key)
        shown = capsys.readouterr().out
        assert zone.rstrip() in shown
        assert f"value  {record_text(key)}\n" in shown

    def test_a_key_that_is_there_stays(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        configure(folder, "")
        path = write_key(folder / "mail.private")
        before = path.read_bytes()
        assert run(folder, "genkey", "-d", "example.com", "-s", "mail", "-D", str(folder)) == 1
        assert path.read_bytes() == before
        assert "there is a key already" in capsys.readouterr().err
        assert run(folder, "genkey", "-d", "example.com", "-s", "mail", "-D", str(folder), "--force") == 0
        assert path.read_bytes() != before

    @pytest.mark.parametrize("arguments", [
        ["-d", "exa mple.com"], ["-d", "example.com", "-s", "a/b"], ["-d", "example.com", "-b", "512"],
    ])  # fmt: skip
    def test_refuses_names_and_sizes_that_cannot_be(self, arguments: list[str], folder: Path) -> None:
        configure(folder, "")
        assert run(folder, "genkey", "-D", str(folder), *arguments) == 1
        assert not list(folder.glob("*.private"))

    def test_flags(self) -> None:
        key = parse_private_key(private_key("rsa"))
        assert record_text(key, restrict=True, testing=True).startswith("v=DKIM1; k=rsa; s=email; t=y; p=MII")
        assert zone_line(NAME, record_text(key)).startswith(f'{NAME}.\tIN\tTXT\t( "v=DKIM1; k=rsa; "\n\t  "p=')


class TestTestkey:
    @pytest.mark.parametrize(("published", "says"), [
        (record(private_key("rsa")), "key OK"),
        (record(private_key("rsa")).replace("; ", ";  ").replace("MII", "MI I"), "key OK"),
        (record(private_key("rsa", 1)), "another key is published (2048 bits"),
        (record(private_key("ed25519")), "the published key is k=ed25519, the private key is rsa"),
        ("v=DKIM1; k=rsa; p=", "p= is empty: the key was revoked"),
        ("v=DKIM1; k=rsa", "the record has no p="),
        (record(private_key("rsa"))[:200], "p= is cut off after"),
        ("v=DKIM1; k=rsa; p=!!", "p= holds no rsa key that can be read"),
        (record(private_key("rsa")).replace("k=rsa", "k=rsa; h=sha1"), "does not allow sha256"),
        (record(private_key("rsa")).replace("k=rsa", "k=rsa; s=tlsrpt"), "does not allow mail"),
        (record(private_key("rsa")).replace("v=DKIM1; k=rsa", "k=rsa; v=DKIM1"), "v=DKIM1 has to be the first tag"),
        (record(private_key("rsa")).replace("; p=", "\\; p="), 'a "\\" was published'),
        (record(private_key("rsa")).replace("; p=", " p="), "has no p="),
        ("v=spf1 -all", "the TXT record is no key record"),
    ], ids=[str(number) for number in range(14)])  # fmt: skip
    def test_says_what_differs(
        self, published: str, says: str, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = write_key(folder / "mail.private")
        configure(folder, f"dkim_keys = example.com:mail:{path}")
        status = run(folder, "testkey", "-d", "example.com", zones={NAME: published})
        assert says in capsys.readouterr().out
        assert status == (0 if says == "key OK" else 1)

    def test_without_a_record_and_without_an_answer(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = write_key(folder / "mail.private")
        configure(folder, f"dkim_keys = example.com:mail:{path}")
        assert run(folder, "testkey") == 1
        assert f"{NAME}: no TXT record is published" in capsys.readouterr().out
        assert main(["-c", str(folder), "testkey"], FakeResolver(failures=[NAME])) == 1
        assert "DNS gives no answer now" in capsys.readouterr().out

    def test_a_key_of_the_users_choice(self, folder: Path) -> None:
        path = write_key(folder / "mail.private")
        zones = {NAME: record(private_key("rsa"))}
        command = ("testkey", "-k", str(path), "-d", "example.com", "-s", "mail")
        assert run(folder, *command, zones=zones) == 0
        assert run(folder, "testkey", "-k", str(path), zones=zones) == 1

    def test_names_the_file_that_may_not_be_read(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = write_key(folder / "mail.private", mode=0o644)
        configure(folder, f"dkim_keys = example.com:mail:{path}")
        assert run(folder, "testkey") == 1
        out = capsys.readouterr().out
        assert str(path) in out
        assert "mode 0644" in out
        assert f"chmod 0600 {path}" in out

    def test_a_table_that_leaves_the_domain_to_the_sender(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_key(folder / "example.com.private")
        (folder / "KeyTable").write_text(f"any %:mail:{folder}/%.private\n")
        (folder / "SigningTable").write_text("*@example.com any\n*@example.org none\n")
        configure(folder, f"dkim_key_table = {folder}/KeyTable\ndkim_signing_table = refile:{folder}/SigningTable")
        assert run(folder, "testkey", "-d", "example.com", zones={NAME: record(private_key("rsa"))}) == 0
        assert run(folder, "testkey", "-d", "example.org") == 1
        assert 'there is no key "none"' in capsys.readouterr().err

    def test_two_records(self) -> None:
        key = parse_private_key(private_key("rsa"))
        answer = Answer(Lookup.FOUND, (record_text(key), record_text(key)))
        assert "2 key records" in compare(key, answer, NAME).problems[0]

    def test_mode_of_tests_is_a_remark(self) -> None:
        key = parse_private_key(private_key("rsa"))
        found = compare(key, Answer(Lookup.FOUND, (record_text(key, testing=True),)), NAME)
        assert found.problems == ()
        assert any(remark.startswith("t=y") for remark in found.remarks)


class Publishing(FakeResolver):
    """Publishes, at the first question for it, the record that a rotation wrote down."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    async def query(self, name: str, rdtype: str) -> Answer:
        selector = name.partition(".")[0]
        path = next(self.folder.glob(f"*{selector}.private"))
        self.zones[name] = {"TXT": [record(path.read_bytes())]}
        return await super().query(name, rdtype)


class TestRotate:
    @pytest.mark.parametrize(("old", "new"), [("mail", "mail2"), ("mail2", "mail3"), ("s09", "s10"), ("9", "10")])
    def test_the_next_selector(self, old: str, new: str) -> None:
        assert next_selector(old) == new

    def test_main_cf_names_the_new_key_once_dns_has_it(self, folder: Path) -> None:
        path = write_key(folder / "mail.private")
        other = f"example.org:mail:{path}"
        configure(folder, f"# mine\ndkim_keys = example.com:mail:{path},\n  {other}\nmydomain = example.com")
        assert main(["-c", str(folder), "rotate", "-d", "example.com"], Publishing(folder)) == 0
        text = (folder / "main.cf").read_text()
        assert f"example.com:mail2:{folder}/mail2.private" in text
        assert other in text
        assert "# mine\n" in text and "mydomain = example.com" in text
        note = json.loads((folder / f"{NAME}.retired").read_text())
        assert (note["name"], note["key"]) == (NAME, str(path))
        assert (folder / "mail2.private").stat().st_mode & 0o7777 == 0o600

    def test_nothing_changes_while_dns_has_it_not(self, folder: Path) -> None:
        path = write_key(folder / "mail.private")
        configure(folder, f"dkim_keys = example.com:mail:{path}")
        before = (folder / "main.cf").read_text()
        assert run(folder, "rotate", "-d", "example.com", "--wait", "0") == 1
        assert (folder / "main.cf").read_text() == before
        made = (folder / "mail2.private").read_bytes()
        assert run(folder, "rotate", "-d", "example.com", "--wait", "0") == 1
        assert (folder / "mail2.private").read_bytes() == made

    def test_key_table(self, folder: Path) -> None:
        path = write_key(folder / "mail.private")
        table = folder / "KeyTable"
        table.write_text(f"# keys\none\texample.com:mail:{path} # this\ntwo example.org:mail:{path}\n")
        (folder / "SigningTable").write_text("*@example.com one\n")
        configure(folder, f"dkim_key_table = {table}\ndkim_signing_table = refile:{folder}/SigningTable")
        assert main(["-c", str(folder), "rotate", "-d", "example.com", "-n", "fresh"], Publishing(folder)) == 0
        assert table.read_text() == (
            f"# keys\none\texample.com:fresh:{folder}/fresh.private # this\ntwo example.org:mail:{path}\n"
        )

    @pytest.mark.parametrize(
        ("key", "new"),
        [("%.private", "example.com.mail2.private"), ("mail.private", "mail2.private")],
    )
    def test_a_row_for_every_domain_stays(self, folder: Path, key: str, new: str) -> None:
        """The domain gets rows of its own; the others go on with the old key."""
        old = write_key(folder / key.replace("%", "example.com"))
        keys, senders = folder / "KeyTable", folder / "SigningTable"
        keys.write_text(f"any %:mail:{folder}/{key}\n")
        senders.write_text("boss@example.com boss\n*@example.com any\n* any:x@%\n")
        configure(folder, f"dkim_key_table = {keys}\ndkim_signing_table = refile:{senders}")
        assert main(["-c", str(folder), "rotate", "-d", "example.com"], Publishing(folder)) == 0
        name = "mail2._domainkey.example.com"
        assert keys.read_text() == f"{name} example.com:mail2:{folder}/{new}\nany %:mail:{folder}/{key}\n"
        assert senders.read_text() == f"boss@example.com boss\n*@example.com {name}\n*@example.com any\n* any:x@%\n"
        in_use = Configured(Config.load(folder)).paths()
        assert (old.resolve() in in_use) == ("%" not in key)

    def test_a_row_for_every_domain_beside_several_signatures(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_key(folder / "example.com.private")
        (folder / "KeyTable").write_text(f"any %:mail:{folder}/%.private\n")
        (folder / "SigningTable").write_text("* any\n")
        tables = f"dkim_key_table = {folder}/KeyTable\ndkim_signing_table = refile:{folder}/SigningTable"
        configure(folder, f"{tables}\ndkim_multiple_signatures = yes")
        assert main(["-c", str(folder), "rotate", "-d", "example.com"], Publishing(folder)) == 1
        assert "give example.com rows of its own" in capsys.readouterr().err
        assert (folder / "SigningTable").read_text() == "* any\n"

    def test_opendkim_conf(self, folder: Path) -> None:
        path = write_key(folder / "mail.private")
        conf = folder / "opendkim.conf"
        conf.write_text(f"Domain example.com\nSelector mail\nKeyFile {path}\nMode sv\n")
        configure(folder, f"dkim_opendkim_config = {conf}")
        assert main(["-c", str(folder), "rotate", "-d", "example.com"], Publishing(folder)) == 0
        assert conf.read_text() == f"Domain example.com\nSelector mail2\nKeyFile {folder}/mail2.private\nMode sv\n"

    def test_the_old_key_may_go_when_its_mail_is_gone(
        self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = write_key(folder / "mail.private")
        (folder / f"{NAME}.retired").write_text(json.dumps({"name": NAME, "key": str(path), "retired": 1000}))
        configure(folder, "")
        rows = [{"arrival_time": 900}, {"arrival_time": 2000}]
        monkeypatch.setattr("pymta.cli.dkim_rotate.ask", lambda *_: iter(rows))
        assert run(folder, "retired", "-D", str(folder)) == 1
        assert f"{NAME}: keep it published, 1 older message is still in the queue" in capsys.readouterr().out
        rows.pop(0)
        assert run(folder, "retired", "-D", str(folder)) == 0
        assert f"remove the record and {path} and {folder}/{NAME}.retired" in capsys.readouterr().out
        configure(folder, f"dkim_keys = example.org:mail:{path}")
        assert run(folder, "retired") == 0
        assert f"remove the record and {folder}/{NAME}.retired" in capsys.readouterr().out
