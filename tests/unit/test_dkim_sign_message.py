"""What is signed, with which key and fields; what becomes of messages that cannot be signed."""

import os
import pwd
import re
from pathlib import Path

import pytest

from pymta.auth.dkim_sign_header import HeaderFields, SignatureField, Tags, relaxed_field, split_fields
from pymta.auth.dkim_sign_keys import barred
from pymta.auth.keys import KeyProblem, parse_private_key, parse_public_key
from pymta.errors import ConfigError
from pymta.model.envelope import Client, Origin
from pymta.model.reply import Reply
from pymta.testing import RecordingLog
from tests.support.dkim_signing import make, private_key, sign, write_key

MESSAGE = b"From: Joe <joe@example.com>\r\nTo: a@example.org\r\nSubject: x\r\n\r\ntext\r\n"


def tags(signed: bytes | Reply, position: int = 0) -> dict[str, str]:
    """The tags of one of the signatures."""
    assert isinstance(signed, bytes)
    fields = [field for field in split_fields(signed) if field.startswith(b"DKIM-Signature:")]
    value = relaxed_field(fields[position]).partition(b":")[2].decode()
    found = {}
    for item in value.replace(" ", "").strip().split(";"):
        name, _, text = item.partition("=")
        found[name] = text
    return found


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return write_key(tmp_path / "mail.private")


