"""Stored passwords in their many forms, and the databases that hold them."""

from __future__ import annotations

import hashlib
import struct
import threading
import time
from base64 import b64encode
from pathlib import Path

import passlib.hash
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymta.auth import libcrypt
from pymta.auth.passdb import MAKEABLE, StoredPassword, make_stored
from pymta.auth.sasldb import SaslDb, parse_sasldb
from pymta.auth.verify_cyrus import parse_cyrus_options, read_cyrus_options
from pymta.auth.verify_file import PasswordFile, parse_accounts
from pymta.auth.verify_pool import HashPool
from pymta.errors import AuthUnavailableError, ConfigError
from pymta.model.sasl import SecretKind
from pymta.tables.watch import Unusable
from pymta.testing import RecordingLog

PASSWORD = "s3crët:pass"
SECRET = PASSWORD.encode()


def _salted(name: str, algorithm: str) -> str:
    return f"{{{name}}}" + b64encode(hashlib.new(algorithm, SECRET + b"salt").digest() + b"salt").decode()


def _plain_digest(name: str, algorithm: str, form: str = "b64") -> str:
    digest = hashlib.new(algorithm, SECRET).digest()
    return f"{{{name}}}" + (digest.hex() if form == "hex" else b64encode(digest).decode())


PBKDF2 = hashlib.pbkdf2_hmac("sha1", SECRET, b"salt", 1000, 20).hex()
FORMS = {
    "plain": f"{{PLAIN}}{PASSWORD}",
    "cleartext": f"{{CLEARTEXT}}{PASSWORD}",
    "plain.b64": "{PLAIN.b64}" + b64encode(SECRET).decode(),
    "plain.hex": "{plain.hex}" + SECRET.hex(),
    "ssha": _salted("SSHA", "sha1"),
    "ssha256": _salted("SSHA256", "sha256"),
    "ssha512": _salted("SSHA512", "sha512"),
    "smd5": _salted("SMD5", "md5"),
    "sha (htpasswd -s)": _plain_digest("SHA", "sha1"),
    "sha256 in hex": _plain_digest("SHA256", "sha256", "hex"),
    "sha512": _plain_digest("SHA512", "sha512"),
    "plain-md5": _plain_digest("PLAIN-MD5", "md5", "hex"),
    "ldap-md5": _plain_digest("LDAP-MD5", "md5"),
    "pbkdf2": f"{{PBKDF2}}$1$salt$1000${PBKDF2}",
    "htpasswd -m": passlib.hash.apr_md5_crypt.hash(PASSWORD),
    "sha512-crypt bare": passlib.hash.sha512_crypt.using(rounds=5000).hash(PASSWORD),
    "sha256-crypt": "{SHA256-CRYPT}" + passlib.hash.sha256_crypt.using(rounds=5000).hash(PASSWORD),
    "md5-crypt": "{MD5-CRYPT}" + passlib.hash.md5_crypt.hash(PASSWORD),
    "phpass": passlib.hash.phpass.hash(PASSWORD),
    "django": "{DJANGO-PBKDF2-SHA256}" + passlib.hash.django_pbkdf2_sha256.using(rounds=1000).hash(PASSWORD),
    "fshp": "{FSHP}" + passlib.hash.fshp.using(rounds=1000).hash(PASSWORD),
    "pbkdf2-sha512": passlib.hash.pbkdf2_sha512.using(rounds=1000).hash(PASSWORD),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_that_password_files_have(form: str) -> None:
    stored = StoredPassword.parse(FORMS[form])
    assert stored.matches(PASSWORD)
    assert not stored.matches(PASSWORD + "x")
    assert not stored.matches("")
    assert not stored.matches(PASSWORD + "\0")


@pytest.mark.parametrize("scheme", MAKEABLE)
def test_what_we_make_we_can_check(scheme: str) -> None:
    if scheme in ("CRYPT", "BLF-CRYPT") and not libcrypt.is_available():
        pytest.skip("no libcrypt here")
    made = make_stored(PASSWORD, scheme)
    stored = StoredPassword.parse(made)
    assert stored.matches(PASSWORD)
    assert not stored.matches("other")
    if scheme != "PLAIN":
        assert make_stored(PASSWORD, scheme) != made
        assert PASSWORD not in made


@pytest.mark.skipif(not libcrypt.is_available(), reason="no libcrypt here")
class TestLibcrypt:
    YESCRYPT = "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7"

    def test_yescrypt(self) -> None:
        made = libcrypt.crypt(SECRET, "$y$j9T$abcdefghijklmnopqrstu.")
        assert StoredPassword.parse(made).matches(PASSWORD)
        assert not StoredPassword.parse(made).matches("x")

    def test_an_unknown_method_is_an_error_and_not_a_match(self) -> None:
        with pytest.raises(libcrypt.CryptUnavailable):
            libcrypt.crypt(SECRET, "$nosuch$x")

    def test_bcrypt_beyond_72_bytes_neither_fails_nor_raises(self) -> None:
        long = "x" * 100
        stored = StoredPassword.parse(libcrypt.crypt(long.encode(), "$2y$04$abcdefghijklmnopqrstuu"))
        assert stored.matches(long)
        assert not stored.matches("y" * 100)

    def test_a_password_that_bcrypt_would_cut_off_is_not_made(self) -> None:
        with pytest.raises(ValueError, match="72 bytes"):
            make_stored("x" * 73, "BLF-CRYPT")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "locked"),
        ("*", "locked"),
        ("!$6$x$y", "locked"),
        ("hello", r"put \{SCHEME\} before it"),
        ("{NOSUCH}x", "unknown password scheme NOSUCH"),
        ("{SSHA}", "no hash"),
        ("{PLAIN.hex}zz", "not hex"),
        ("{SCRAM-SHA-256}4096,x", "ITERATIONS"),
        ("{CRYPT}hello", "crypt"),
        ("{ARGON2I.zip}x", r"put \{SCHEME\} before it"),
    ],
)
def test_what_cannot_be_used_says_why(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StoredPassword.parse(text)


@pytest.mark.parametrize("text", ["{SSHA}AAAA", "{SHA256}AAAA", "{PBKDF2}$1$a$b$c", "{SSHA}!!!"])
def test_a_broken_hash_is_an_error_and_not_a_match(text: str) -> None:
    with pytest.raises(ValueError, match="."):  # noqa: RUF043  # any text
        StoredPassword.parse(text).matches(PASSWORD)


@given(text=st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_no_text_breaks_the_parser(text: str) -> None:
    try:
        repr(StoredPassword.parse(text))
    except ValueError:
        return


def test_secrets_do_not_show() -> None:
    assert PASSWORD not in repr(StoredPassword.parse(f"{{PLAIN}}{PASSWORD}"))
    assert PASSWORD not in repr(StoredPassword.parse(f"{{PLAIN}}{PASSWORD}").secret)


class TestFile:
    LINES = (
        "# comment\n"
        "\n"
        f"joe@example.com:{FORMS['ssha']}:1000:1000::/home/joe::userdb_x=y\n"
        f"ann:{FORMS['sha512-crypt bare']}\n"
        f"web:{FORMS['htpasswd -m']}\n"
        f"joe@example.com:{{PLAIN}}second\n"
    )

    def _file(self, tmp_path: Path, text: str, **more: str) -> tuple[PasswordFile, Path, RecordingLog]:
        path, log = tmp_path / "passwd", RecordingLog()
        path.write_text(text)
        return PasswordFile(path, HashPool(), log, **more), path, log

    @pytest.mark.parametrize("name", ["joe@example.com", "ann", "web", "ANN", "Joe@Example.com"])
    async def test_who_is_in_the_file(self, tmp_path: Path, name: str) -> None:
        database, _, _ = self._file(tmp_path, self.LINES)
        assert await database.verify(name, PASSWORD)
        assert not await database.verify(name, "second")

    async def test_who_is_not(self, tmp_path: Path) -> None:
        database, _, _ = self._file(tmp_path, self.LINES)
        for name in ("nobody", "", "# comment", "joe"):
            assert not await database.verify(name, PASSWORD)

    async def test_names_with_and_without_the_local_domain(self, tmp_path: Path) -> None:
        database, _, _ = self._file(tmp_path, self.LINES, local_domain="example.com")
        assert await database.verify("joe", PASSWORD)
        assert await database.verify("ann@example.com", PASSWORD)
        assert not await database.verify("ann@example.org", PASSWORD)

    async def test_nobody_costs_what_somebody_costs(self, tmp_path: Path) -> None:
        slow = passlib.hash.sha512_crypt.using(rounds=200_000).hash(PASSWORD)
        database, _, _ = self._file(tmp_path, f"joe:{slow}\nann:{slow}\n")

        async def seconds(name: str) -> float:
            best = 9.0
            for _ in range(3):
                start = time.perf_counter()
                await database.verify(name, "wrong")
                best = min(best, time.perf_counter() - start)
            return best

        assert await seconds("nobody") > 0.4 * await seconds("joe")

    async def test_a_change_is_seen(self, tmp_path: Path) -> None:
        database, path, _ = self._file(tmp_path, "joe:{PLAIN}old\n")
        assert await database.verify("joe", "old")
        path.write_text("joe:{PLAIN}brand-new\n")
        database._file._file.check()  # type: ignore[union-attr]  # not to wait for a second
        assert await database.verify("joe", "brand-new")
        assert not await database.verify("joe", "old")

    async def test_a_bad_line_is_named_and_the_others_count(self, tmp_path: Path) -> None:
        database, path, log = self._file(tmp_path, f"no colon\njoe:{{NOSUCH}}x\nann:{FORMS['ssha']}\n")
        assert await database.verify("ann", PASSWORD)
        assert not await database.verify("joe", "x")
        assert f"{path}:1: expected user:" in log.lines[0]
        assert f"{path}:2: unknown password scheme NOSUCH" in log.lines[1]
        assert len(log.lines) == 2

    async def test_a_missing_file_is_a_temporary_failure_until_it_is_there(self, tmp_path: Path) -> None:
        path = tmp_path / "late"
        database = PasswordFile(path, HashPool(), RecordingLog())
        with pytest.raises(AuthUnavailableError, match="late: No such file"):
            await database.verify("joe", "x")
        path.write_text("joe:{PLAIN}x\n")
        assert await database.verify("joe", "x")

    @pytest.mark.parametrize(
        ("text", "kinds"),
        [
            ("", SecretKind.NONE),
            ("a:{PLAIN}x\n", SecretKind.PASSWORD | SecretKind.SCRAM),
            (f"a:{{PLAIN}}x\nb:{make_stored('x', 'SCRAM-SHA-256')}\n", SecretKind.SCRAM),
            (f"a:{make_stored('x', 'SCRAM-SHA-256')}\nb:{FORMS['ssha']}\n", SecretKind.NONE),
        ],
    )
    def test_what_all_accounts_have(self, text: str, kinds: SecretKind) -> None:
        assert parse_accounts(text.encode(), "f").kinds == kinds


class TestPool:
    async def test_the_queue_has_an_end(self) -> None:
        pool, gate = HashPool(threads=1, queue_limit=2), threading.Event()
        import asyncio

        waiting = [asyncio.create_task(pool.run(gate.wait, 5)) for _ in range(2)]
        await asyncio.sleep(0.05)
        with pytest.raises(AuthUnavailableError, match="more than 2 logins"):
            await pool.run(gate.wait, 5)
        gate.set()
        assert await asyncio.gather(*waiting) == [True, True]
        await asyncio.sleep(0)
        assert await pool.run(lambda: 7) == 7
        pool.close()


class TestCyrusOptions:
    def test_what_is_read(self) -> None:
        options = parse_cyrus_options(
            "# comment\npwcheck_method: auxprop saslauthd\nauxprop_plugin: sasldb\nmech_list: plain LOGIN\n"
            "sasldb_path: /srv/sasldb2\nsaslauthd_path: /run/x\nlog_level: 7\n",
            "smtpd.conf",
        )
        assert options.methods == ("auxprop", "saslauthd")
        assert options.mechanisms == ("PLAIN", "LOGIN")
        assert (options.sasldb_path, options.saslauthd_path) == ("/srv/sasldb2", "/run/x/mux")

    def test_without_a_file(self, tmp_path: Path) -> None:
        options = read_cyrus_options("nosuchname", "", str(tmp_path))
        assert (options.methods, options.sasldb_path) == (("auxprop",), "/etc/sasldb2")

    @pytest.mark.parametrize("text", ["pwcheck_method: alwaystrue", "auxprop_plugin: sql"])
    def test_what_we_cannot_ask(self, text: str) -> None:
        with pytest.raises(ConfigError, match=r"x\.conf"):
            parse_cyrus_options(text, "x.conf")


class TestSasldbFile:
    """A hash file written here; real ones by saslpasswd2 are in the integration tests."""

    @staticmethod
    def page(items: list[bytes], number: int = 1, order: str = "<", size: int = 512, kind: int = 13) -> bytes:
        offsets, body, end = [], b"", size
        for item in items:
            end -= len(item)
            offsets.append(end)
            body = item + body
        head = struct.pack(f"{order}QIIIHHBB", 0, number, 0, 0, len(items), end, 0, kind)
        index = struct.pack(f"{order}{len(offsets)}H", *offsets)
        return (head + index).ljust(size - len(body), b"\0") + body

    @staticmethod
    def meta(order: str = "<", version: int = 9, size: int = 512, flags: int = 0, cipher: int = 0) -> bytes:
        head = struct.pack(f"{order}QIIII", 0, 0, 0x061561, version, size) + bytes([cipher, 8, flags, 0])
        return head.ljust(size, b"\0")

    KEY, VALUE = b"\1joe\0Example.com\0userPassword", b"\1secret"

    @pytest.mark.parametrize("order", ["<", ">"])
    def test_both_byte_orders(self, order: str) -> None:
        data = self.meta(order) + self.page([self.KEY, self.VALUE], order=order)
        assert parse_sasldb(data) == {("joe", "example.com"): "secret"}

    def test_a_password_over_several_pages(self) -> None:
        long = b"p" * 700
        overflow = struct.pack("<B3xII", 3, 2, len(long))
        first = struct.pack("<QIIIHHBB", 0, 2, 0, 3, 1, 486, 0, 7) + long[:486]
        second = struct.pack("<QIIIHHBB", 0, 3, 2, 0, 1, 214, 0, 7) + long[486:].ljust(486, b"\0")
        data = self.meta() + self.page([self.KEY, overflow]) + first + second
        assert parse_sasldb(data) == {("joe", "example.com"): "p" * 700}

    def test_other_properties_are_left_out(self) -> None:
        data = self.meta() + self.page([b"\1joe\0x\0cmusaslsecretOTP", self.VALUE])
        assert parse_sasldb(data) == {}

    def test_a_chain_that_is_a_circle_ends(self) -> None:
        overflow = struct.pack("<B3xII", 3, 2, 65536)
        circle = struct.pack("<QIIIHHBB", 0, 2, 0, 2, 1, 0, 0, 7).ljust(512, b"\0")
        assert parse_sasldb(self.meta() + self.page([self.KEY, overflow]) + circle) == {}

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"x" * 4096,
            meta(version=99),
            meta(size=100).ljust(512, b"\0"),
            meta(flags=1),
            meta(cipher=1),
        ],
    )
    def test_what_is_no_such_file(self, data: bytes) -> None:
        with pytest.raises(Unusable):
            parse_sasldb(data)

    async def test_names_and_realms(self, tmp_path: Path) -> None:
        path = tmp_path / "sasldb2"
        path.write_bytes(self.meta() + self.page([self.KEY, self.VALUE]))
        database = SaslDb(path, "example.com", RecordingLog())
        for name in ("joe", "joe@example.com", "joe@EXAMPLE.com"):
            assert await database.verify(name, "secret")
            assert not await database.verify(name, "Secret")
        for name in ("joe@example.org", "ann", "", "@example.com"):
            assert not await database.verify(name, "")
            assert await database.secret(name) is None

    async def test_without_the_file_nothing_is_offered(self, tmp_path: Path) -> None:
        database = SaslDb(tmp_path / "none", "example.com", RecordingLog())
        with pytest.raises(AuthUnavailableError, match="none: No such file"):
            await database.secret_kinds()

    @given(noise=st.binary(min_size=512, max_size=1024), at=st.integers(0, 1023), byte=st.integers(0, 255))
    @settings(max_examples=150, deadline=None)
    def test_no_file_breaks_the_reader(self, noise: bytes, at: int, byte: int) -> None:
        parse_sasldb(self.meta() + noise)
        good = bytearray(self.meta() + self.page([self.KEY, self.VALUE]))
        good[at] = byte
        try:
            parse_sasldb(bytes(good))
        except Unusable:
            return
