"""What others sign, we verify: OpenDKIM, Perl's Mail::DKIM and npm's mailauth on a table of odd messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from pymta.auth.dkim_verify import DkimInspection, VerifyRules
from pymta.model.authentication import DkimResult, Result
from pymta.testing import FakeResolver
from tests.support import dkim_signers
from tests.support.dkim_signing import private_key, record, write_key

NOW = 1_800_000_000.0
HEADER = (
    b"Received: from a by b;\r\n\tMon, 1 Jan 2024 00:00:00 +0000\r\nFrom: Joe <joe@example.com>\r\n"
    b"To: a@example.org\r\nSubject: Hello\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n"
)
TEXT = b"\r\nHello,\r\n\r\nthis is text.\r\n"
MESSAGES = {
    "plain": HEADER + TEXT,
    "empty body": HEADER + b"\r\n",
    "only empty lines": HEADER + b"\r\n" + b"\r\n" * 5,
    "empty lines at the end": HEADER + TEXT + b"\r\n" * 9,
    "8bit": HEADER + b"Content-Transfer-Encoding: 8bit\r\n" + b"\r\ngr\xc3\xbc\xc3\x9fe \xff\xfe\x80\r\n",
    "blanks at line ends": HEADER + b"\r\ntext \t \r\n\t\r\n \r\nmore  \t  text\t\r\n \r\n",
    "leading dots": HEADER + b"\r\n.\r\n..\r\n.a\r\n",
    "folded": HEADER.replace(b"Subject: Hello", b"Subject: one\r\n two\r\n\t three  \t four ") + TEXT,
    "empty field": HEADER.replace(b"Subject: Hello", b"Subject:") + TEXT,
    "three To": HEADER + b"To: b@example.org\r\nTO:  c@example.org\r\n" + TEXT,
    "other case": HEADER.replace(b"From:", b"FROM:").replace(b"Subject:", b"sUBJECT:") + TEXT,
    "long lines": HEADER + b"\r\n" + b"x" * 900 + b"\r\n",
    "many blanks": HEADER + b"\r\n" + b"a" + b" \t" * 400 + b"b" + b" " * 90 + b"\r\n",
    "large": HEADER + b"\r\n" + b"abcdefghij klmnopqrst uvwxyz\r\n" * 8000,
}
FORMS = ["relaxed/relaxed", "relaxed/simple", "simple/relaxed", "simple/simple"]
ANSWERS = FakeResolver({"sel._domainkey.example.com": {"TXT": [record(private_key("rsa"))]}})


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "rsa.pem"
    write_key(path, "rsa")
    return path


async def verified(message: bytes, step: int = 4000) -> DkimResult:
    inspection = DkimInspection(VerifyRules(), NOW)
    for start in range(0, len(message), step):
        inspection.write(message[start : start + step])
    (result,) = await inspection.results(ANSWERS)
    return result


@pytest.mark.parametrize("form", FORMS)
async def test_what_mail_dkim_signs_verifies(form: str, key: Path, tmp_path: Path) -> None:
    for signed in dkim_signers.mail_dkim(list(MESSAGES.values()), tmp_path, key, "sel", form):
        assert f"c={form}".encode() in signed
        result = await verified(signed)
        assert result.result is Result.PASS, (signed[:2000], result)
        assert (await verified(signed.replace(b"joe@", b"eve@", 1))).result is Result.FAIL


@pytest.mark.parametrize("form", FORMS)
async def test_what_mailauth_signs_verifies(form: str, key: Path, tmp_path: Path) -> None:
    for signed in dkim_signers.mailauth(list(MESSAGES.values()), tmp_path, key, "sel", form):
        assert f"c={form}".encode() in signed
        result = await verified(signed)
        assert result.result is Result.PASS, (signed[:2000], result)
        assert (await verified(signed.replace(b"joe@", b"eve@", 1))).result is Result.FAIL


@pytest.mark.parametrize("form", FORMS)
async def test_what_opendkim_signs_verifies(form: str, key: Path, tmp_path: Path) -> None:
    with dkim_signers.opendkim(tmp_path, key, "sel", form) as port:
        for name, message in MESSAGES.items():
            signed = dkim_signers.milter_signed(message, port)
            assert f"c={form}".encode() in signed
            result = await verified(signed)
            assert result.result is Result.PASS, (name, result)
            assert (await verified(signed.replace(b"joe@", b"eve@", 1))).result is Result.FAIL


async def test_rsa_sha1_of_mail_dkim_proves_nothing(key: Path, tmp_path: Path) -> None:
    (signed,) = dkim_signers.mail_dkim([MESSAGES["plain"]], tmp_path, key, "sel", "relaxed/relaxed", "rsa-sha1")
    assert (await verified(signed)).result is Result.POLICY