class TestRules:
    def test_a_message_of_the_domain_is_signed(self, key: Path, tmp_path: Path) -> None:
        found = tags(sign(make(tmp_path, {"dkim_keys": f"example.com:mail:{key}"}), MESSAGE))
        assert {name: found[name] for name in "vacdst"} == {
            "v": "1", "a": "rsa-sha256", "c": "relaxed/relaxed", "d": "example.com", "s": "mail", "t": "1700000000",
        }  # fmt: skip
        assert found["h"] == "from:from:reply-to:subject:subject:date:to:to:cc"

    @pytest.mark.parametrize(("author", "subdomains", "signed"), [
        ("joe@example.com", "no", True), ("joe@EXAMPLE.COM", "no", True), ("joe@sub.example.com", "no", False),
        ("joe@sub.example.com", "yes", True), ("joe@notexample.com", "yes", False), ("joe", "no", False),
        ('"a;b" <joe@example.com>, x@example.org', "no", True), ("x@example.org, joe@example.com", "no", False),
        ("(joe@example.com) x@example.org", "no", False), ("", "no", False),
        ("joe@example.com", "no", True), ("J. O'Doe-Roe <joe+x@example.com>", "no", True),
        ("joe@example.org <joe@example.com>", "no", True), ("joe@example.com>", "no", True),
        ("Joe <joe@example.com> <x@example.org>", "no", True), ("Joe <joe@example.com> (x@example.org)", "no", True),
    ])  # fmt: skip
    def test_the_domain_of_the_first_author_decides(
        self, author: str, subdomains: str, signed: bool, key: Path, tmp_path: Path
    ) -> None:
        signer = make(tmp_path, {"dkim_keys": f"example.com:mail:{key}", "dkim_sign_subdomains": subdomains})
        message = MESSAGE.replace(b"Joe <joe@example.com>", author.encode())
        assert (sign(signer, message) != message) == signed

    def test_no_from_no_signature(self, key: Path, tmp_path: Path) -> None:
        signer = make(tmp_path, {"dkim_keys": f"example.com:mail:{key}"})
        for message in (b"", b"\r\n", b"\r\nFrom: joe@example.com\r\n", b"Sender: joe@example.com\r\n\r\n"):
            assert sign(signer, message) == message
            assert sign(signer, message, [1] * len(message)) == message

    def test_international_domain(self, key: Path, tmp_path: Path) -> None:
        signer = make(tmp_path, {"dkim_keys": f"xn--bcher-kva.example:mail:{key}"})
        message = MESSAGE.replace(b"joe@example.com", "joe@bücher.example".encode())
        assert tags(sign(signer, message))["d"] == "xn--bcher-kva.example"

    def test_pieces_do_not_matter(self, key: Path, tmp_path: Path) -> None:
        signer = make(tmp_path, {"dkim_keys": f"example.com:mail:{key}"})
        whole = sign(signer, MESSAGE)
        for size in (1, 2, 3, 5, 50):
            assert sign(signer, MESSAGE, [size] * (len(MESSAGE) // size)) == whole

    def test_several_signatures(self, key: Path, tmp_path: Path) -> None:
        other = write_key(tmp_path / "ed.private", "ed25519")
        signer = make(tmp_path, {"dkim_keys": f"example.com:mail:{key}, example.com:ed:{other}"})
        signed = sign(signer, MESSAGE)
        assert [tags(signed, position)["a"] for position in (0, 1)] == ["rsa-sha256", "ed25519-sha256"]
        assert tags(signed)["bh"] == tags(signed, 1)["bh"]

    def test_lifetime(self, key: Path, tmp_path: Path) -> None:
        signer = make(tmp_path, {"dkim_keys": f"example.com:mail:{key}", "dkim_signature_lifetime": "7d"})
        assert tags(sign(signer, MESSAGE))["x"] == str(1_700_000_000 + 7 * 86400)

    @pytest.mark.parametrize("values", [
        {"dkim_keys": "example.com"}, {"dkim_keys": "example.com:mail"}, {"dkim_keys": "exa/mple:mail:/k"},
        {"dkim_keys": "example.com:ma;il:/k"}, {"dkim_key_table": "x=y"}, {"dkim_signing_table": "x=y"},
        {"dkim_keys": "example.com:mail:/k", "dkim_canonicalization": "loose"},
        {"dkim_keys": "example.com:mail:/k", "dkim_failure_action": "cry"},
        {"dkim_keys": "example.com:mail:/k", "dkim_sign_classes": "friends"},
        {"dkim_keys": "example.com:mail:/k", "dkim_opendkim_config": "/etc/opendkim.conf"},
    ])  # fmt: skip
    def test_settings_that_cannot_be(self, values: dict[str, str], tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="dkim_"):
            make(tmp_path, values)


class TestClients:
    @pytest.mark.parametrize(("client", "origin", "signed"), [
        (Client(address="192.0.2.7"), Origin.SMTP, True),
        (Client(address="198.51.100.7"), Origin.SMTP, False),
        (Client(address="198.51.100.7", sasl_username="joe"), Origin.SMTP, True),
        (Client(), Origin.SENDMAIL, True), (Client(), Origin.LIBRARY, True),
        (Client(), Origin.NOTICE, False), (Client(address="192.0.2.7"), Origin.FORWARD, False),
    ])  # fmt: skip
    async def test_only_mail_that_begins_here(
        self, client: Client, origin: Origin, signed: bool, key: Path, tmp_path: Path
    ) -> None:
        signer = make(tmp_path, {"dkim_keys": f"example.com:mail:{key}"})
        assert await signer.clients.signs(client, origin) == signed

    @pytest.mark.parametrize("more", [
        {"dkim_sign_classes": "local, notices"}, {"internal_mail_filter_classes": "bounce"},
    ])  # fmt: skip
    async def test_notices_on_request(self, more: dict[str, str], key: Path, tmp_path: Path) -> None:
        signer = make(tmp_path, {"dkim_keys": f"example.com:mail:{key}", **more})
        assert await signer.clients.signs(Client(), Origin.NOTICE)


class TestKeys:
    def refusal(self, tmp_path: Path, key: Path, **values: str) -> str:
        """What is logged; the message waits."""
        log = RecordingLog()
        signer = make(tmp_path, {"dkim_keys": f"example.com:mail:{key}", **values})
        found = sign(signer, MESSAGE, log=log)
        assert isinstance(found, Reply)
        assert str(found) == "451 4.7.1 Service unavailable - try again later"
        assert log.lines[0].startswith("QUEUEID: DKIM: cannot sign: d=example.com, s=mail: ")
        assert log.lines[0].endswith("; message deferred")
        return log.lines[0]

    def test_missing(self, tmp_path: Path) -> None:
        assert f"{tmp_path}/none: there is no such key file" in self.refusal(tmp_path, tmp_path / "none")

    @pytest.mark.parametrize("mode", [0o644, 0o606, 0o604])
    def test_others_may_read_or_write_it(self, mode: int, key: Path, tmp_path: Path) -> None:
        key.chmod(mode)
        text = self.refusal(tmp_path, key)
        assert str(key) in text and f"mode {mode:04o}" in text and f"chmod 0600 {key}" in text

    def test_unless_that_is_allowed(self, key: Path, tmp_path: Path) -> None:
        key.chmod(0o644)
        signer = make(tmp_path, {"dkim_keys": f"example.com:mail:{key}", "dkim_require_safe_keys": "no"})
        assert tags(sign(signer, MESSAGE))["d"] == "example.com"

    def test_a_group_that_is_ours_may_read_it(self, key: Path, tmp_path: Path) -> None:
        os.chown(key, -1, os.getegid())
        key.chmod(0o640)
        signer = make(tmp_path, {"dkim_keys": f"example.com:mail:{key}"})
        assert tags(sign(signer, MESSAGE))["d"] == "example.com"

    @pytest.mark.parametrize(("data", "says"), [
        (b"", "the file is empty"), (b"hello", "neither PEM nor base64"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "damaged key"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "the file holds a public key"),
        (b"x" * 70000, "larger than any key"),
    ])  # fmt: skip
    def test_no_key(self, data: bytes, says: str, key: Path, tmp_path: Path) -> None:
        key.write_bytes(data)
        assert says in self.refusal(tmp_path, key)

    def test_a_directory(self, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        assert f"{tmp_path}/folder: " in self.refusal(tmp_path, tmp_path / "folder")

    def test_too_small(self, key: Path, tmp_path: Path) -> None:
        assert "2048 bits are fewer than" in self.refusal(tmp_path, key, dkim_minimum_key_bits="4096")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_not_readable(self, key: Path, tmp_path: Path) -> None:
        key.chmod(0)
        assert re.search(
            r"user \S+ may not read this key file \(owner \S+:\S+, mode 0000\)", self.refusal(tmp_path, key)
        )

    def test_what_an_account_may_not_read_is_known_without_being_it(self, key: Path, tmp_path: Path) -> None:
        stranger = pwd.struct_passwd(("stranger", "x", 54321, 54321, "", "/", "/bin/sh"))
        me = pwd.struct_passwd(("me", "x", key.stat().st_uid, 54321, "", "/", "/bin/sh"))
        for parent in [tmp_path, *tmp_path.parents]:
            if parent.stat().st_uid == os.geteuid() and str(parent) not in ("/", "/tmp"):
                parent.chmod(0o711)
        assert barred(key, me) == ""
        assert f"user stranger may not read this key file (owner {pwd.getpwuid(os.geteuid()).pw_name}:" in barred(
            key, stranger
        )
        key.chmod(0o604)
        assert barred(key, stranger) == ""
        tmp_path.chmod(0o700)
        assert f"{key}: user stranger may not enter {tmp_path} (" in barred(key, stranger)

    def test_sent_without_a_signature_where_that_is_wanted(self, tmp_path: Path) -> None:
        log = RecordingLog()
        signer = make(tmp_path, {"dkim_keys": "example.com:mail:/none", "dkim_failure_action": "send"}, log)
        assert "there is no such key file" in log.lines[0]
        assert sign(signer, MESSAGE, log=log) == MESSAGE
        assert log.lines[1].endswith("; message sent without a signature")

    def test_a_key_is_read_again_when_it_changes(
        self, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pymta.auth.dkim_sign_keys.CHECK_INTERVAL", 0.0)
        signer = make(tmp_path, {"dkim_keys": f"example.com:mail:{key}"})
        before = tags(sign(signer, MESSAGE))["b"]
        assert tags(sign(signer, MESSAGE))["b"] == before
        write_key(key, number=1)
        assert tags(sign(signer, MESSAGE))["b"] != before
        key.unlink()
        assert isinstance(sign(signer, MESSAGE), Reply)
        write_key(key)
        assert tags(sign(signer, MESSAGE))["b"] == before

    def test_forms_of_a_key(self) -> None:
        pem = private_key("ed25519")
        key = parse_private_key(pem)
        assert parse_private_key(pem.replace(b"\n", b"\r\n")).public == key.public
        assert parse_private_key(b"text before\n" + pem).public == key.public
        with pytest.raises(KeyProblem, match="not a private key"):
            parse_private_key(pem[:80])

    def test_the_key_of_rfc_8463(self) -> None:
        key = parse_private_key(b"nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=\n")
        assert (key.algorithm, key.public) == ("ed25519-sha256", "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
        public = parse_public_key(key.public, "ed25519")
        assert public.verifies(bytes(32), key.sign(bytes(32)))
        assert not public.verifies(b"x" * 32, key.sign(bytes(32)))

    def test_the_text_of_a_problem_never_shows_the_key(self) -> None:
        pem = private_key("rsa")
        broken = pem.replace(b"MII", b"MIJ", 1)
        with pytest.raises(KeyProblem) as caught:
            parse_private_key(broken)
        assert pem.splitlines()[3].decode() not in str(caught.value)


class TestLimits:
    def test_a_header_of_more_than_a_megabyte(self, key: Path, tmp_path: Path) -> None:
        log = RecordingLog()
        signer = make(tmp_path, {"dkim_keys": f"example.com:mail:{key}"})
        message = b"X: " + b"x" * 990 + b"\r\n"
        assert isinstance(sign(signer, message * 1100 + MESSAGE, [1000] * 1000, log), Reply)
        assert "the header is larger than 1048576 bytes" in log.lines[0]

    def test_a_field_of_100_kilobytes(self, key: Path, tmp_path: Path) -> None:
        signer = make(tmp_path, {"dkim_keys": f"example.com:mail:{key}"})
        message = MESSAGE.replace(b"Subject: x", b"Subject:" + b" \t" * 50_000 + b"x")
        assert tags(sign(signer, message))["h"].count("subject") == 2


class TestField:
    def field(self, **changes: object) -> bytes:
        values: dict[str, object] = {
            "algorithm": "rsa-sha256", "relaxed_header": False, "relaxed_body": False, "domain": "example.com",
            "selector": "mail", "identity": "", "timestamp": 1, "expiration": None, "names": ("from",) * 40,
        }  # fmt: skip
        return SignatureField(Tags(**{**values, **changes})).complete(bytes(32), bytes(256))  # type: ignore[arg-type]

    def test_lines_are_short(self) -> None:
        lines = self.field().split(b"\r\n")
        assert lines.pop() == b""
        assert max(map(len, lines)) <= 78
        assert all(line.startswith(b"\t") for line in lines[1:])

    def test_identity_is_quoted(self) -> None:
        assert b"i=a=3Bb=20c@example.com;" in self.field(identity="a;b c@example.com")

    def test_fields_are_taken_from_the_bottom(self) -> None:
        fields = HeaderFields([b"A: 1\r\n", b"B:  x \r\n", b"a:2\r\n"])
        assert fields.listed(["a", "b", "c"], frozenset({"a", "c"})) == ("a", "a", "a", "b", "c")
        assert fields.canonical(["a", "a", "a", "b", "c"], relaxed=True) == b"a:2\r\na:1\r\nb:x\r\n"
        assert fields.canonical(["a", "b"], relaxed=False) == b"a:2\r\nB:  x \r\n"

    @pytest.mark.parametrize(("raw", "relaxed"), [
        (b"A: X\r\n", b"a:X\r\n"), (b"B : Y\t\r\n\tZ  \r\n", b"b:Y Z\r\n"), (b"C:\r\n", b"c:\r\n"),
        (b"D:\r\n \t\r\n x\r\n", b"d:x\r\n"), (b"E: a\x0b b\r\n", b"e:a\x0b b\r\n"),
    ])  # fmt: skip
    def test_relaxed(self, raw: bytes, relaxed: bytes) -> None:
        assert relaxed_field(raw) == relaxed
